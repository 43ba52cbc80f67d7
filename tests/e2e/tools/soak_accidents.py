"""The accidents of a soak, and which calls they excuse.

An accident excuses a call by one rule only: a process was killed with -9, and in the last IN_FLIGHT_S before that a message of the
call passed between a phone and that process's node, or between a phone and any node while that node was the call's owner.

* Kamailio killed: the message may have died in it, or what it was to report of it, which waits up to 40 ms in its queue. A single
  plain Kamailio loses its calls then, too.
* kamsyncd killed: what Kamailio had reported may have died on its way to Redis. That excuses what the archive says of the call,
  and nothing else: calls go on without kamsyncd.
* Redis' faults, cut networks and flapping routes excuse nothing: no message is in Redis or in a route.
"""
import time
from collections import Counter

from lab.proc import wait_until
from lab.redis_faults import MASTER_PORT, Redis, encode

IN_FLIGHT_S = 0.1
SPARED = 'a'          # its kamsyncd is never killed: a life long enough to see its memory grow


class Accidents:
    def __init__(self, soak):
        self.soak, self.lab, self.redis, self.random = soak, soak.lab, soak.redis, soak.traffic.random
        self.cluster, self.traffic = soak.cluster, soak.traffic
        self.count, self.kills = Counter(), []
        self.log = []            # (when, what)
        self.bag = []
        self.kinds = (self.flap, self.kill_kamailio, self.kill_kamsyncd, self.empty_redis, self.pause_redis,
                      self.make_redis_sleep, self.fill_redis, self.make_redis_a_replica, self.cut_off)

    def next(self):
        """One of them; each comes once before any comes again."""
        if not self.bag:
            self.bag = self.random.sample(self.kinds, len(self.kinds))
        kind = self.bag.pop()
        kind()
        self.count[kind.__name__.replace('_', ' ')] += 1

    def between(self, low, high):
        self.soak.go_on(self.random.uniform(low, high))

    def note(self, what):
        self.log.append((time.monotonic(), what))

    def kill(self, node, name, proc):
        """Its pid is gone when this returns."""
        self.note(f'{name} of {node.name} killed')
        begin = time.monotonic()
        proc.kill()
        self.kills.append((begin, time.monotonic(), node.name, f'{name} killed'))

    def excuse(self, call_id, of_archive):
        """The name of the accident that excuses the call, or what the archive says of it; '' if none does."""
        packets = self.lab.trace.of(call_id)
        for begin, end, node, name in self.kills:
            for packet in packets if of_archive or name.startswith('Kamailio') else ():
                if begin - IN_FLIGHT_S <= packet.time <= end and node in (packet.node, owner(packets, packet.time)):
                    return name
        return ''

    def before(self, moment):
        return ', '.join(f'{moment - when:.1f} s after: {what}' for when, what in self.log if 0 <= moment - when < 10)

    # --- routes, Kamailio, kamsyncd

    def flap(self):
        """All to one node, or two, for a while."""
        self.traffic.alive = ''.join(self.random.sample('abc', self.random.choice((1, 2))))
        self.note(f'all to {self.traffic.alive}')
        self.between(0.2, 2)
        self.traffic.alive = 'abc'

    def kill_kamailio(self):
        node = self.cluster[self.random.choice('abc')]
        self.traffic.alive = 'abc'.replace(node.name, '')
        self.kill(node, 'Kamailio', node.kamailio)
        self.between(0.5, 3)
        seen = node.log().count(': restarted')
        node.start_kamailio()
        wait_until(lambda: node.log().count(': restarted') > seen, 10, 'Kamailio is back')
        self.note(f'Kamailio of {node.name} is back')
        self.traffic.alive = 'abc'

    def kill_kamsyncd(self):
        node = self.cluster[self.random.choice('abc'.replace(SPARED, ''))]
        self.kill(node, 'kamsyncd', node.kamsyncd)
        self.between(0.1, 2)
        node.start_kamsyncd()
        self.wait_back([node])
        self.note(f'kamsyncd of {node.name} is back')

    # --- Redis

    def stop_writes(self):
        """Of the archive nothing is lost: what Redis holds now is read, and nothing is added."""
        self.redis.do('CLIENT', 'PAUSE', 5000, 'WRITE')
        self.soak.read_archive()

    def empty_redis(self):
        """Killed; it comes back with nothing."""
        self.stop_writes()
        self.note('Redis killed')
        self.redis.proc.kill()
        self.between(0.1, 3)
        self.redis.start()
        self.soak.archive_from = '-'
        self.wait_back()

    def pause_redis(self):
        self.note('Redis paused')
        self.redis.do('CLIENT', 'PAUSE', self.random.randrange(100, 3000), 'ALL')
        self.wait_back()

    def make_redis_sleep(self):
        self.note('Redis sleeps')
        with self.redis.connect() as sock:
            sock.sendall(encode(['DEBUG', 'SLEEP', str(self.random.uniform(0.2, 2.5))]))
        self.wait_back()

    def fill_redis(self):
        self.note('Redis is full')
        self.redis.do('CONFIG', 'SET', 'maxmemory-policy', 'noeviction', 'maxmemory', 1)
        self.between(0.3, 2)
        self.redis.do('CONFIG', 'SET', 'maxmemory', 0)
        self.wait_back()

    def make_redis_a_replica(self):
        """Of an empty master: it refuses to write, and what it had is lost."""
        master = Redis(self.lab, MASTER_PORT, password=None).start()
        self.stop_writes()
        self.note('Redis is a replica')
        self.redis.do('REPLICAOF', '127.0.0.1', MASTER_PORT)
        wait_until(lambda: 'master_link_status:up' in self.redis.do('INFO', 'replication'), 10, 'the replica')
        self.redis.do('CLIENT', 'UNPAUSE')
        self.between(0.1, 2)
        self.redis.do('REPLICAOF', 'NO', 'ONE')
        self.soak.archive_from = '-'
        master.proc.kill()
        self.wait_back()

    def cut_off(self):
        """One node from Redis, in silence."""
        name = self.random.choice('abc')
        self.note(f'{name} cut off from Redis')
        self.lab.cut(name, 'store')
        self.between(0.2, 2.5)
        self.lab.heal(name, 'store')
        self.wait_back([self.cluster[name]])

    def wait_back(self, nodes=None):
        def back(node):
            try:
                return node.ask('status')['store'] == 'up'
            except (OSError, ValueError, KeyError):
                return False
        wait_until(self.redis.takes_writes, 15, 'Redis takes writes')
        wait_until(lambda: all(back(node) for node in nodes or self.cluster.node.values()), 15, 'the store is back')


def owner(packets, moment):
    """The node that has the INVITE's transaction then: which sent it to the far end last, or at first got it."""
    found = None
    for packet in packets:
        if packet.time > moment:
            break
        if packet.kind == 'INVITE' and (packet.side == 'gateway' or not found):
            found = packet.node
    return found
