"""Small clusters to be measured side by side: two nodes each, or three ("kamsync-three"), the same node.cfg and routing, and one difference.

    with Sites(['plain', 'plain-again', 'kamsync']) as sites:
        sites['kamsync'].phones('call', 300, 100)

A variant is its name, or "name@20": with a round trip of 20 ms to Redis, or "name+tlsf": with that allocator in Kamailio.
"kamsync-before" is that of another checkout, in the folder that KAMSYNC_BEFORE names, and built in its build/.
"""
import contextlib
import functools
import json
import os
import re
import subprocess
import time

import measure
from lab import cluster, netns
from lab.cluster import Cluster, Node
from lab.lab import ANYCAST, REDIS_PORT, SIP_PORT, Lab
from lab.proc import wait_until

SHARED_MB = 1024
PROXY_PORT = 6380
NEAR_PORT = 6381
MARK, TABLE = 2, 102
CTL = os.path.join(measure.HERE, 'ctl.cfg')
# Kamailio's processes, by what core.psx says of them; the last are all others
KAMAILIO = {'SIP processes': 'udp receiver', "evapi's process": 'EvAPI', 'timer of events': 'RTIMER', 'other processes': ''}
PARTS = (*KAMAILIO, 'kamsyncd', 'redis')
ROUTING = {'ndb_redis': 'ndb_redis.cfg', 'dialog': 'dialog_dmq.cfg', 'htable': 'htable_dmq.cfg',
           'floor': 'floor.cfg', 'floor-invite': 'floor.cfg', 'floor-records': 'floor_records.cfg'}
# in the place of kamsync.cfg
SCRIPTS = {'stray-floor': 'stray_floor.cfg', 'stray-floor-proof': 'stray_floor.cfg', 'stray-floor-believed': 'stray_floor.cfg'}
DEFINES = {'floor-invite': {'FLOOR_INVITE': None}, 'stray-floor-proof': {'STRAY_PROOF': None},
           'stray-floor-believed': {'STRAY_BELIEVED': None},
           'kamsync-asked': {'KAMSYNC_ALL_MAX': 0}, 'kamsync-near': {'KAMSYNC_ALL_MAX': 0}}


class QuietLab(Lab):
    """Without steering and trace, which cost more than what is measured."""

    def _make_steering(self):
        pass


class BenchNode(Node):
    def __init__(self, *args, allocator='', program=None):
        super().__init__(*args)
        self.allocator = allocator
        self.program = program or self.program
        self.door = f'{self.directory}/ctl'

    def _args(self):
        return super()._args() + (['-x', self.allocator] if self.allocator else [])

    def start_kamailio(self):
        for name, node in (('DMQ_SELF', self.name), ('DMQ_PEER', 'b' if self.name == 'a' else 'a')):
            self.cluster.defines[name] = f'"sip:{self.lab.address(node)}:{SIP_PORT}"'
        self.cluster.defines['BENCH_CTL'] = f'"unix:{self.door}"'
        super().start_kamailio()

    def processes(self):
        """[(part, pid)] of Kamailio's."""
        asked = subprocess.run(['kamcmd', '-s', f'unix:{self.door}', 'core.psx'], capture_output=True, text=True, check=True)
        return [(next(part for part, word in KAMAILIO.items() if word in what), int(pid))
                for pid, what in re.findall(r'PID: (\d+)\s+DSC: (.*)', asked.stdout)]


class Site:
    """One cluster; all calls go to its first node, and what is marked to its second."""
    lab_class = QuietLab
    nodes, modules = None, CTL      # None: all of the lab
    config = cluster.CONFIG

    def __init__(self, variant):
        self.variant = variant
        self.kind, _, ms = variant.partition('@')
        self.kind = self.kind.removesuffix('-again')
        self.kind, _, self.allocator = self.kind.partition('+')
        self.ms = float(ms or 0)
        self.lab = self.lab_class(nodes=('a', 'b', 'c') if self.kind.endswith('-three') else ('a', 'b'))
        self.proxy, self.settings = None, {}
        try:
            self._start()
        except BaseException:
            self.lab.close()
            raise

    def _start(self):
        lab = self.lab
        store = f'redis://{lab.address("store")}:{PROXY_PORT if self.ms else REDIS_PORT}'
        routing = os.path.join(measure.HERE, ROUTING.get(self.kind, 'routing.cfg'))
        self.redis = lab.redis()
        if self.ms:
            self._start_proxy()
        if self.kind == 'kamsync-near':
            self._start_replica()
        script = self._script()
        program = self._before() if self.kind == 'kamsync-before' else None
        self.cluster = Cluster(lab, self.nodes, kamsync=self.kind.startswith('kamsync') or bool(script), daemons=not script,
                               redis=False, routing=routing, modules=self.modules, config=script or self.config, log_level=0,
                               shared_mb=SHARED_MB, store=store, **self.settings,
                               node_class=functools.partial(BenchNode, allocator=self.allocator, program=program),
                               defines={'LAB_REDIS': f'"name=lab;addr={lab.address("store")};port='
                                                     f'{PROXY_PORT if self.ms else REDIS_PORT}"',
                                        **DEFINES.get(self.kind, {})})
        for side in ('caller', 'gateway'):
            lab.route(side, 'a')
        netns.ip(f'route add {ANYCAST}/32 via {lab.address("b")} table {TABLE}',
                 f'rule add fwmark {MARK} table {TABLE}', netns=lab.namespace('caller'))
        self.sinks = [self._start_sink(name) for name in self.cluster.node if self.kind.startswith('floor')]

    @functools.cached_property
    def pids(self):
        """{part: [pid]}"""
        found = {part: [] for part in PARTS}
        for node in self.cluster.node.values():
            for part, pid in node.processes():
                found[part].append(pid)
        daemons = [node.kamsyncd for node in self.cluster.node.values() if node.kamsyncd] + self.sinks
        found['kamsyncd'] = [pid for daemon in daemons for pid in measure.family(daemon.pid)]
        return found | {'redis': measure.family(self.redis.pid)}

    def _script(self):
        """A node.cfg that includes another script than kamsync.cfg."""
        if self.kind not in SCRIPTS:
            return None
        directory = self.lab.new_directory('script')
        os.symlink(os.path.abspath(cluster.CONFIG), f'{directory}/node.cfg')
        os.symlink(os.path.join(measure.HERE, SCRIPTS[self.kind]), f'{directory}/kamsync.cfg')
        return f'{directory}/node.cfg'

    def _before(self):
        """The kamsyncd of the other checkout, and its node.cfg with the kamsync.cfg beside it."""
        home = os.environ['KAMSYNC_BEFORE']
        self.config = os.path.join(home, 'kamailio-cfg', 'node.cfg')
        with open(os.path.join(os.path.dirname(self.config), 'kamsync.cfg')) as file:
            if 'KAMSYNC_KEYS_FILE' not in file.read():  # before 2026-11-29
                self.settings['keys_file'] = None
        return os.path.join(home, 'build', 'daemon', 'kamsyncd')

    def _start_sink(self, host):
        return self.lab.start(host, 'sink', [measure.tool('sink'), 8448, self.lab.address('store'), REDIS_PORT])

    def _start_proxy(self):
        path = os.path.join(self.lab.directory, 'delay')
        with open(path, 'w') as file:
            file.write(f'{int(1000 * self.ms)}\n')
        self.proxy = self.lab.start('store', 'delay', [measure.tool('delay'), PROXY_PORT, REDIS_PORT, path])
        time.sleep(0.1)

    def _start_replica(self):
        """Beside the nodes: the delay is only between them and the store."""
        lab = self.lab
        lab.redis('replica', NEAR_PORT, ['--replicaof', '127.0.0.1', REDIS_PORT])
        self.settings['store_near'] = f'redis://{lab.address("store")}:{NEAR_PORT}'
        wait_until(lambda: 'master_link_status:up' in lab.redis_cli('info', 'replication', port=NEAR_PORT), 20, 'the replica')

    def close(self):
        self.lab.close()

    def cpu(self):
        """Seconds so far: {part: …}, and of all Kamailio's processes as 'kamailio'."""
        used = {part: measure.cpu_of(pids) for part, pids in self.pids.items()}
        return used | {'kamailio': sum(used[part] for part in KAMAILIO)}

    def phones(self, kind, calls, rate, wrong_node=False):
        """Starts calls; result() has what became of them."""
        lab = self.lab
        argv = [measure.tool('phones'), kind, calls, rate, lab.namespace('caller'), lab.address('caller'),
                lab.namespace('gateway'), lab.address('gateway'), ANYCAST, *([MARK] if wrong_node else [])]
        return subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE, text=True)


def result(phones):
    out = phones.communicate()[0]
    if phones.returncode:
        raise RuntimeError(f'phones ended with {phones.returncode}')
    return json.loads(out)


class Sites:
    """Several of them at once; what runs at the same time meets the same disturbances."""

    def __init__(self, variants):
        self._stack = contextlib.ExitStack()
        self.site = {}
        try:
            for variant in variants:
                site = Site(variant)
                self._stack.callback(site.close)
                self.site[variant] = site
        except BaseException:
            self._stack.close()
            raise

    def __getitem__(self, variant):
        return self.site[variant]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def cpu(self):
        return {variant: site.cpu() for variant, site in self.site.items()}


def spent(before, after):
    """{'plain': {'kamailio': seconds, …}, …}: the difference of two Sites.cpu()."""
    return {variant: {name: after[variant][name] - before[variant][name] for name in after[variant]}
            for variant in after}
