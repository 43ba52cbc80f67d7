"""Kamailio as kamsyncd sees it: an evapi server, that is TCP with netstrings of JSON (proto/messages.md)."""
import base64
import itertools
import json
import re
import select
import socket
import threading
import time

from harness import free_port, wait_until

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


class Frame(dict):
    """A frame from kamsyncd, with the moment it arrived and the length of its payload."""

    def __init__(self, payload):
        super().__init__(json.loads(payload))
        self.at, self.size = time.monotonic(), len(payload)


def is_probe(frame):
    """kamsyncd asks whether another node can be reached."""
    return frame['t'] == 'send' and base64.b64decode(frame['msg']).startswith(b'OPTIONS ')


class FakeKamailio:
    """Answers hello and acknowledges by itself, as the script does; a thread reads. Switch off what a test forbids:

    answers_hello, acks: what it does by itself.    reading: set it to False and it stops to read.
    accepts: set to False and it closes each connection at once."""

    def __init__(self, node=1, sip=None):
        self.node, self.sip = node, sip or f'192.0.2.{node}:5060'
        self.port = free_port()
        self.answers_hello = self.acks = self.reading = self.accepts = True
        self.unreachable = set()  # ids of nodes that answer no probe
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
        frame = Frame(body[:size])
        if is_probe(frame):
            self._answer_probe(frame)
        else:
            self.frames.append(frame)
        if frame['t'] == 'hello' and self.answers_hello:
            self.n = self.k = 0
            self.say(t='hello', node=self.node, inc=self.inc, sip=self.sip)
        self.unacked[frame['n']] = frame.size
        if len(self.unacked) > 1:
            self.most_unacked = max(self.most_unacked, sum(self.unacked.values()))
        if self.acks:
            self.ack_all()
        return True

    def _answer_probe(self, frame):
        """As if the node that it asks for had answered. No test counts these frames, so they take no number of their own."""
        node = re.search(rb'branch=z9hG4bK-kamsync\.(\d+)\.', base64.b64decode(frame['msg']))
        if int(node[1]) not in self.unreachable:
            self.write(events_frame(max(self.n, 1), text_of({'t': 'alive', 'id': int(node[1])})))

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

    def wait_frame(self, t, timeout=5, count=1, **fields):
        """The count-th frame of that type with these fields."""
        def found():
            return [f for f in self.of_type(t) if fields.items() <= f.items()][count - 1:]
        return wait_until(found, timeout, f'frame {count} of type {t} with {fields}')[0]

    def wait_hello(self, timeout=10, count=1):
        return self.wait_frame('hello', timeout, count)

    def wait_sends(self, count, timeout=5):
        return wait_until(lambda: len(self.of_type('send')) >= count and self.of_type('send'), timeout,
                          lambda: f'{count} send frames at node {self.node}, there are {len(self.of_type("send"))}')
