"""A made-up Redis Cluster: it does as little as kamsyncd needs, and a test decides when and what a master answers to writes.

    master = FakeCluster(2).masters[0]
    master.holds = True             # from now on answers wait for the test
    master.release(MOVED, DO)       # to the first two writes that wait, in their order
"""
import collections
import contextlib
import hashlib
import itertools
import socket
import threading

from harness import free_port, read_answer, wait_until
from redis_cluster import SLOTS, slot_of

DO, MOVED, NOSCRIPT = 'do', 'moved', 'noscript'


def encode(value):
    """A string that begins with + or - is a status or an error; None is nil."""
    if isinstance(value, list):
        return b'*%d\r\n' % len(value) + b''.join(map(encode, value))
    if isinstance(value, int):
        return b':%d\r\n' % value
    if value is None:
        return b'$-1\r\n'
    if isinstance(value, str):
        return value.encode() + b'\r\n'
    return b'$%d\r\n%s\r\n' % (len(value), value)


class FakeCluster:
    """Each master has its share of the slots; owner: by slot, the places of those that have others, which the map does not know yet.
    executed: the writes of transactions' records, as (key, value), in that order."""

    def __init__(self, count):
        self.lock = threading.RLock()
        self.values, self.executed, self.owner = {}, [], {}
        self.masters = [FakeMaster(self) for _ in range(count)]

    @property
    def url(self):
        return 'cluster://' + ','.join(f'127.0.0.1:{m.port}' for m in self.masters)

    def share(self, place):
        return SLOTS * place // len(self.masters)

    def owner_of(self, slot):
        shared = next(i for i in itertools.count() if slot < self.share(i + 1))
        return self.masters[self.owner.get(slot, shared)]

    def slots(self):
        return [[self.share(i), self.share(i + 1) - 1, [b'127.0.0.1', m.port, b'id%d' % i]]
                for i, m in enumerate(self.masters)]

    def stop(self):
        for master in self.masters:
            master.stop()


class FakeMaster:
    def __init__(self, cluster):
        self.cluster, self.port, self.holds = cluster, free_port(), False
        self.came = []                          # the values of all writes, in the order of their coming
        self.waiting = collections.deque()      # connections and commands
        self.asked = 0                          # for the map
        self.listener = socket.create_server(('127.0.0.1', self.port))
        self.connections = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                sock = self.listener.accept()[0]
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self.read, args=(sock,), daemon=True).start()

    def read(self, sock):
        with contextlib.suppress(OSError, ValueError), sock, sock.makefile('rb') as commands:
            for words in iter(lambda: read_answer(commands), b''):
                self.take(sock, words)

    def take(self, sock, words):
        """A connection's answers keep their order."""
        with self.cluster.lock:
            if is_write(words):
                self.came.append(value_of(words))
            if self.holds and is_write(words) or any(s is sock for s, _ in self.waiting):
                self.waiting.append((sock, words))
            else:
                sock.sendall(encode(self.answer(words)))

    def release(self, *hows):
        """What is behind them and no write is answered, too."""
        left = list(hows)
        with self.cluster.lock:
            while self.waiting and (left or not is_write(self.waiting[0][1])):
                sock, words = self.waiting.popleft()
                how = left.pop(0) if is_write(words) else DO
                sock.sendall(encode({MOVED: self.moved, NOSCRIPT: no_script, DO: self.answer}[how](words)))
        assert not left, f'no write waits for {left}'

    def wait_came(self, count):
        wait_until(lambda: len(self.came) >= count, 10, lambda: f'{count} writes, there are {len(self.came)}')

    def moved(self, words):
        slot = slot_of(key_of(words).decode())
        return f'-MOVED {slot} 127.0.0.1:{self.cluster.owner_of(slot).port}'

    def answer(self, words):
        name, values = words[0].upper(), self.cluster.values
        if is_write(words):
            return self.write(words)
        if name == b'CLUSTER':
            self.asked += 1
            return self.cluster.slots()
        if name == b'SCRIPT':
            return hashlib.sha1(words[2]).hexdigest().encode()
        if name == b'SET':
            values[words[1]] = words[2]
            return None if b'NX' in words else '+OK'
        if name == b'SUBSCRIBE':
            return [b'subscribe', words[1], 1]
        return {b'PING': '+PONG', b'GET': values.get(words[1] if len(words) > 1 else b''), b'SMEMBERS': [],
                b'SCAN': [b'0', []], b'EVALSHA': b'written'}.get(name, '+OK')

    def write(self, words):
        key, cluster = key_of(words), self.cluster
        if cluster.owner_of(slot_of(key.decode())) is not self:
            return self.moved(words)
        value, before = value_of(words), cluster.values.get(key)
        if b'NX' in words and before is not None:
            return before
        cluster.values[key] = value
        cluster.executed.append((key, value))
        return None if b'NX' in words else '+OK'

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


def no_script(_):
    return '-NOSCRIPT No matching script. Please use EVAL.'


def key_of(words):
    """That a write is about."""
    return words[3] if words[0].startswith(b'EVAL') else words[1]


def value_of(words):
    return words[words.index(key_of(words)) + 1]


def is_write(words):
    """Of a transaction's record."""
    return words[0] in (b'SET', b'EVALSHA', b'EVAL') and len(words) > 3 and b':tx:' in key_of(words)
