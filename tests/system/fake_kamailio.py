"""Kamailio as kamsyncd sees it: an evapi server, that is TCP with netstrings of JSON (proto/messages.md)."""
import base64
import hashlib
import itertools
import json
import os
import re
import select
import socket
import threading
import time

from harness import free_port, keys_files, wait_until

SRC, DST = 'udp:198.51.100.7:5062', 'udp:203.0.113.5:5060'  # the caller, and the anycast socket
EVAPI_BUFFER = 32768  # what Kamailio reads at once
_starts = itertools.count(1)


def netstring(payload):
    return b'%d:%s,' % (len(payload), payload)


def text_of(message):
    """Its JSON, and behind that its whole SIP messages (base64), of which it then has the lengths."""
    behind = [name for name in ('sent', 'req', 'msg') if isinstance(message.get(name), str)]
    lengths = {name: len(message[name]) for name in behind}
    return json.dumps({**message, **lengths}, separators=(',', ':')) + ''.join(message[name] for name in behind)


def events_frame(n, *texts):
    return netstring((text_of({'t': 'events', 'n': n}) + ''.join(texts)).encode())


def prove(key, text):
    """HMAC-SHA256 as the script makes it, of the secret xor ipad and xor opad (RFC 2104)."""
    pads = bytes.fromhex(key)
    return hashlib.sha256(pads[64:] + hashlib.sha256(pads[:64] + text.encode()).digest()).hexdigest()


class Frame(dict):
    """A frame from kamsyncd, with the moment it arrived, the length of its payload, and the number of its connection."""

    def __init__(self, payload, connection):
        super().__init__(json.loads(payload))
        self.at, self.size, self.connection = time.monotonic(), len(payload), connection


def is_probe(frame):
    """kamsyncd asks whether another node can be reached."""
    return frame['t'] == 'send' and base64.b64decode(frame['msg']).startswith(b'OPTIONS ')


def is_question(frame):
    """kamsyncd asks what tm has answered the caller."""
    return frame['t'] == 'send' and b';why=state;' in base64.b64decode(frame['msg'])


class FakeKamailio:
    """Answers hello and acknowledges by itself, as the script does; a thread reads. Switch off what a test forbids:

    answers_hello, acks: what it does by itself.    reading: set it to False and it stops to read.
    accepts: set to False and it closes each connection at once."""

    def __init__(self, node=1, sip=None):
        self.node, self.sip = node, sip or f'192.0.2.{node}:5060'
        self.port = free_port()
        self.answers_hello = self.acks = self.reading = self.accepts = True
        self.final = 0  # what tm has answered the caller of each transaction, kamsyncd is told; 0: it has none
        self.unreachable = set()  # ids of nodes that answer no probe
        self.waiting = []  # events in its queue, which it tells before it answers a mark
        self.frames, self.connects = [], []
        self.torn = 0  # reads that ended inside a frame: there evapi loses data
        self.unacked = {}  # number and size of the frames that were not acknowledged
        self.most_unacked = 0  # bytes, while there were several
        self.listener = self.conn = self.thread = None
        self.lock = threading.Lock()  # frames must not mix; two threads write

    # ---- life ----

    def start(self):
        """A new start of Kamailio: a new incarnation."""
        self.inc = f'1700000000.{next(_starts):06d}'
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(('127.0.0.1', self.port))
        self.listener.listen()
        self.running = True
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def stop(self):
        """Kamailio dies: listener and connection close."""
        if not self.thread:
            return
        self.running = False
        self.thread.join(10)
        self.thread = None
        self.close_connection()
        self.listener.close()

    def restart(self):
        self.stop()
        self.start()

    def close_connection(self):
        with self.lock:
            if self.conn:
                self.conn.close()
            self.conn = None

    # ---- reading ----

    def _run(self):
        while self.running:
            conn = self.conn if self.reading else None
            wanted = [self.listener] + ([conn] if conn else [])
            try:
                ready = select.select(wanted, [], [], 0.01)[0]
            except (OSError, ValueError):
                continue  # the test has just closed the connection
            if self.listener in ready:
                self._accept()
            elif conn in ready:
                self._read(conn)

    def _accept(self):
        conn = self.listener.accept()[0]
        self.connects.append(time.monotonic())
        if not self.accepts:
            conn.close()
            return
        conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.close_connection()
        self.rest, self.n, self.k, self.unacked = b'', 0, 0, {}
        self.conn = conn

    def _read(self, conn):
        try:
            data = conn.recv(EVAPI_BUFFER)
        except OSError:
            data = b''
        if not data:
            self.close_connection()
            return
        self.rest += data
        while self._take_frame():
            pass
        self.torn += bool(self.rest)

    def _take_frame(self):
        head, colon, body = self.rest.partition(b':')
        if not colon or len(body) <= int(head):
            return False
        size = int(head)
        assert body[size:size + 1] == b',', 'kamsyncd broke the framing'
        self.rest = body[size + 1:]
        frame = Frame(body[:size], len(self.connects))
        if frame['t'] == 'hello' and self.answers_hello:
            self.say_hello(tag=frame['tag'])  # before a test sees it, and goes on
        if is_probe(frame):
            self._answer_probe(frame)
        elif is_question(frame):
            via = re.match(rb'INVITE sip:([^@]+)@', base64.b64decode(frame['msg']))[1]
            self._tell({'t': 'state', 'via': base64.b64encode(via).decode(), 'code': self.final})
        elif frame['t'] == 'mark':
            waited, self.waiting = self.waiting, []
            if waited:
                self.events(*waited)
            self._tell({'t': 'mark', 'id': frame['id']})
        else:
            self.frames.append(frame)
        if 'n' in frame:
            self.unacked[frame['n']] = frame.size
        if len(self.unacked) > 1:
            self.most_unacked = max(self.most_unacked, sum(self.unacked.values()))
        if self.acks:
            self.ack_all()
        return True

    def keys(self):
        """What its kamsyncd has last written for it: the key of the secret, and of the old one."""
        # a test in a systemd of its own knows the place only a moment after kamsyncd's start
        wait_until(lambda: os.path.exists(keys_files[self.port]), 5, 'the file of keys')
        with open(keys_files[self.port]) as file:
            return file.read().split('\n')[:2]

    def key(self):
        return self.keys()[0]

    def say_hello(self, nonce='nonce-1', tag=None, key=None):
        """With the proof; a tag or key that is not the right one makes it a bad one."""
        self.n = self.k = 0
        tag = tag or self.of_type('hello')[-1]['tag']
        proof = prove(key or self.key(), f'hello kamailio {tag} {nonce} {self.node} {self.inc} {self.sip}')
        self.say(t='hello', node=self.node, inc=self.inc, sip=self.sip, nonce=nonce, proof=proof)

    def _answer_probe(self, frame):
        """As if the node that it asks for had answered. No test counts these frames."""
        node = re.search(rb'branch=z9hG4bK-kamsync\.(\d+)\.', base64.b64decode(frame['msg']))
        if int(node[1]) not in self.unreachable:
            self._tell({'t': 'alive', 'id': int(node[1])})

    def _tell(self, event):
        """What it says by itself, in a frame without a number of its own."""
        self.write(events_frame(max(self.n, 1), text_of(event)))

    # ---- writing ----

    def write(self, data):
        """Bytes as they are. Lost when nobody is connected, as evapi loses them."""
        with self.lock:
            if not self.conn:
                return
            try:
                self.conn.sendall(data)
            except OSError:
                pass  # the reading thread will notice

    def say(self, **fields):
        self.write(netstring(text_of(fields).encode()))

    def ack_all(self):
        for n in list(self.unacked):
            del self.unacked[n]  # first: the answer to the ack may be quick
            self.say(t='ack', n=n)

    def events_frame(self, *events):
        self.n += 1
        return events_frame(self.n, *map(text_of, events))

    def events(self, *events):
        self.write(self.events_frame(*events))

    def stray_frame(self, msg, src=SRC, dst=DST, **more):
        self.k += 1
        fields = {'t': 'stray', 'k': self.k, 'src': src, 'dst': dst, **more, 'msg': base64.b64encode(msg).decode()}
        return netstring(text_of(fields).encode())

    def stray(self, msg, **fields):
        """Reports the stray; returns the moment, to measure from."""
        self.write(self.stray_frame(msg, **fields))
        return time.monotonic()

    # ---- what came ----

    def of_type(self, t):
        return [f for f in list(self.frames) if f['t'] == t]

    def wait_frame(self, t, timeout=10, count=1, **fields):
        """The count-th frame of that type with these fields."""
        def found():
            return [f for f in self.of_type(t) if fields.items() <= f.items()][count - 1:]
        return wait_until(found, timeout, f'frame {count} of type {t} with {fields}')[0]

    def wait_hello(self, timeout=10, count=1):
        return self.wait_frame('hello', timeout, count)

    def wait_sends(self, count, timeout=10):
        return wait_until(lambda: len(self.of_type('send')) >= count and self.of_type('send'), timeout,
                          lambda: f'{count} send frames at node {self.node}, there are {len(self.of_type("send"))}')
