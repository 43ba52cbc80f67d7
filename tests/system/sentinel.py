"""A master with replicas and three Sentinels that watch it, on free ports of 127.0.0.1."""
import contextlib
import os

from harness import Redis, RedisError, free_port, wait_until
from lab.redis_tools import redis_tool

NAME = 'mymaster'


def seen_port(redis):
    """Where others connect to a Redis or a Sentinel."""
    return redis.options.get('tls_port', redis.port)


def tls_options(tls):
    """Those of a Redis or a Sentinel that speaks TLS, also with its like; tls: its options for the certificates."""
    return {'tls_port': free_port(), 'tls_replication': 'yes', **tls} if tls else {}


class Sentinel(Redis):
    """redis-sentinel: it answers like a Redis."""

    def __init__(self, directory, number, password, tls):
        super().__init__(directory, f'sentinel{number}', **tls_options(tls))
        self.conf_path = os.path.join(directory, f'{self.name}.conf')
        self.identity = f'{number + 1:040x}'
        self.password = password
        self.auth = [password] if password else None

    def write_config(self, watched, down_ms):
        """All that it would learn in its first seconds is in it."""
        others = [s for s in watched.sentinels if s is not self]
        with open(self.conf_path, 'w') as f:
            f.write('\n'.join([
                f'port {self.port}', 'bind 127.0.0.1', f'dir {self.directory}', 'protected-mode no',
                *[f'{key.replace("_", "-")} {value}' for key, value in self.options.items()],
                *([f'requirepass {self.password}', f'sentinel sentinel-pass {self.password}'] if self.password else []),
                f'sentinel myid {self.identity}', f'sentinel monitor {NAME} 127.0.0.1 {seen_port(watched.redis[0])} 2',
                f'sentinel down-after-milliseconds {NAME} {down_ms}', f'sentinel failover-timeout {NAME} 3000',
                *[f'sentinel known-replica {NAME} 127.0.0.1 {seen_port(r)}' for r in watched.redis[1:]],
                *[f'sentinel known-sentinel {NAME} 127.0.0.1 {seen_port(s)} {s.identity}' for s in others]]) + '\n')

    def start(self):
        self.launch([redis_tool('server'), self.conf_path, '--sentinel'])
        wait_until(self.answers, 10, 'redis-sentinel to answer')
        return self


class Watched:
    """Redis with a replica, watched by three Sentinels. Replication has a user of its own, so that a test can keep a replica from
    it."""

    def __init__(self, directory, password=None, down_ms=500, tls=None, options=None):
        self.redis = [Redis(directory, f'redis{i}', repl_diskless_sync_delay=0, masteruser='replica', masterauth='its-own',
                            **tls_options(tls), **(options or {}))
                      for i in range(2)]
        self.sentinels = [Sentinel(directory, i, password, tls) for i in range(3)]
        try:
            for redis in self.redis:
                redis.start().do('ACL', 'SETUSER', 'replica', 'on', '>its-own', '+ping', '+psync', '+replconf')
            self.redis[1].do('REPLICAOF', '127.0.0.1', seen_port(self.redis[0]))
            self.wait_replicas()
            for sentinel in self.sentinels:
                sentinel.write_config(self, down_ms)
                sentinel.start()
            wait_until(self.sees_all, 20, 'the Sentinels to see each other and the replica', every=0.05)
        except BaseException:
            self.stop()
            raise

    def replica(self):
        return next(r for r in self.redis if r is not self.master())

    def cut_replica(self):
        """It misses what the master is given from here on."""
        master = self.master()
        master.do('ACL', 'SETUSER', 'replica', 'off')
        master.do('CLIENT', 'KILL', 'TYPE', 'replica')
        wait_until(lambda: b'master_link_status:down' in self.replica().do('INFO', 'replication'), 5, 'the replica to be cut')

    def wait_replicas(self):
        for replica in self.redis[1:]:
            wait_until(lambda r=replica: b'master_link_status:up' in r.do('INFO', 'replication'), 10, 'the replica')

    def sees_all(self):
        """A failover needs each of them: a replica in order, and other Sentinels to vote."""
        def flags(sentinel, what):
            return [dict(zip(entry[::2], entry[1::2]))[b'flags'] for entry in sentinel.do('SENTINEL', what, NAME)]
        return all(flags(s, 'replicas') == [b'slave'] and flags(s, 'sentinels') == [b'sentinel'] * 2 for s in self.sentinels)

    @property
    def url(self):
        return 'sentinel://' + ','.join(f'127.0.0.1:{seen_port(s)}' for s in self.sentinels) + f'/{NAME}'

    def master(self):
        """The Redis that a Sentinel that runs takes for the master."""
        sentinel = next(s for s in self.sentinels if s.running)
        port = int(sentinel.do('SENTINEL', 'get-master-addr-by-name', NAME)[1])
        return next(r for r in self.redis if seen_port(r) == port)

    def is_master(self, redis):
        try:
            return redis.running and redis.do('ROLE')[0] == b'master'
        except (OSError, RedisError):
            return False

    def wait_other_master(self, old, timeout=20):
        """Until the Sentinels name another one, and it is one."""
        return wait_until(lambda: self.master() is not old and self.is_master(self.master()) and self.master(), timeout,
                          'another master', every=0.02)

    def failover(self):
        """By command, to its end. A Sentinel refuses while it is busy with another one, or has no good replica yet; and it gives up one
        that takes too long (failover-timeout)."""
        old = self.master()

        def moved():
            if self.master() is old:
                with contextlib.suppress(RedisError):
                    self.sentinels[0].do('SENTINEL', 'failover', NAME)
            return self.master() is not old
        wait_until(moved, 30, 'a failover', every=0.1)
        return self.wait_other_master(old)

    def stop(self):
        for process in self.sentinels + self.redis:
            process.kill()
