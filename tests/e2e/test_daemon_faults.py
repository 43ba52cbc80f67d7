"""kamsyncd dies with -9 in the middle of calls and is started again: it learns what lives, gets the events of the gap, and
each call has its one entry in the archive."""
import contextlib
import signal
import subprocess

import pytest

from lab.accidents import kill_kamsyncd, restart_kamsyncd
from lab.cluster import Cluster
from lab.evapiclient import EvapiClient
from lab.phone import Callees, Caller
from lab.proc import wait_until
from lab.seeds import new_seed
from lab.traffic import Traffic, answer_or_ring, archive_complaint


@contextlib.contextmanager
def calls_of(lab, **options):
    """A cluster and its calls, which come and go only by the test's will."""
    seed = new_seed()
    cluster = Cluster(lab, log_level=2, **options)
    with Callees(lab, ports=(5060,), on_invite=answer_or_ring) as callees, Caller(lab) as caller:
        yield Traffic(cluster, seed, caller, callees)
        callees.check()
        caller.check()


def place(traffic, count=2):
    """Calls that ring, calls that talk; ready when this returns."""
    calls = [traffic.place(kind, hold=0) for kind in ('cancel', 'caller', 'callee') for _ in range(count)]
    wait_until(lambda: all(traffic.ready(call) for call in calls), 10, 'calls that ring and talk')
    return calls


def place_ringing(traffic, count=2):
    """Calls that ring until the test answers them."""
    calls = [traffic.place('caller', hold=0, dial='ring') for _ in range(count)]
    wait_until(lambda: all(call.got(180) for call in calls), 10, 'calls that ring')
    return calls


def answer(traffic, calls):
    for call in calls:
        traffic.callees.legs(call.call_id)[0].answer()
    wait_until(lambda: all(call.got(200) for call in calls), 10, 'answered calls')


def place_talking(traffic, node):
    """Calls that talk, which kamsyncd and the store know."""
    calls = place_ringing(traffic)
    answer(traffic, calls)
    wait_until(lambda: [c['state'] for c in node.ask('calls')['calls']] == ['answered'] * len(calls), 5, 'they talk')
    wait_until(lambda: node.status()['unwritten'] == '0', 5, 'all written')
    return calls


def end(traffic, calls):
    for call in calls:
        assert traffic.end(call)
    wait_until(lambda: all(traffic.ended(call) for call in calls), 15,
               lambda: f'the end of {[call.call_id for call in calls if not traffic.ended(call)]}')


def archive(node):
    found = {}
    for entry in node.ask('cdr', count=1000).get('cdr', ()):
        found.setdefault(entry['call_id'], []).append(entry)
    return found


def wait_archive(traffic, node):
    """One entry of each call, and it is right."""
    def wrong():
        entries = archive(node)
        return {call.call_id: text for call in traffic.calls
                if (text := archive_complaint(call, entries.get(call.call_id, [])))}
    wait_until(lambda: not wrong(), 15, wrong, every=0.1)


def check(lab, traffic):
    wrong = traffic.wrong(traffic.calls)
    assert not wrong, [(call.call_id, text, lab.trace.show(call.call_id)) for call, text in wrong.items()]
    assert traffic.repeated(traffic.calls) == 0


def live(node, calls, transactions):
    """kamsyncd knows that many, and has written all."""
    def known():
        status = node.status()
        return (status['transactions'], status['unwritten']) == (str(transactions), '0') and \
            node.ask('calls', limit=1).get('total') == calls
    wait_until(known, 10, lambda: f'{calls} calls, {transactions} transactions: {node.status()} {node.ask("calls")}',
               every=0.1)


@pytest.mark.parametrize('names', ['a', 'abc'])
def test_killed_amid_calls(lab, names):
    """Of one node; of all nodes, so that nobody who lives knows anything."""
    with calls_of(lab) as traffic:
        cluster = traffic.cluster
        before, late = place(traffic, 4), place_ringing(traffic)
        wait_until(lambda: all(node.status()['unwritten'] == '0' for node in cluster.node.values()), 5, 'all written')
        kill_kamsyncd(cluster, names)
        during = place(traffic)
        answer(traffic, late)
        end(traffic, [*before[::2], *during[::2]])
        for name in names:
            cluster[name].start_kamsyncd()
        wait_until(lambda: all('Kamailio is node' in cluster[name].log() and '(commands): connected' in cluster[name].log()
                               for name in names), 10, 'all are back')
        after = place(traffic)
        end(traffic, [*before[1::2], *during[1::2], *late, *after])
        wait_archive(traffic, cluster['b'])
        check(lab, traffic)
        for node in cluster.node.values():
            counters = node.counters()
            assert (counters['frames_lost'], counters['frames_bad'], counters['byes_unknown']) == (0, 0, 0)
        cluster.stop()


def test_alone_with_a_state_file(lab):
    """memory:// and a file: kamsyncd dies, then Kamailio. A ringing call outlives both, and so does the archive."""
    with calls_of(lab, nodes='a', store='memory://', redis=False, state_file=f'{lab.directory}/state') as traffic:
        cluster, node = traffic.cluster, traffic.cluster['a']
        before, late = place(traffic), place_ringing(traffic)
        end(traffic, before[:1] + before[2:3])
        live(node, 6, 4 + 4)  # tm keeps what is over for a while: 4 ring
        wait_until(lambda: len(archive(node)) == 2, 5, 'both have ended')
        kill_kamsyncd(cluster, 'a')
        answer(traffic, late[:1])
        restart_kamsyncd(cluster)
        wait_until(lambda: node.ask('calls', limit=1).get('total') == 6, 10, 'all are known again')
        wait_until(lambda: node.ask('call', call_id=late[0].call_id)['calls'][0]['state'] == 'answered', 10,
                   'what happened in the gap')
        node.kamailio.kill()
        node.start_kamailio()
        wait_until(lambda: ': restarted' in node.log(), 10, 'kamsyncd and the new Kamailio')
        wait_until(lambda: node.counters()['takeovers_done'] == 2, 10, lambda: f'taken over: {node.counters()}', every=0.1)
        answer(traffic, late[1:])
        end(traffic, before[1:2] + before[3:] + late)
        wait_archive(traffic, node)
        assert not traffic.wrong(traffic.calls), traffic.wrong(traffic.calls)
        cluster.stop()


def test_alone_without_a_file(lab):
    """What is lost with it: the archive, and kamsync's knowledge of the calls that are there, but for what it had not yet
    acknowledged. The calls themselves go on."""
    with calls_of(lab, nodes='a', store='memory://', redis=False) as traffic:
        cluster, node = traffic.cluster, traffic.cluster['a']
        before = place(traffic)
        end(traffic, before[:1])
        wait_until(lambda: archive(node), 5, 'the archive')
        kill_kamsyncd(cluster, 'a')
        restart_kamsyncd(cluster)
        end(traffic, before[1:])
        check(lab, traffic)
        after = place(traffic)
        end(traffic, after)
        wait_until(lambda: set(archive(node)) >= {call.call_id for call in after}, 5, 'those that it knew from the beginning')
        assert all(len(entries) == 1 for entries in archive(node).values())
        cluster.stop()


def unread(kamsyncd):
    """Bytes that Kamailio has sent it and that it has not read."""
    with open(f'/proc/{kamsyncd.pid}/net/tcp') as table:
        rows = [line.split() for line in table][1:]
    return sum(int(row[4].split(':')[1], 16) for row in rows if row[2].endswith(':2100'))


def test_what_it_had_not_read_is_told_to_the_next_one(lab):
    """Nobody says a BYE again."""
    with calls_of(lab, nodes='a') as traffic:
        node = traffic.cluster['a']
        lab.route_all('a')
        calls = place_talking(traffic, node)
        node.kamsyncd.signal(signal.SIGSTOP)
        end(traffic, calls)
        wait_until(lambda: unread(node.kamsyncd) > 0, 5, 'the BYEs wait in its socket')
        kill_kamsyncd(traffic.cluster, 'a')
        restart_kamsyncd(traffic.cluster)
        wait_until(lambda: all(len(archive(node).get(call.call_id, ())) == 1 for call in calls), 10, 'their entries')


def test_calls_that_it_had_not_read(lab):
    """kamsyncd stands still, calls come and go, it is killed: the whole calls are told to the next one."""
    with calls_of(lab, nodes='a') as traffic:
        node = traffic.cluster['a']
        lab.route_all('a')
        node.kamsyncd.signal(signal.SIGSTOP)
        calls = place_ringing(traffic)
        answer(traffic, calls)
        end(traffic, calls[:1])
        wait_until(lambda: unread(node.kamsyncd) > 0, 5, 'events wait in its socket')
        kill_kamsyncd(traffic.cluster, 'a')
        restart_kamsyncd(traffic.cluster)
        end(traffic, calls[1:])
        wait_archive(traffic, node)


def test_dies_again_before_it_has_read(lab):
    """The next one dies, too, before it has acknowledged what it is told once more."""
    with calls_of(lab, nodes='a') as traffic:
        node = traffic.cluster['a']
        lab.route_all('a')
        calls = place_talking(traffic, node)
        kill_kamsyncd(traffic.cluster, 'a')
        end(traffic, calls)
        gone = node.kamailio.log().count('kamsyncd is gone')
        for _ in range(2):
            client = EvapiClient(lab, 'a')
            wait_until(lambda: client.read(1) and [m for m in client.others if m['t'] == 'events'], 5, 'the BYEs')
            client.close()
            gone += 1
            wait_until(lambda: node.kamailio.log().count('kamsyncd is gone') >= gone, 5, 'Kamailio notices')
        restart_kamsyncd(traffic.cluster)
        wait_archive(traffic, node)


@pytest.mark.parametrize('end_of_link', ['killed', 'link broken'])
def test_told_twice(lab, end_of_link):
    """Short calls, whose events kamsyncd has read but not acknowledged yet: whether told again or not, they stay as they are."""
    with calls_of(lab, nodes='a') as traffic:
        node = traffic.cluster['a']
        lab.route_all('a')
        calls = place(traffic)
        end(traffic, calls)
        wait_archive(traffic, node)
        if end_of_link == 'killed':
            kill_kamsyncd(traffic.cluster, 'a')
            restart_kamsyncd(traffic.cluster)
        else:
            ups = node.counters()['link_ups']
            subprocess.run(['ip', 'netns', 'exec', lab.namespace('a'), 'ss', '-K', 'dport', '=', ':8448'], check=True,
                           stdout=subprocess.DEVNULL)  # resets the connection
            wait_until(lambda: node.counters()['link_ups'] > ups, 10, 'connected again')
        end(traffic, place(traffic, 1))  # what comes later is read later
        wait_archive(traffic, node)
        wait_until(lambda: node.ask('calls', limit=1).get('total') == 0, 15, lambda: f'no live call: {node.ask("calls")}')
        assert [len(entries) for entries in archive(node).values()] == [1] * len(traffic.calls)
