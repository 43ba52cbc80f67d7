"""The system under test: Kamailio with kamsync on each node, and their store.

    cluster = Cluster(lab)                      # nodes a, b, c, all connected
    cluster = Cluster(lab, kamsync=False)       # the same nodes without kamsync
"""
import json
import os
import re
import socket

from lab.lab import ANYCAST, ANYCAST6, REDIS_PORT
from lab.proc import wait_until
from lab.store import make_store

E2E = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CONFIG = os.path.join(E2E, '../../kamailio-cfg/node.cfg')
CFG = os.path.join(E2E, 'cfg')
COOKBOOK = os.path.join(os.path.dirname(CONFIG), 'cookbook')
ROUTING = os.path.join(CFG, 'routing.cfg')
CONTROL = os.path.join(CFG, 'control.cfg')  # modules that Node.kamcmd() needs
KAMSYNCD = os.environ.get('KAMSYNCD', os.path.join(E2E, '../../build/daemon/kamsyncd'))
SECRET = 'the-secret-of-the-lab-cluster-6\\6'


def keys_file(lab, node):
    """Where a node's Kamailio finds what its kamsyncd and it share."""
    return os.path.join(lab.directory, f'{node}.keys')


class Node:
    """One Kamailio and the kamsyncd beside it."""
    program = KAMSYNCD

    def __init__(self, cluster, name, number):
        self.cluster, self.lab, self.name, self.id = cluster, cluster.lab, name, number
        self.ip, self.ip6 = self.lab.address(name), self.lab.address(name, 6)
        self.directory = self.lab.new_directory(f'{name}-kamsync')
        self.keys = keys_file(self.lab, name)
        self.kamailio = self.kamsyncd = None
        self.log_start = 0  # where this start of kamsyncd begins in the log

    def start(self):
        self.start_kamailio()
        if self.cluster.kamsync and self.cluster.daemons:
            self.start_kamsyncd()

    def start_kamailio(self):
        defines = {'NODE_ID': self.id, 'NODE_IP': f'"{self.ip}"', 'ANYCAST_IP': f'"{ANYCAST}"',
                   'NODE_IP6': f'"[{self.ip6}]"', 'ANYCAST_IP6': f'"[{ANYCAST6}]"', 'CHILDREN': 2,
                   'LAB_GATEWAY': f'"{self.lab.address("gateway")}"',
                   'KAMSYNC_LOG_MAX': 100000,  # tests count lines
                   'KAMSYNC_KEYS_FILE': f'"{self.keys}"',
                   'LAB_GATEWAY6': f'"[{self.lab.address("gateway", 6)}]"', 'LOGLEVEL': self.cluster.log_level}
        if not self.cluster.kamsync:
            defines['WITHOUT_KAMSYNC'] = None
        self.kamailio = self.lab.kamailio(self.name, self.cluster.config, {**defines, **self.cluster.defines},
                                          shared_mb=self.cluster.shared_mb, args=self._args())

    def _args(self):
        files = {'KAMSYNC_ROUTING': self.cluster.routing, 'KAMSYNC_MODULES': self.cluster.modules}
        return [f'--substdef=!{name}!{path}!g' for name, path in files.items() if path]

    def configure(self, **settings):
        """Write kamsyncd's configuration file; an option that is None is left out."""
        defaults = {'name': self.name, 'store': self.cluster.url,
                    'secret_file': f'{self.directory}/secret', 'keys_file': self.keys,
                    'control': f'{self.directory}/control.sock'}
        with open(f'{self.directory}/secret', 'w') as file:
            file.write(self.cluster.secret + '\n')
        os.chmod(f'{self.directory}/secret', 0o400)
        with open(f'{self.directory}/kamsyncd.conf', 'w') as file:
            for option, value in {**defaults, **self.cluster.settings, **settings}.items():
                file.write(f'{option} = {value}\n' if value is not None else '')

    def start_kamsyncd(self, **settings):
        self.configure(**settings)
        self.log_start = len(self.kamsyncd.log()) if self.kamsyncd else 0
        self.kamsyncd = self.lab.start(self.name, 'kamsyncd', [self.program, '-c', f'{self.directory}/kamsyncd.conf'])

    def stop_kamsyncd(self):
        """An orderly end; returns the exit status."""
        self.kamsyncd.signal(15)
        return self.kamsyncd.wait(10)

    def log(self):
        """What kamsyncd has logged since it was last started."""
        return self.kamsyncd.log()[self.log_start:]

    def counters(self):
        """kamsyncd's counters, as it logs them on SIGUSR1."""
        before = self.kamsyncd.log().count('counter: nodes_changed')
        self.kamsyncd.signal(10)
        wait_until(lambda: self.kamsyncd.log().count('counter: nodes_changed') > before, 10, 'counters in the log')
        last = re.split(r'status: ', self.kamsyncd.log())[-1]
        return {name: int(value) for name, value in re.findall(r'counter: (\w+) (\d+)', last)}

    def status(self):
        self.counters()
        last = re.findall(r'status: (.*)', self.kamsyncd.log())[-1]
        return dict(pair.split('=') for pair in last.split())

    def ask(self, cmd, **fields):
        """kamsyncd's answer to a question of kamsyncctl's (proto/control.md)."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            sock.connect(f'{self.directory}/control.sock')
            sock.sendall(json.dumps({'cmd': cmd, **fields}).encode() + b'\n')
            with sock.makefile() as answer:
                return json.loads(answer.readline())

    def ask_all(self, cmd, **fields):
        """The same for what all nodes tell: one may be late on a busy machine, which the answer says, and is asked again."""
        return wait_until(lambda: not (answer := self.ask(cmd, **fields)).get('silent') and answer, 10, f'all to answer {cmd}')

    def kamcmd(self, *words):
        """A question to this node's Kamailio; its script has modules=CONTROL."""
        return self.lab.run(self.name, ['kamcmd', '-s', 'tcp:127.0.0.1:2049', *words], check=False)

    def wait_shed(self, queue_max):
        """kamsyncd is away: until Kamailio's timer, which may be resting, has dropped what is more than that."""
        def queued():
            return int(re.search(r'size: (\d+)', self.kamcmd('mqueue.get_size', 'kamsync').stdout)[1])
        wait_until(lambda: queued() <= queue_max, 10, lambda: f'{queued()} events wait, at most {queue_max} do')

    def _is_recorded(self, legs):
        known = [branch['code'] for txn in self.ask('tx', call_id=legs[0].call_id)['txns'] for branch in txn['branches']]
        return sorted(known) == sorted(leg.code if leg.code > 100 else 0 for leg in legs)

    def wait_recorded(self, callees, *call_ids):
        """Until all that the phones have said of these calls stands in the store, and nothing else is to be written, so that
        what follows does not depend on the last 20 ms: events wait in Kamailio's queue for its timer."""
        for call_id in call_ids:
            wait_until(lambda legs=callees.legs(call_id): self._is_recorded(legs), 10, f'the records of {call_id}')
        wait_until(lambda: self.status()['unwritten'] == '0', 10, 'all records written')


class Cluster:
    node_class = Node

    def __init__(self, lab, nodes=None, kamsync=True, config=CONFIG, routing=ROUTING, modules=None, log_level=2,
                 daemons=True, defines=(), shared_mb=64, redis=True, masters=None, node_class=None, **settings):
        """daemons=False: Kamailio with kamsync.cfg, and no kamsyncd beside it yet. redis=False: no store yet; masters: of a Redis
        Cluster, else as the run says.
        defines: more of them for Kamailio, as in Lab.kamailio(); settings: options of kamsyncd."""
        self.lab, self.kamsync, self.settings, self.log_level = lab, kamsync, settings, log_level
        self.config, self.routing, self.modules = config, routing, modules
        self.secret, self.daemons = SECRET, daemons
        self.defines, self.shared_mb = dict(defines), shared_mb
        self.nodes = tuple(nodes or lab.nodes)
        self.store = make_store(lab, self.settings.get('cluster', 'kamsync'), masters) if kamsync and redis else None
        self.url = self.store.url if self.store else f'redis://{lab.address("store")}:{REDIS_PORT}'
        self.node = {name: (node_class or self.node_class)(self, name, number) for number, name in enumerate(self.nodes, 1)}
        for node in self.node.values():
            node.start()
        if kamsync and daemons:
            self.wait_connected()

    def __getitem__(self, name):
        return self.node[name]

    def wait_connected(self, timeout=10):
        """Until every Kamailio knows of every other node."""
        def all_know_all():
            return all(len(re.findall(r'is up, incarnation', node.log())) >= len(self.nodes) - 1
                       and 'Kamailio is node' in node.log() for node in self.node.values())
        wait_until(all_know_all, timeout, 'all nodes know each other')

    def keys(self, which='*'):
        """Of transactions."""
        return self.store.keys(self.store.names(f'tx:{which}'))

    def records(self, which='*'):
        """{key: record} of transactions, as the store holds them."""
        found = self.store.records(self.store.names(f'tx:{which}'))
        return {key: json.loads(value) for key, value in found.items() if value}

    def stop(self):
        """End all kamsyncd in order: their exit status shows what the sanitizers found."""
        for node in self.node.values():
            if node.kamsyncd and node.kamsyncd.running:
                status = node.stop_kamsyncd()
                assert status == 0, node.kamsyncd.tail(60)


def kamsync_cluster(lab):
    """For the command line of tools/random_table.py."""
    return Cluster(lab, log_level=0)


def bare_cluster(lab):
    """The same nodes and routing without kamsync."""
    return Cluster(lab, kamsync=False, log_level=0)
