"""The lab: a small internet with one anycast address, in namespaces.

    caller ──┐                 ┌── a   192.0.2.1 and 2001:db8:a::1 on `lo`
    gateway ─┼── bridge, veth ─┼── b   the same
    store ───┘                 └── c   the same

    with Lab() as lab:
        lab.kamailio('a', 'node.cfg', {'MY_ID': 1})
        lab.route('caller', 'a')            # an anycast route, to be flapped
        lab.steer(by_kind({'CANCEL': 'b'}, default='a'))  # or packet by packet

Everything is made by Lab() and removed by its end, however that comes.
"""
import atexit
import contextlib
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from lab import netns
from lab.kamailios import kamailio_of
from lab.netns import ip
from lab.proc import LabError, Proc, wait_until
from lab.redis_tools import redis_tool
from lab.steering import Side, Steering

ANYCAST, ANYCAST6 = '192.0.2.1', '2001:db8:a::1'
SIP_PORT, REDIS_PORT = 5060, 6379
NODES = ('a', 'b', 'c')
SIDES = ('caller', 'gateway')
# The last number of the address, in both families, and of the MAC address.
HOSTS = {'a': 1, 'b': 2, 'c': 3, 'd': 4, 'caller': 11, 'gateway': 12, 'store': 13, 'router': 14}
# Larger than any SIP message over UDP that the tests send: fragments would
# have to be put together again by the steering and by the trace.
VETH_MTU, TUN_MTU = 32000, 65000

_SYSCTLS = {
    # Packets from the caller come in by a TUN device and leave by eth0.
    'net/ipv4/conf/all/rp_filter': 0,
    'net/ipv4/conf/default/rp_filter': 0,
    # IPv6 addresses shall be usable at once, and only those the lab gives.
    'net/ipv6/conf/all/disable_ipv6': 0,
    'net/ipv6/conf/default/disable_ipv6': 0,
    'net/ipv6/conf/default/accept_dad': 0,
    'net/ipv6/conf/default/accept_ra': 0,
    'net/ipv6/conf/default/router_solicitations': 0,
}
_numbers = itertools.count(1)


class Lab:
    def __init__(self, nodes=NODES, keep_logs=False, more=()):
        """more: other hosts (lab/bgp.py)."""
        self.nodes = tuple(nodes)
        self.hosts = (*self.nodes, *SIDES, 'store', *more)
        number = next(_numbers)
        self.prefix = f'ks{os.getpid()}' + (f'x{number}' if number > 1 else '')
        self.directory = tempfile.mkdtemp(prefix=f'{self.prefix}-')
        self.keep_logs = keep_logs
        self.procs = []
        self.steering = None
        self._cut = set()
        self._closed = False
        self._counter = itertools.count(1)
        self.sipp_runs = itertools.count(1)
        _end_on_sigterm()
        atexit.register(self.close)
        try:
            self._make_network()
            self._make_steering()
        except BaseException:
            self.close()
            raise

    # --- beginning and end ---

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if kind is not None:
            self.keep_logs = True
            print(f'the lab failed; its logs: {self.directory}')
        self.close()

    def close(self):
        """End every process and remove every namespace of this lab."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        with contextlib.ExitStack() as last_first:  # one failure stops no other
            if not self.keep_logs:
                last_first.callback(shutil.rmtree, self.directory, True)
            for host in ('hub', *HOSTS):
                last_first.callback(self._remove_namespace, host)
            if self.steering:
                last_first.callback(self.steering.close)
            for proc in self.procs:
                last_first.callback(proc.kill)

    def _remove_namespace(self, host):
        if netns.exists(self.namespace(host)):
            ip(f'netns del {self.namespace(host)}')

    def check(self):
        """Complain about what went wrong unseen; for the end of a test."""
        if self.steering.error:
            raise LabError('the steering failed') from self.steering.error
        stats = self.steering.stats()
        if stats['lost by the trace'] or stats['fragments']:
            raise LabError(f'the trace is not complete: {stats}')

    # --- network ---

    def namespace(self, host):
        return f'{self.prefix}-{host}'

    def address(self, host, family=4):
        """The unicast address of a host."""
        return (f'198.51.100.{HOSTS[host]}' if family == 4
                else f'2001:db8:b::{HOSTS[host]}')

    def _make_network(self):
        hub = self.namespace('hub')
        ip(f'netns add {hub}')
        ip('link set lo up', f'link add br0 mtu {VETH_MTU} type bridge',
           'link set br0 up', netns=hub)
        for host in self.hosts:
            self._make_host(host, hub)

    def _make_host(self, host, hub):
        space = self.namespace(host)
        ip(f'netns add {space}')
        netns.set_sysctls(space, _SYSCTLS)
        ip(f'link add name to-{host} mtu {VETH_MTU} type veth '
           f'peer name eth0 mtu {VETH_MTU} netns {space}',
           f'link set to-{host} master br0', f'link set to-{host} up', netns=hub)
        ip('link set lo up', f'link set eth0 address {_mac_text(host)}',
           'link set eth0 up',
           f'addr add {self.address(host)}/24 dev eth0',
           f'addr add {self.address(host, 6)}/64 dev eth0 nodad', netns=space)
        if host in self.nodes:
            ip(f'addr add {ANYCAST}/32 dev lo',
               f'addr add {ANYCAST6}/128 dev lo nodad', netns=space)

    def _make_steering(self):
        sides = {name: Side(name, self.namespace(name), _mac(name))
                 for name in SIDES}
        tuns = {node: netns.open_tun(self.namespace(node), 'steer')
                for node in self.nodes}
        for host in (*SIDES, *self.nodes):
            ip(f'link set steer mtu {TUN_MTU} txqueuelen 10000 up',
               netns=self.namespace(host))
        self.steering = Steering(sides, tuns, {_mac(h): h for h in HOSTS})
        self.steering.start()

    @property
    def trace(self):
        """With all that anybody has got so far."""
        self.steering.catch_up()
        return self.steering.trace

    def route(self, side, node):
        """An ordinary anycast route: from now on all packets go to node."""
        ip(f'route replace {ANYCAST}/32 via {self.address(node)}',
           f'route replace {ANYCAST6}/128 via {self.address(node, 6)}',
           netns=self.namespace(side))

    def route_all(self, node):
        """The same for both sides."""
        for side in SIDES:
            self.route(side, node)

    def steer(self, policy, sides=SIDES):
        """From now on ask the policy, for each packet anew."""
        for side in sides:
            self.steering.sides[side].policy = policy
            # The source address must be the one the answers can reach.
            ip(f'route replace {ANYCAST}/32 dev steer src {self.address(side)}',
               f'route replace {ANYCAST6}/128 dev steer '
               f'src {self.address(side, 6)}', netns=self.namespace(side))

    def flap(self, side, node, condition=lambda flow: True):
        """From now on all packets of the side's living connections, which lab.steer() has steered, go to node, whose kernel
        does not know them. condition: only those Flows (lab/streams.py). New ones go as the policy says."""
        self.steering.sides[side].flows.move(node, condition)

    def cut(self, one, other):
        """Lose everything between two hosts, in silence, both ways."""
        self._cut.add(frozenset((one, other)))
        for here, there in ((one, other), (other, one)):
            # A neighbour that nobody is: unlike a blackhole route this
            # gives no error to the sender.
            self._neighbours(here, there, 'replace',
                             'lladdr 02:00:00:00:ff:ff nud permanent')

    def heal(self, one, other):
        self._cut.discard(frozenset((one, other)))
        for here, there in ((one, other), (other, one)):
            self._neighbours(here, there, 'del', '')

    def _neighbours(self, here, there, verb, rest):
        ip(*(f'neigh {verb} {self.address(there, family)} dev eth0 {rest}'
             for family in (4, 6)), netns=self.namespace(here))

    def unplug(self, node):
        """Pull the node's cable: it lives, but nobody hears of it."""
        self.steering.unplugged.add(node)
        ip(f'link set to-{node} down', netns=self.namespace('hub'))

    def plug(self, node):
        ip(f'link set to-{node} up', netns=self.namespace('hub'))
        self.steering.unplugged.discard(node)

    def delay(self, host, milliseconds):
        """Delay what a host sends by eth0; 0 ends it.  Needs sch_netem."""
        verb = (f'replace dev eth0 root netem delay {milliseconds}ms'
                if milliseconds else 'del dev eth0 root')
        done = self.run(host, ['tc', 'qdisc', *verb.split()], check=False)
        if done.returncode:
            raise LabError(f'tc: {done.stderr.strip()}')

    # --- processes ---

    def start(self, host, name, argv, env=None):
        """Start a program in a host's namespace; it ends with the lab."""
        directory = os.path.join(self.directory, f'{host}-{name}')
        proc = Proc(name, self.namespace(host), argv, directory, env)
        self.procs.append(proc)
        return proc

    def run(self, host, argv, timeout=20, check=True):
        """Run a command to its end in a host's namespace."""
        return subprocess.run(
            ['ip', 'netns', 'exec', self.namespace(host), *map(str, argv)],
            capture_output=True, text=True, timeout=timeout, check=check)

    def new_directory(self, name):
        path = os.path.join(self.directory, f'{name}-{next(self._counter)}')
        os.makedirs(path)
        return path

    def redis(self, name='redis', port=REDIS_PORT, args=()):
        directory = self.new_directory(name)
        proc = self.start('store', name, [
            redis_tool('server'), '--bind', '0.0.0.0', '::', '--port', port,
            '--protected-mode', 'no', '--save', '', '--appendonly', 'no',
            '--dir', directory, *args])
        proc.wait_ready(lambda: self._redis_answers(port), 10, 'PONG')
        return proc

    def redis_cli(self, *args, port=REDIS_PORT):
        return self.run('store', [redis_tool('cli'), '-p', port, *args]).stdout.strip()

    def _redis_answers(self, port):
        def ping():
            address = ('127.0.0.1', port)
            with socket.create_connection(address, timeout=1) as sock:
                sock.sendall(b'PING\r\n')
                return sock.recv(100).startswith(b'+PONG')
        try:
            return netns.inside(self.namespace('store'), ping)
        except OSError:
            return False

    def kamailio(self, node, cfg, defines=None, name='kamailio', port=SIP_PORT,
                 shared_mb=64, args=()):
        """Start Kamailio on a node, and wait for its SIP port.

        defines: for -A, {'NAME': 'value'}, or {'NAME': None} for NAME alone.
        shared_mb: transactions stay for seconds after their end; 64 MB are
        enough for some 400 calls per second on one node.
        """
        runtime = self.new_directory(f'{node}-{name}')
        argv = [*kamailio_of(HOSTS[node] - 1), '-f', os.path.abspath(cfg), '-DD', '-E', '-m', shared_mb,
                '-M', '16', '-Y', runtime, '-P', f'{runtime}/{name}.pid',
                '-w', runtime]
        for key, value in (defines or {}).items():
            argv += ['-A', key if value is None else f'{key}={value}']
        proc = self.start(node, name, [*argv, *args])
        proc.wait_udp(port)
        return proc

    wait_until = staticmethod(wait_until)


def _mac(host):
    return bytes((2, 0, 0, 0, 0, HOSTS[host]))


def _mac_text(host):
    return ':'.join(f'{byte:02x}' for byte in _mac(host))


def _end_on_sigterm():
    """SIGTERM shall run the atexit functions, as Ctrl-C does."""
    if (threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
