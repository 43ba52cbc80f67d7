"""Two sites of two nodes each, a long way from each other; the store is in the east.

    with Bed(seed) as bed:
        print(bed.random_packets(5).row())
        print([outcome.row() for outcome in bed.cut_off(5, 24)])
"""
import collections
import contextlib
import hashlib
import statistics
import time

from lab.cluster import Cluster, Node
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.policies import at_random, by_kind, to
from lab.proc import LabError, each, wait_until
from lab.talking import Stage
from lab.traffic import Traffic, answer_or_ring, archive_complaint
from lab.wan import Wan

EAST, WEST = ('a', 'b'), ('c', 'd')
ONE_WAY_MS = 20
RATE = 20
WAIT_S = 30
WRITTEN_S = 15  # a call's end is in the archive by then: a BYE looks for its call that long (ABSENT_MS and LATE_MS in ending.c)


def site_of(name):
    return 'east' if name in EAST else 'west'


class SiteNode(Node):
    def configure(self, **settings):
        super().configure(site=site_of(self.name), **settings)


class Outcome:
    """What was done, and what became of the calls."""

    def __init__(self, what, calls, wrong, times):
        self.what, self.calls, self.wrong, self.times = what, len(calls), wrong, times

    def row(self):
        return f'| {self.what} | {self.calls} | {self.calls - len(self.wrong)} | {self.times} |'


class Bed(Stage):
    def __init__(self, seed, **options):
        self.seed, self.runs = seed, 0
        self.lab = Lab(nodes=(*EAST, *WEST))
        self.wan = None
        try:
            self.wan = Wan(self.lab, WEST, ONE_WAY_MS)
            self.cluster = Cluster(self.lab, node_class=SiteNode, **options)
            self.callees = Callees(self.lab, on_invite=answer_or_ring)
            self.caller = Caller(self.lab)
        except BaseException:
            self.end()
            raise

    def end(self):
        if self.wan:
            self.wan.close()
        super().end()

    # --- calls

    def traffic(self):
        """Each with names of its own."""
        self.runs += 1
        return Traffic(self.cluster, f'{self.seed}x{self.runs}', self.caller, self.callees, rate=RATE, steer=False)

    def ringing(self, traffic, count):
        """So many calls that ring until somebody ends them, and are recorded so."""
        calls = [traffic.place('cancel', hold=0, dial='ring') for _ in range(count)]
        wait_until(lambda: each(calls, traffic.ready), WAIT_S, 'calls that ring')
        wait_until(lambda: each(self.records(calls), lambda record: record.get('code') == 180), WAIT_S, 'their records')
        return calls

    def records(self, calls):
        found = {record['call_id']: record for record in self.cluster.records().values()}
        return [found.get(call.call_id, {}) for call in calls]

    def owners(self, calls):
        names = {node.id: node.name for node in self.cluster.node.values()}
        return collections.Counter(names.get(record.get('owner')) for record in self.records(calls))

    def archive(self):
        """{Call-ID: its entries}"""
        entries = collections.defaultdict(list)
        for entry in self.cluster['a'].ask('cdr', count=10000)['cdr']:
            entries[entry['call_id']].append(entry)
        return entries

    def complaints(self, traffic, calls, late_s=0):
        """Of those who called, and of the archive."""
        wrong = traffic.wrong(calls)
        ended = [call for call in calls if call not in wrong]
        with contextlib.suppress(LabError):
            wait_until(lambda: {call.call_id for call in ended} <= set(self.archive()), WRITTEN_S, 'an entry of each', every=0.1)
        archive = self.archive()
        complaints = ((call, archive_complaint(call, archive[call.call_id], late_s)) for call in ended)
        return {**wrong, **{call: text for call, text in complaints if text}}

    # --- nodes

    def states(self, of):
        """{name: state}, as that node sees the others."""
        return {node['name']: node['state'].split(':')[0] for node in self.cluster[of].ask('nodes')['nodes']}

    def wait_states(self, of, names, state):
        wait_until(lambda: each(names, lambda name: self.states(of).get(name) == state), WAIT_S,
                   lambda: f'{names} to be {state} to {of}, which sees {self.states(of)}')

    def wait_all_up(self):
        for node in self.cluster.nodes:
            self.wait_states(node, [name for name in self.cluster.nodes if name != node], 'up')

    def within_sites(self, packet):
        """Each call is one site's, its packets come to both nodes of that."""
        return at_random(self.seed, self.site_of_call(packet.call_id))(packet)

    def site_of_call(self, call_id):
        return EAST if hashlib.blake2b(call_id.encode()).digest()[0] % 2 else WEST

    # --- what happens

    def random_packets(self, seconds):
        self.lab.steer(at_random(self.seed, self.cluster.nodes))
        traffic = self.traffic().start()
        wait_until(lambda: len(traffic.calls) >= seconds * RATE, WAIT_S + 2 * seconds, 'calls')
        traffic.settle()
        times = traffic.answer_ms(traffic.calls)
        return Outcome('each packet of a call at a random node of both sites', traffic.calls,
                       self.complaints(traffic, traffic.calls),
                       f'CANCEL and BYE answered after {statistics.median(times):.0f} ms at the median, '
                       f'{statistics.quantiles(times, n=20)[-1]:.0f} ms at the 95th percentile')

    def stray_ms(self, owner, at, count=20):
        """From CANCEL to its answer, at the median."""
        self.lab.steer(to(owner))
        traffic = self.traffic()
        calls = self.ringing(traffic, count)
        self.lab.steer(by_kind({'CANCEL': at}, default=owner))
        for call in calls:
            traffic.end(call)
        traffic.settle()
        assert not traffic.wrong(calls), list(traffic.wrong(calls).values())
        return statistics.median(traffic.answer_ms(calls))

    def node_dies(self, name, count, strays=None):
        """Its Kamailio is killed amid calls that ring. strays: their CANCELs come to that node, at once."""
        self.lab.steer(to(name))
        traffic = self.traffic()
        calls = self.ringing(traffic, count)
        living = [node for node in self.cluster.nodes if node != name]
        self.lab.steer(to(strays) if strays else at_random(self.seed, living))
        before = time.monotonic()
        self.cluster[name].kamailio.kill()
        if strays:
            self.wait_states(strays, [name], 'down')
        else:
            wait_until(lambda: self.owners(calls)[name] == 0, WAIT_S, 'new owners', every=0.02)
        taken_s = time.monotonic() - before
        owners = self.owners(calls)
        for call in calls:
            traffic.end(call)
        traffic.settle()
        owners = self.owners(calls) if strays else owners
        outcome = Outcome(f'a node of the {site_of(name)} dies' + (', and CANCELs come to the other site at once' if strays else ''),
                          calls, self.complaints(traffic, calls), '')
        outcome.near = sum(n for node, n in owners.items() if node and site_of(node) == site_of(name))
        outcome.times = f'{outcome.near} taken over within the site' + ('' if strays else f', all after {taken_s:.1f} s')
        self.cluster[name].start_kamailio()
        self.wait_all_up()
        return outcome

    def cut_off(self, seconds, count):
        """The west is cut off from the east and the store for that long after the east has taken its calls over, and is there
        again. What ended there meanwhile has ended to the east when it is told."""
        self.lab.steer(self.within_sites)
        traffic = self.traffic()
        kept = self.ringing(traffic, count)
        in_west = [call for call in kept if self.site_of_call(call.call_id) == WEST]
        traffic.start()
        cut_at, mark = time.monotonic(), traffic.mark()
        self.wan.cut()
        for node in EAST:
            self.wait_states(node, WEST, 'lost')
        lost_s = time.monotonic() - cut_at
        wait_until(lambda: set(self.owners(in_west)) <= set(EAST), WAIT_S, 'the east to take the calls of the west over')
        taken_s = time.monotonic() - cut_at
        for call in kept[::2]:
            traffic.end(call)
        wait_until(lambda: time.monotonic() - cut_at > taken_s + seconds, WAIT_S + seconds, 'time')
        during = traffic.since(mark)
        heal_at = time.monotonic()
        self.wan.heal()
        self.wait_all_up()
        up_s = time.monotonic() - heal_at
        for call in kept[1::2]:
            traffic.end(call)
        traffic.settle()
        wrong = self.complaints(traffic, traffic.calls, heal_at + up_s - cut_at)

        def outcome(what, calls, times=''):
            return Outcome(what, calls, {call: wrong[call] for call in calls if call in wrong}, times)

        def of(calls, site):
            return [call for call in calls if self.site_of_call(call.call_id) == site]
        return [outcome('the west is cut off: calls that began meanwhile in the east', of(during, EAST),
                        f'the west is lost to the east after {lost_s:.1f} s, and its calls are taken over after {taken_s:.1f} s'),
                outcome('calls that began meanwhile in the west, without the store', of(during, WEST)),
                outcome('calls that rang in the west before, cancelled there meanwhile', of(kept[::2], WEST)),
                outcome('calls that rang in the west all the time, cancelled there afterwards', of(kept[1::2], WEST),
                        f'all nodes see each other {up_s:.1f} s after the cut has ended'),
                outcome('calls that rang in the east before', of(kept, EAST)),
                outcome('calls that began afterwards', [call for call in traffic.since(mark) if call not in during])]
