"""What goes wrong with a Redis, done to a real one, for each kind of store.

    with FAULTS['maxclients'].harm(store, nodes):
        ...                        # it lasts here, and is over behind the block
"""
import contextlib
import os
import signal
import socket

from harness import Redis, RedisError, encode_command, free_port, read_answer, wait_until
from redis_cluster import RedisCluster
from sentinel import Watched

KINDS = ('single', 'sentinel', 'tls', 'cluster')


class Store:
    """One that can be harmed, and how kamsyncd reaches it."""

    def __init__(self, url, find, stop, **options):
        self.url, self.find, self.stop, self.options = url, find, stop, options

    @property
    def redis(self):
        """The one that takes writes."""
        return self.find()

    def do(self, *words):
        return self.redis.do(*words)

    def wait_followed(self, old):
        """Until another one is what it was, where there is one; who is back before that has its writes thrown away."""

    def listened_at(self, channel):  # pylint: disable=unused-argument
        """The Redis that sends it to who listens."""
        return self.redis

    def count(self, calls):
        """Of how many there is a record."""
        return self.do('EXISTS', *[call.key() for call in calls], 'none')

    def archives(self):
        return [self.do('XRANGE', 'kamsync:cdr', '-', '+')]

    @contextlib.contextmanager
    def console(self, at=None):
        """A connection that stays when Redis takes no other."""
        with socket.create_connection(('127.0.0.1', (at or self.redis).port), 5) as sock, sock.makefile('rb') as answers:
            def do(*words):
                sock.sendall(encode_command(*words))
                return read_answer(answers)
            do('CLIENT', 'SETNAME', 'console')
            yield do

    @contextlib.contextmanager
    def settings(self, at=None, **changed):
        """Of Redis, until the end of the block."""
        names = [name.replace('_', '-') for name in changed]
        with self.console(at) as do:
            before = [do('CONFIG', 'GET', name)[1] for name in names]
            do('CONFIG', 'SET', *sum(zip(names, changed.values()), ()))
            try:
                yield do
            finally:
                do('CONFIG', 'SET', *sum(zip(names, before), ()))


class SentinelStore(Store):
    def __init__(self, watched):
        super().__init__(watched.url, watched.master, watched.stop)
        self.watched = watched

    def wait_followed(self, old):
        self.watched.wait_other_master(old)


class ClusterStore(Store):
    """Harm is done to one of three masters, each with a replica."""

    def __init__(self, cluster):
        super().__init__(cluster.url, lambda: cluster.masters[0], cluster.stop)
        self.cluster = cluster

    def listened_at(self, channel):
        return next(m for m in self.cluster.members if m.do('PUBSUB', 'NUMSUB', channel)[1])

    def count(self, calls):
        return sum(bool(self.cluster.has(call.key(True))) for call in calls)

    def archives(self):
        return [self.cluster.do('XRANGE', key.decode(), '-', '+') for key in self.cluster.keys('kamsync:*:cdr')]


def make_store(kind, directory, certificates=None, **sentinel):
    """certificates() are those for TLS."""
    debug = {'enable_debug_command': 'yes'}
    if kind == 'sentinel':
        return SentinelStore(Watched(directory, options=debug, **sentinel))
    if kind == 'cluster':
        return ClusterStore(RedisCluster(directory, replicas=True, **debug))
    if kind == 'tls':
        files = certificates()
        redis = Redis(directory, tls_port=free_port(), **files.server('good'), **debug).start()
        return Store(f'rediss://127.0.0.1:{redis.options["tls_port"]}', lambda: redis, redis.kill,
                     redis_ca_file=files.path('ca.crt'))
    redis = Redis(directory, **debug).start()
    return Store(redis.url, lambda: redis, redis.kill)


def kill_connections(do):
    """Those of kamsyncds: consoles' and Sentinels' have names, and replicas' another kind."""
    for line in do('CLIENT', 'LIST').decode().splitlines():
        client = dict(pair.split('=', 1) for pair in line.split(' ') if '=' in pair)
        if not client['name'] and not set(client['flags']) & set('SM'):
            do('CLIENT', 'KILL', 'ID', client['id'])


# ---- the faults: each has a store and the nodes

@contextlib.contextmanager
def killed(store, _):
    """Back empty, or behind Sentinels, when another has become the master."""
    redis = store.redis
    redis.kill()
    yield
    store.wait_followed(redis)
    redis.start()


def snapshot_of(redis):
    return os.path.join(redis.directory, redis.options.get('dbfilename', 'dump.rdb'))


@contextlib.contextmanager
def old_snapshot(store, _):
    """Back with what it had saved before the calls."""
    redis = store.redis
    redis.do('CONFIG', 'SET', 'save', '')
    redis.kill()
    yield
    store.wait_followed(redis)
    redis.start()
    os.remove(snapshot_of(redis))


@contextlib.contextmanager
def sleep(store, _):
    """DEBUG SLEEP 5, to its end."""
    redis = store.redis
    with socket.create_connection(('127.0.0.1', redis.port), 10) as sock, sock.makefile('rb') as answers:
        sock.sendall(encode_command('DEBUG', 'SLEEP', '5'))
        yield
        read_answer(answers)


@contextlib.contextmanager
def full(store, _):
    with store.settings(maxmemory_policy='noeviction', maxmemory=1):
        yield


def evicting(policy):
    @contextlib.contextmanager
    def harm(store, _):
        with store.console() as do:
            used = int(next(line[12:] for line in do('INFO', 'memory').splitlines() if line.startswith(b'used_memory:')))
        with store.settings(maxmemory_policy=policy, maxmemory=used + 300000) as do:
            kill_connections(do)  # a new connection looks at once
            wait_until(lambda: has_evicted(do), 10, 'records to be thrown away')
            yield
            for key in do('KEYS', 'junk:*'):
                do('DEL', key)
    return harm


def has_evicted(do):
    """After more of what is no record."""
    with contextlib.suppress(RedisError):  # a replica's buffers take what is thrown away
        do('SET', f'junk:{os.urandom(8).hex()}', 'x' * 20000, 'PX', 60000)
    return b'evicted_keys:0\r' not in do('INFO', 'stats')


@contextlib.contextmanager
def maxclients(store, _):
    with store.settings(maxclients=1) as do:
        kill_connections(do)
        yield


@contextlib.contextmanager
def misconf(store, _):
    """What Redis saves cannot get its name."""
    path = snapshot_of(store.redis)
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    os.mkdir(path)
    try:
        with store.settings(save='3600 1') as do:
            do('BGSAVE')
            wait_until(lambda: b'rdb_last_bgsave_status:err' in do('INFO', 'persistence'), 5, 'it to fail')
            yield
    finally:
        os.rmdir(path)


@contextlib.contextmanager
def pubsub_limit(store, nodes):
    """The second node stands still until Redis has cut it off from announcements."""
    with store.settings(store.listened_at('kamsync:to:2'), client_output_buffer_limit='pubsub 100000 0 0') as do:
        nodes[1].daemon.signal(signal.SIGSTOP)
        try:
            wait_until(lambda: do('PUBLISH', 'kamsync:to:2', 'x' * 1000000) == 0, 10, 'it to be cut off')
        finally:
            nodes[1].daemon.signal(signal.SIGCONT)
        yield


@contextlib.contextmanager
def idle_timeout(store, _):
    """A console would be ended, too."""
    before = store.do('CONFIG', 'GET', 'timeout')[1]
    store.do('CONFIG', 'SET', 'timeout', 1)
    try:
        yield
    finally:
        store.do('CONFIG', 'SET', 'timeout', before)


@contextlib.contextmanager
def script_flush(store, _):
    store.do('SCRIPT', 'FLUSH')
    yield


@contextlib.contextmanager
def aof_rewrite(store, _):
    with store.settings(appendonly='yes') as do:
        for _ in range(3):
            wait_until(lambda: b'aof_rewrite_in_progress:0' in do('INFO', 'persistence'), 10, 'the end of the last')
            do('BGREWRITEAOF')
        yield


@contextlib.contextmanager
def disconnected(store, _):
    with store.console() as do:
        kill_connections(do)
    yield


class Fault:
    """says: what the log has of it, '' for nothing. loses: entries of the archive from before. evicts: the archive itself."""

    def __init__(self, harm, says='', loses=False, evicts=False, prepare=None):
        self.harm, self.says, self.loses, self.evicts = harm, says, loses, evicts
        self.prepare = prepare or (lambda store: None)


FAULTS = {
    'killed with -9, back empty': Fault(killed, 'cannot connect', True),
    'restarted from an old snapshot (RDB)': Fault(old_snapshot, 'cannot connect', True, prepare=lambda store: store.do('SAVE')),
    '`DEBUG SLEEP 5`': Fault(sleep, 'no answer in time'),
    'memory full, `noeviction`': Fault(full, 'redis refuses: OOM'),
    'evicts, `allkeys-random`': Fault(evicting('allkeys-random'), 'maxmemory-policy', evicts=True),
    'evicts, `volatile-random`': Fault(evicting('volatile-random'), 'maxmemory-policy'),
    '`maxclients` reached': Fault(maxclients, 'cannot connect|max number of clients'),
    'cannot save (`MISCONF`)': Fault(misconf, 'redis refuses: MISCONF'),
    '`client-output-buffer-limit pubsub`': Fault(pubsub_limit, 'for announcements alone'),
    '`timeout 1`': Fault(idle_timeout),
    '`SCRIPT FLUSH`': Fault(script_flush),
    'AOF rewrites': Fault(aof_rewrite),
    '`CLIENT KILL`': Fault(disconnected, 'connection lost'),
}
