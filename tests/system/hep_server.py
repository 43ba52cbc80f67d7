"""A HEP3 server: takes each packet apart, and is strict about it."""
import ipaddress
import socket
import struct

from harness import wait_until

# Of vendor 0: name, and how the value is read.
NUMBER, TEXT, ADDRESS = 'number', 'text', 'address'
CHUNKS = {1: ('family', NUMBER, 1), 2: ('transport', NUMBER, 1), 3: ('src', ADDRESS, 4), 4: ('dst', ADDRESS, 4),
          5: ('src', ADDRESS, 16), 6: ('dst', ADDRESS, 16), 7: ('src_port', NUMBER, 2), 8: ('dst_port', NUMBER, 2),
          9: ('seconds', NUMBER, 4), 10: ('microseconds', NUMBER, 4), 11: ('type', NUMBER, 1), 12: ('agent', NUMBER, 4),
          14: ('password', TEXT, None), 15: ('payload', TEXT, None), 17: ('call_id', TEXT, None), 19: ('name', TEXT, None)}
NEEDED = {'family', 'transport', 'src', 'dst', 'src_port', 'dst_port', 'seconds', 'microseconds', 'type', 'agent', 'payload'}
SIP, LOG = 1, 100


def read(packet):
    """All chunks by their names; a packet that is not exactly as it should be fails the test."""
    assert packet[:4] == b'HEP3' and len(packet) == struct.unpack_from('!H', packet, 4)[0]
    seen, at = {}, 6
    while at < len(packet):
        vendor, number, length = struct.unpack_from('!HHH', packet, at)
        value = packet[at + 6:at + length]
        name, kind, size = CHUNKS[number]
        assert vendor == 0 and length >= 6 and at + length <= len(packet) and name not in seen and size in (None, len(value))
        seen[name] = (int.from_bytes(value, 'big') if kind is NUMBER else ipaddress.ip_address(value) if kind is ADDRESS else value)
        at += length
    assert NEEDED <= set(seen) and seen['microseconds'] < 1000000
    assert {2: 4, 10: 6}[seen['family']] == seen['src'].version == seen['dst'].version
    return seen


class HepServer:
    def __init__(self, address='127.0.0.1'):
        self.socket = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.socket.bind((address, 0))
        self.socket.setblocking(False)
        host = f'[{address}]' if ':' in address else address
        self.at = f'{host}:{self.socket.getsockname()[1]}'
        self._seen = []

    def seen(self):
        try:
            while True:
                self._seen.append(read(self.socket.recv(65536)))
        except BlockingIOError:
            return self._seen

    def wait(self, count):
        return wait_until(lambda: len(self.seen()) >= count and self.seen(), 5, lambda: f'{count} packets: {self.seen()}')

    def close(self):
        self.socket.close()
