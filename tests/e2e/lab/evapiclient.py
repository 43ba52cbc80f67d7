"""A Python program in kamsyncd's place, for what kamsyncd itself never does.

    client = EvapiClient(lab, 'a')       # connected, has said hello, and proven that it is kamsyncd
    n = client.next_n()
    client.write(harmless(n))
    client.wait_acked(n)
"""
import hashlib
import hmac
import json
import os
import secrets
import select
import socket
import time

from lab import netns
from lab.cluster import SECRET, keys_file
from lab.proc import wait_until

PORT = 8448


class EvapiClient:
    def __init__(self, lab, node, greets=True):
        self.namespace = lab.namespace(node)
        if not os.path.exists(keys_file(lab, node)):
            write_keys(keys_file(lab, node))
        # evapi listens a moment after the SIP port is open
        self.sock = wait_until(lambda: netns.inside(self.namespace, self._connect), 5, 'evapi listens')
        self._rest, self._last_n = b'', 0
        self.acked, self.others = set(), []
        if greets:
            self.greet()

    @staticmethod
    def _connect():
        try:
            sock = socket.create_connection(('127.0.0.1', PORT), timeout=5)
        except ConnectionRefusedError:
            return None
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def hello(self, tag=None):
        """Kamailio's hello; None when it does not answer."""
        address, port = self.sock.getsockname()[:2]
        self.tag = tag or f'kamsync-{secrets.token_hex(8)}-{address}-{port}'
        self.write(frame({'t': 'hello', 'tag': self.tag}))
        deadline = time.monotonic() + 2
        while not self.others and (left := deadline - time.monotonic()) > 0:
            self.read(left)
        return self.others.pop() if self.others else None

    def prove(self, hello, secret=SECRET):
        self.write(frame({'t': 'proof', 'proof': proof(secret, f'hello kamsyncd {self.tag} {hello["nonce"]}')}))

    def greet(self):
        hello = self.hello()
        assert hello, 'Kamailio did not answer hello'
        said = ' '.join(str(hello[name]) for name in ('nonce', 'node', 'inc', 'sip'))
        assert hello['proof'] == proof(SECRET, f'hello kamailio {self.tag} {said}')
        self.prove(hello)
        self.wait_until_taken()

    def wait_until_taken(self):
        """Until Kamailio takes us for kamsyncd: before, it acknowledges nothing."""
        self.write(harmless(0))
        assert self.wait_acked(0), 'Kamailio does not take us for kamsyncd'
        self.acked.discard(0)

    def next_n(self):
        self._last_n += 1
        return self._last_n

    def write(self, data):
        self.sock.sendall(data)

    def read(self, timeout):
        """Takes in what Kamailio has sent; False when nothing came in time."""
        if not select.select([self.sock], [], [], timeout)[0]:
            return False
        data = self.sock.recv(1 << 16)
        # evapi leaves Nagle's algorithm on; the option does not last (daemon/io/evapi.c does the same)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        if not data:
            raise ConnectionError('Kamailio closed the connection')
        self._rest += data
        while (payload := self._take()) is not None:
            message, end = json.JSONDecoder().raw_decode(payload.decode())
            message['behind'] = payload.decode()[end:]  # events, or a stray's bytes
            if message['t'] == 'ack':
                self.acked.add(message['n'])
                self.ack = message      # the last one
            else:
                self.others.append(message)
        return True

    def _take(self):
        head, colon, body = self._rest.partition(b':')
        if not colon or len(body) <= int(head):
            return None
        self._rest = body[int(head) + 1:]
        return body[:int(head)]

    def wait_acked(self, n, timeout=2):
        """Was it acknowledged in time?"""
        deadline = time.monotonic() + timeout
        while n not in self.acked and (left := deadline - time.monotonic()) > 0:
            self.read(left)
        return n in self.acked

    def wait_until_read(self):
        """Until all that was written has arrived, and Kamailio's process has taken it out of its socket, so that the next
        write is another read there."""
        ports = f'{self.sock.getsockname()[1]:04X}', f'{PORT:04X}'

        def queue(local, remote, which):
            """Bytes that are not acknowledged (0), or not read (1), at that end."""
            for line in netns.read_proc_net(self.namespace, 'tcp').splitlines()[1:]:
                _, here, there, _, queues = line.split()[:5]
                if here.endswith(f':{local}') and there.endswith(f':{remote}'):
                    return int(queues.split(':')[which], 16)
            raise ConnectionError('the connection is gone')
        wait_until(lambda: not queue(*ports, 0) and not queue(*ports[::-1], 1), 5, 'Kamailio reads', every=0.001)

    def close(self):
        self.sock.close()


def proof(secret, text):
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def write_keys(path, secret=SECRET):
    """As kamsyncd writes them (RFC 2104)."""
    block = secret.encode().ljust(64, b'\0')
    with open(path, 'w') as file:
        file.write(bytes(byte ^ pad for pad in (0x36, 0x5c) for byte in block).hex() + '\n\n')


def frame(message):
    payload = json.dumps(message, separators=(',', ':')).encode()
    return b'%d:%s,' % (len(payload), payload)


def harmless(n, pad=0):
    """A frame that Kamailio carries out and acknowledges: a node that nobody knows is down."""
    return frame({'t': 'node', 'n': n, 'id': 99, 'sip': '203.0.113.9:5060', 'inc': 'x' * pad + '1', 'up': 0})
