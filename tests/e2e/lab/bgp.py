"""A router that learns by BGP which nodes to send the anycast address to: BIRD on it and on the nodes, with our examples.

    with Bed() as bed:
        outcome = bed.run(FAILURES['drained'])

Packets of caller and gateway go to the router, which spreads them over the nodes by address and port (ECMP), so that
what belongs to one call arrives at several nodes, as with real routes.
"""
import contextlib
import os
import re
import signal
import socket
import time
from dataclasses import dataclass

from lab import netns
from lab.cluster import CFG, Cluster
from lab.lab import ANYCAST, SIDES, SIP_PORT, Lab
from lab.netns import ip
from lab.phone import Callees, Caller, request
from lab.proc import LabError, each, wait_until
from lab.traffic import Traffic, answer_or_ring

EXAMPLES = os.path.join(os.path.dirname(__file__), '../../../docs/examples/bgp')
ROUTING = os.path.join(CFG, 'bgp.cfg')
HTTP_PORT = 9190
PORTS = range(17060, 17072)    # so many callers: flows that the router spreads
BEFORE = 24                    # calls that ring, and as many that are answered, when it happens
RATE = 12                      # new calls per second meanwhile
LATER_S, STAYS_S = 1, 4        # they go on for so long after the route has moved, or while it should not
PATIENCE = 25
NODE_AS, ROUTER_AS = 65001, 65000

ROUTER_CONF = """
router id {address};
protocol device {{ }}
protocol kernel {{ merge paths on; ipv4 {{ import none; export all; }}; }}
protocol bfd {{ interface "*" {{ interval 300 ms; multiplier 3; }}; }}
template bgp node {{
    local {address} as {router_as};
    bfd {bfd};
    connect retry time 5;
    error wait time 1, 10;
    ipv4 {{ import all; export none; }};
}}
"""
NEIGHBOUR = 'protocol bgp {name} from node {{ neighbor {address} as {node_as}; }}\n'


class Callers:
    """Callers at several ports, each of which gets the next call."""

    def __init__(self, lab):
        self.list, self.count = [], 0
        self.close = contextlib.ExitStack()
        for port in PORTS:
            self.list.append(self.close.enter_context(Caller(lab, port)))
        self.lock, self.after = self.list[0].lock, self.list[0].after

    def call(self, call_id, dial):
        self.count += 1
        return self.list[self.count % len(self.list)].call(call_id, dial)

    def check(self):
        for caller in self.list:
            caller.check()


@dataclass
class Failure:
    text: str
    begin: object              # (bed, node)
    end: object                # undoes it
    why: str = ''              # what kamsync-announce shall say of it; '': nothing, or one of two things
    moves: bool = True         # whether the route shall move
    bfd: bool = True
    long: bool = False         # only for the table


def _kill_kamailio(bed, node):
    node.kamailio.kill()


def _signal_kamailio(number):
    return lambda bed, node: os.killpg(node.kamailio.pid, number)


def _signal_kamsyncd(number):
    return lambda bed, node: node.kamsyncd.signal(number)


def _restart_kamsyncd(bed, node):
    node.stop_kamsyncd()
    node.start_kamsyncd()


def _start_kamailio(bed, node):
    node.start_kamailio()


def _start_kamsyncd(bed, node):
    node.start_kamsyncd()


def _nothing(bed, node):
    pass


def _ask(command):
    return lambda bed, node: node.ask(command)


def _suddenly(act):
    """Not in the moment of an INVITE: one that dies inside a host, which has said 100, nobody else has heard of."""
    return lambda bed, node: wait_until(lambda: bed.between_invites(lambda: act(bed, node)), 5, 'a moment without an INVITE')


def _unplug(bed, node):
    bed.lab.unplug(node.name)


def _plug(bed, node):
    bed.lab.plug(node.name)


FAILURES = {
    'drain': Failure('`kamsyncctl drain`', _ask('drain'), _ask('undrain'), 'drained'),
    'kamailio killed': Failure('Kamailio killed', _suddenly(_kill_kamailio), _start_kamailio, 'kamailio away'),
    'kamailio hangs': Failure('Kamailio hangs (SIGSTOP)', _suddenly(_signal_kamailio(signal.SIGSTOP)),
                              _signal_kamailio(signal.SIGCONT)),
    'overload': Failure('Kamailio gets twice what its processes can do', lambda bed, node: bed.flood(node),
                        lambda bed, node: bed.end_flood(), 'no answer to an OPTIONS'),
    'kamsyncd restarted': Failure('kamsyncd restarted', _restart_kamsyncd, _nothing, moves=False),
    'kamsyncd killed': Failure('kamsyncd killed', _signal_kamsyncd(signal.SIGKILL), _start_kamsyncd, 'no answer from http',
                               long=True),
    'kamsyncd hangs': Failure('kamsyncd hangs (SIGSTOP)', _signal_kamsyncd(signal.SIGSTOP), _signal_kamsyncd(signal.SIGCONT),
                              'no answer from http'),
    'host': Failure('the host dies, with BFD', _suddenly(_unplug), _plug),
    'host without BFD': Failure('the host dies, without BFD: hold time of 9 s', _suddenly(_unplug), _plug, bfd=False, long=True),
}


@dataclass
class Outcome:
    failure: Failure
    moved_s: float = None      # None: the route stayed
    back_s: float = None
    why: str = ''              # what kamsync-announce said last
    before: dict = None        # kind: calls
    new: list = None
    wrong: dict = None         # call: complaint

    def _wrong_of(self, calls):
        return sum(call in self.wrong for call in calls)

    def late(self):
        return [call for call in self.new if call.invites > 1]

    def wait_s(self):
        """The longest time until a new call had its first answer."""
        return max((call.replies[0].time - call.began for call in self.new if call.replies), default=0)

    def row(self):
        calls = [f'{len(calls)}, {self._wrong_of(calls)}' for calls in (*self.before.values(), self.new)]
        moved = 'stays' if self.moved_s is None else f'{self.moved_s:.1f} s'
        back = '–' if self.moved_s is None else f'{self.back_s:.1f} s'
        return f'| {self.failure.text} | {moved} | {" | ".join(calls)} | {len(self.late())} | {self.wait_s():.1f} s | {back} |'


HEAD = ('| what happens to one of three nodes | its route is gone after | ringing there, wrong | answered there, wrong '
        '| new calls, wrong | of these with an INVITE sent again | longest until the first reply | its route is back after |\n'
        '|---|---|---|---|---|---|---|---|\n')


def table(outcomes):
    return HEAD + ''.join(outcome.row() + '\n' for outcome in outcomes.values())


class Bed:
    """The lab with three nodes and a router; `settings` are those of kamsync-announce."""

    def __init__(self, seed, bfd=True, **settings):
        self.seed, self.bfd, self.runs = seed, bfd, 0
        self.settings = {'SIP': f'{ANYCAST}:{SIP_PORT}', **{name: str(value) for name, value in settings.items()}}
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error):
        self._stack.__exit__(*error)

    def _start(self):
        self.lab = self._stack.enter_context(Lab(more=('router',)))
        self.cluster = Cluster(self.lab, routing=ROUTING, http_listen=HTTP_PORT)
        self._start_router()
        for node in self.cluster.node.values():
            self._start_node(node)
        self.callees = self._stack.enter_context(Callees(self.lab, on_invite=answer_or_ring))
        self.callers = Callers(self.lab)
        self._stack.callback(self.callers.close.close)
        self.wait_announced(*self.cluster.nodes)

    # --- routes

    def _start_router(self):
        space, address = self.lab.namespace('router'), self.lab.address('router')
        # By address and port. It sends packets out where they came in, and shall not tell the callers of a shorter way.
        netns.set_sysctls(space, {'net/ipv4/ip_forward': 1, 'net/ipv4/fib_multipath_hash_policy': 1,
                                  'net/ipv4/conf/all/send_redirects': 0, 'net/ipv4/conf/eth0/send_redirects': 0})
        for side in SIDES:
            ip(f'route replace {ANYCAST}/32 via {address}', netns=self.lab.namespace(side))
        conf = ROUTER_CONF.format(address=address, router_as=ROUTER_AS, bfd='on' if self.bfd else 'off')
        conf += ''.join(NEIGHBOUR.format(name=name, address=self.lab.address(name), node_as=NODE_AS) for name in self.lab.nodes)
        self._start_bird('router', conf)

    def _start_node(self, node):
        with open(f'{EXAMPLES}/bird.conf') as file:
            conf = file.read()
        values = {'NODE': node.ip, 'ROUTER': self.lab.address('router'), 'ANYCAST': f'{ANYCAST}/32'}
        for name, value in values.items():
            conf, count = re.subn(f'(?m)^define {name} = .*?;', f'define {name} = {value};', conf)
            assert count == 1, name
        directory = self._start_bird(node.name, conf if self.bfd else conf.replace('bfd on;', 'bfd off;'))
        node.announce = self.lab.start(node.name, 'announce', [f'{EXAMPLES}/kamsync-announce', 'bird'],
                                       {'BIRDC': f'birdc -s {directory}/bird.ctl', **self.settings})

    def _start_bird(self, host, conf):
        directory = self.lab.new_directory(f'{host}-bird')
        with open(f'{directory}/bird.conf', 'w') as file:
            file.write(conf)
        self.lab.start(host, 'bird', ['bird', '-f', '-c', f'{directory}/bird.conf', '-s', f'{directory}/bird.ctl'])
        return directory

    def announced(self):
        """The nodes that the router's kernel sends to."""
        text = ip(f'route show {ANYCAST}', netns=self.lab.namespace('router'))
        return {name for name in self.lab.nodes if re.search(rf'via {re.escape(self.lab.address(name))}\b', text)}

    def wait_announced(self, *names, timeout=PATIENCE):
        wait_until(lambda: self.announced() == set(names), timeout, lambda: f'routes to {names}, there are {self.announced()}')

    # --- overload

    def flood(self, node):
        """Each such request takes one of its two processes 100 ms (cfg/bgp.cfg)."""
        ip(f'route replace {ANYCAST}/32 via {node.ip}', netns=self.lab.namespace('store'))
        self._sock = netns.inside(self.lab.namespace('store'), socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
        self._flooding, caller = True, self.callers.list[0]
        with caller.lock:
            caller.after(0, self._flood_on, 0)

    def _flood_on(self, number):
        if self._flooding:
            uri = f'sip:slow@{ANYCAST}'
            text = request('OPTIONS', uri, [
                ('Via', f'SIP/2.0/UDP {self.lab.address("store")}:9;branch=z9hG4bKflood{self.runs}-{number}'),
                ('From', f'<sip:flood@lab>;tag={number}'), ('To', f'<{uri}>;tag=1'),
                ('Call-ID', f'flood-{self.runs}-{number}@lab'), ('CSeq', '1 OPTIONS'), ('Max-Forwards', '70')])
            self._sock.sendto(text.encode(), (ANYCAST, SIP_PORT))
            self.callers.list[0].after(1 / 40, self._flood_on, number + 1)

    def end_flood(self):
        self._flooding = False
        self._sock.close()

    # --- one failure

    def decided(self):
        """What kamsync-announce on each node said last: up, or down and why."""
        said = {name: re.findall(r'kamsync-announce: (.*)', node.announce.log()) for name, node in self.cluster.node.items()}
        return {name: lines[-1] for name, lines in said.items() if lines}

    def run(self, failure):
        self.runs += 1
        self.traffic = Traffic(self.cluster, self.seed + self.runs, self.callers, self.callees, RATE, steer=False)
        before = [self.traffic.place(kind, hold=0) for kind in BEFORE * ('cancel', 'caller')]
        wait_until(lambda: each(before, self.traffic.ready), 5, 'calls')
        node = self.cluster[self._owner(before)]
        mark, outcome = self.traffic.mark(), Outcome(failure)
        self.traffic.start()
        wait_until(lambda: self.traffic.since(mark), 5, 'a new call')
        began = time.monotonic()
        failure.begin(self, node)
        outcome.moved_s = self._wait_moved(node, began, failure)
        outcome.why = self.decided()[node.name]
        self._later(LATER_S)
        mine = [call for call in before if self._first_node(call) == node.name]
        for call in before:
            self.traffic.end(call)
        self.traffic.settle()
        outcome.before = {kind: [call for call in mine if call.kind == kind] for kind in ('cancel', 'caller')}
        outcome.new, outcome.wrong = self.traffic.since(mark), self.traffic.wrong(self.traffic.calls)
        outcome.back_s = self._bring_back(node, failure)
        self.callers.check()
        self.callees.check()
        return outcome

    def between_invites(self, act):
        """False, and nothing is done, if there is a call whose INVITE may just be on its way; none begins meanwhile."""
        with self.callers.lock:
            calm = each(self.traffic.calls, self.traffic.ready)
            if calm:
                act()
            return calm

    def _wait_moved(self, node, began, failure):
        """None: it does not."""
        seconds = PATIENCE if failure.moves else STAYS_S
        with contextlib.suppress(LabError):
            wait_until(lambda: node.name not in self.announced(), seconds, 'the route moves')
            return time.monotonic() - began
        return None

    def _later(self, seconds):
        """New calls go on for so long."""
        until = len(self.traffic.calls) + seconds * RATE
        wait_until(lambda: len(self.traffic.calls) >= until, PATIENCE, 'new calls')

    def _bring_back(self, node, failure):
        began = time.monotonic()
        failure.end(self, node)
        self.wait_announced(*self.cluster.nodes)
        return time.monotonic() - began

    def _first_node(self, call):
        """Where the router sent its INVITE: that node called the far end."""
        seen = self.lab.trace.seen_by('gateway', call.call_id)
        return next(node for way, kind, node in seen if (way, kind) == ('in', 'INVITE'))

    def _owner(self, calls):
        """The node that has most of them."""
        owners = [self._first_node(call) for call in calls]
        return max(self.cluster.nodes, key=owners.count)
