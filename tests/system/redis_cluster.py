"""A Redis Cluster of three masters, and a replica for each if wanted, on free ports of 127.0.0.1, or where `member` puts them; with
TLS for who wants it, and among each other then, while the tests themselves use the port without."""
import binascii
import contextlib
import re
import signal

from harness import Redis, RedisError, free_port, wait_until
from sentinel import seen_port, tls_options

SLOTS = 16384
NODE_TIMEOUT_MS = 1000
MEETING_MS = 15000      # the same until all have met: a handshake takes long on a busy machine


def slot_of(key):
    """As `redis-cli cluster keyslot` says."""
    tag = re.search(r'\{([^}]+)\}', key)
    return binascii.crc_hqx((tag[1] if tag else key).encode(), 0) % SLOTS


# Those that calls are in.
BUCKETS = [slot_of(f'{{b{number:02x}}}') for number in range(256)]


class Member(Redis):
    """One redis-server of it. seen_port: for kamsyncd and for other members."""

    def __init__(self, directory, number, tls=None, **options):
        options.update(tls_options(tls), **{'tls_cluster': 'yes'} if tls else {})
        super().__init__(directory, f'member{number}', cluster_enabled='yes', cluster_config_file=f'member{number}.conf',
                         cluster_port=free_port(), cluster_node_timeout=MEETING_MS, repl_diskless_sync_delay=0,
                         dbfilename=f'member{number}.rdb', **options)
        self.seen_port = seen_port(self)
        self.stopped = False

    @property
    def id(self):
        return self.do('CLUSTER', 'MYID').decode()

    def knows(self, other):
        return other.id.encode() in self.do('CLUSTER', 'NODES')

    def meet(self, other):
        """Again and again: a handshake may be given up."""
        def met():
            if not self.knows(other):
                self.do('CLUSTER', 'MEET', other.host, other.seen_port, other.options['cluster_port'])
            return self.knows(other) and other.knows(self)
        wait_until(met, 20, f'{self.name} and {other.name} to meet', every=0.1)

    def is_well(self):
        """It answers, and sees all slots served."""
        try:
            return b'cluster_state:ok' in self.do('CLUSTER', 'INFO')
        except (OSError, RedisError):
            return False

    def signal(self, number):
        super().signal(number)
        self.stopped = number == signal.SIGSTOP

    def is_master(self):
        try:
            return self.running and not self.stopped and self.do('ROLE')[0] == b'master'
        except (OSError, RedisError):
            return False

    def follow(self, master):
        """Becomes its replica, and has all its data."""
        self.meet(master)
        self.do('CLUSTER', 'REPLICATE', master.id)
        wait_until(lambda: b'master_link_status:up' in self.do('INFO', 'replication'), 10, f'{self.name} to be a replica')


class RedisCluster:
    """masters, replicas: as they began."""

    def __init__(self, directory, masters=3, replicas=False, member=Member, **options):
        self.directory, self.member, self.options = directory, member, options
        self.masters, self.replicas, self.made = [], [], 0
        try:
            self.masters = [self.make() for _ in range(masters)]
            self.replicas = [self.make() for _ in range(masters if replicas else 0)]
            self.join()
        except BaseException:
            self.stop()
            raise

    def make(self, **other):
        """other: options that only this one has."""
        self.made += 1
        member = self.member(self.directory, self.made, **{**self.options, **other}).start()
        member.auth = [member.requirepass] if member.requirepass else None
        return member

    @property
    def members(self):
        return self.masters + self.replicas

    def join(self):
        for i, master in enumerate(self.masters):
            first, end = (SLOTS * n // len(self.masters) for n in (i, i + 1))
            master.do('CLUSTER', 'ADDSLOTSRANGE', first, end - 1)
            master.do('CLUSTER', 'SET-CONFIG-EPOCH', i + 1)
        for member in self.members[1:]:
            member.meet(self.masters[0])
        for replica, master in zip(self.replicas, self.masters):
            replica.follow(master)
        self.wait_well()
        for member in self.members:
            member.do('CONFIG', 'SET', 'cluster-node-timeout', NODE_TIMEOUT_MS)
        known = b'cluster_known_nodes:%d\r' % len(self.members)
        wait_until(lambda: all(known in m.do('CLUSTER', 'INFO') for m in self.members), 10, 'all to know each other')
        wait_until(lambda: all(m.do('CLUSTER', 'NODES').count(b'slave') == len(self.replicas) for m in self.members), 20,
                   'all to know the replicas')

    @staticmethod
    def failover(replica):
        """By command, which the cluster may give up after 5 s: then again."""
        for _ in range(4):
            replica.do('CLUSTER', 'FAILOVER')
            with contextlib.suppress(AssertionError):
                return wait_until(replica.is_master, 6, 'the replica to be the master')
        raise AssertionError(f'{replica.name} has not become the master')

    def wait_well(self, timeout=20):
        wait_until(lambda: all(m.is_well() for m in self.members if m.running), timeout, 'all slots to be served', every=0.02)

    @property
    def url(self):
        scheme = 'rediss+cluster' if 'tls' in self.options else 'cluster'
        return f'{scheme}://' + ','.join(f'{m.host}:{m.seen_port}' for m in self.masters)

    def owner(self, key):
        """Who has that key now: asked of who runs, of which each must say the same, so that none is behind."""
        slot = slot_of(key) if isinstance(key, str) else key

        def said():
            ports = {self.says(m, slot) for m in self.members if m.running}
            return len(ports) == 1 and next((m for m in self.members if m.port == min(ports)), None)
        return wait_until(said, 20, f'the owner of slot {slot}', every=0.02)

    @staticmethod
    def says(member, slot):
        for first, last, master, *_ in member.do('CLUSTER', 'SLOTS'):
            if first <= slot <= last:
                return int(master[1])
        return 0

    def do(self, command, key, *words):
        """A command for one key, at who has it."""
        for member in self.members:
            try:
                if member.is_master():
                    return member.do(command, key, *words)
            except RedisError as e:
                if not str(e).startswith('MOVED'):
                    raise
        raise RedisError(f'nobody has {key}')

    def has(self, key):
        try:
            return self.do('EXISTS', key)
        except (OSError, RedisError):
            return False

    def keys(self, pattern):
        """Of all masters."""
        return [key for m in self.members if m.is_master() for key in m.do('KEYS', pattern)]

    # ---- moving a slot

    def begin_move(self, slot, to):
        source = self.owner(slot)
        to.do('CLUSTER', 'SETSLOT', slot, 'IMPORTING', source.id)
        source.do('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id)
        return source

    @staticmethod
    def move_keys(slot, source, to, count=1):
        """So many keys, one by one; False: there were none left."""
        keys = source.do('CLUSTER', 'GETKEYSINSLOT', slot, count)
        for key in keys:
            source.do('MIGRATE', to.host, to.seen_port, key, 0, 1000)
        return bool(keys)

    def end_move(self, slot, source, to):
        for member in (to, source, *[m for m in self.masters if m not in (to, source)]):
            member.do('CLUSTER', 'SETSLOT', slot, 'NODE', to.id)
        self.owner(slot)

    def move(self, slot, to):
        source = self.begin_move(slot, to)
        while self.move_keys(slot, source, to):
            pass
        self.end_move(slot, source, to)

    def add_master(self, **other):
        """Without slots."""
        new = self.make(**other)
        new.meet(self.masters[0])
        self.masters.append(new)
        wait_until(lambda: all(m.knows(new) for m in self.members), 20, 'all to know the new one')
        self.wait_well()
        return new

    def stop(self):
        for member in self.members:
            member.kill()
