"""SIP packets as the lab sees them, and the trace that keeps them.

The lab looks at two places only: the caller's and the gateway's network
interface.  Every SIP datagram that passes there, in either direction, becomes
one Packet.
"""
import re
import struct
import threading
import time
from socket import AF_INET, AF_INET6, inet_ntop

UDP = 17
_HEADER = rb'\r\n(?:%s)[ \t]*:[ \t]*([^\r\n]*)'
_CALL_ID = re.compile(_HEADER % rb'Call-ID|i', re.I)
_CSEQ = re.compile(rb'\r\nCSeq[ \t]*:[ \t]*(\d+)[ \t]+(\w+)', re.I)
_BRANCH = re.compile(_HEADER.replace(rb'([^\r\n]*)', rb'') % rb'Via|v'
                     + rb'[^\r\n]*?;branch=([^;,\s]+)', re.I)
_TO_TAG = re.compile(_HEADER.replace(rb'([^\r\n]*)', rb'') % rb'To|t'
                     + rb'[^\r\n]*?;tag=([^;,\s]+)', re.I)


class Packet:
    """One SIP message at the caller's or the gateway's interface.

    side         'caller' or 'gateway': whose interface it was seen at
    outgoing     True: that side sent it; False: a node sent it to that side
    node         the node it came from or went to (None: dropped)
    kind         'INVITE', 'CANCEL', ... or the status code, '180'
    cseq_method  'INVITE' for the 200 to an INVITE, 'CANCEL' for that to a
                 CANCEL
    dup          the same message was seen here before: a retransmission.
                 Judged by what makes a message the same in SIP (transaction,
                 direction, addresses), not by its bytes
    occurrence   0 for the first of its (call, kind, CSeq, side, port), then
                 1, 2...
    """
    __slots__ = ('time', 'side', 'outgoing', 'node', 'source', 'destination',
                 'payload', 'first_line', 'kind', 'call_id', 'cseq',
                 'cseq_method', 'branch', 'to_tag', 'dup', 'occurrence')

    def __init__(self, side, outgoing, node, source, destination, payload):
        self.time = time.monotonic()
        self.side, self.outgoing, self.node = side, outgoing, node
        self.source, self.destination = source, destination
        self.payload = payload
        self.dup, self.occurrence = False, 0
        line = payload[:payload.find(b'\r\n')].decode('utf-8', 'replace')
        words = line.split(' ', 2)
        self.first_line = line
        self.kind = words[1] if words[0] == 'SIP/2.0' else words[0]
        self.call_id = _first(_CALL_ID, payload).strip()
        self.branch = _first(_BRANCH, payload)
        self.to_tag = _first(_TO_TAG, payload)
        cseq = _CSEQ.search(payload)
        self.cseq = int(cseq[1]) if cseq else 0
        self.cseq_method = cseq[2].decode() if cseq else ''

    @property
    def text(self):
        return self.payload.decode('utf-8', 'replace')

    @property
    def port(self):
        """The port at this side: tells several gateways apart."""
        return (self.source if self.outgoing else self.destination)[1]

    @property
    def is_reply(self):
        return self.first_line.startswith('SIP/2.0')

    def __repr__(self):
        arrow = '->' if self.outgoing else '<-'
        again = ' again' if self.dup else ''
        return (f'{self.time:.3f} {self.side}:{self.port} {arrow} {self.node} '
                f'{self.kind} ({self.cseq} {self.cseq_method}){again}')


def _first(pattern, payload):
    found = pattern.search(payload)
    return found[1].decode('utf-8', 'replace') if found else ''


def ip_header(packet):
    """(protocol, where its payload begins, where it ends, source, destination) of a raw IP packet; None of a fragment."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        if packet[6] & 0x3F or packet[7]:
            return None
        start, family, addresses, protocol = (packet[0] & 15) * 4, AF_INET, packet[12:20], packet[9]
        end = int.from_bytes(packet[2:4])
    elif version == 6:
        start, family, addresses, protocol = 40, AF_INET6, packet[8:40], packet[6]
        end = start + int.from_bytes(packet[4:6])
    else:
        return None
    half = len(addresses) // 2
    return protocol, start, end, inet_ntop(family, addresses[:half]), inet_ntop(family, addresses[half:])


def parse_udp(packet):
    """(source, destination, payload) of a raw IP packet; None if not UDP."""
    header = ip_header(packet)
    if header is None or header[0] != UDP:
        return None
    _, start, _, source_ip, destination_ip = header
    source_port, dest_port, length = struct.unpack_from('!HHH', packet, start)
    return (source_ip, source_port), (destination_ip, dest_port), bytes(packet[start + 8:start + length])


def is_fragment(packet):
    if packet[0] >> 4 == 4:
        return bool(packet[6] & 0x3F or packet[7])
    return packet[0] >> 4 == 6 and packet[6] == 44


class Trace:
    """All packets since the lab began, and per call."""

    def __init__(self):
        self._lock = threading.Lock()
        self._by_call = {}
        self._seen = {}
        self._counts = {}
        self.packets = []

    def add(self, packet):
        """Number the packet, note whether it is a repetition, keep it."""
        times = (packet.side, packet.outgoing, packet.port, packet.call_id,
                 packet.kind, packet.cseq, packet.cseq_method)
        same = times + (packet.branch, packet.to_tag)
        with self._lock:
            packet.occurrence = self._counts.get(times, 0)
            self._counts[times] = packet.occurrence + 1
            packet.dup = same in self._seen
            self._seen[same] = True
            self.packets.append(packet)
            self._by_call.setdefault(packet.call_id, []).append(packet)

    def clear(self):
        """Forget everything, so that a long test starts from zero."""
        with self._lock:
            self._by_call, self._seen, self._counts = {}, {}, {}
            self.packets = []

    def forget(self, call_ids):
        """These calls are over and looked at; for a test that goes on for hours."""
        with self._lock:
            for call_id in call_ids:
                self._by_call.pop(call_id, None)
            self.packets = [p for p in self.packets if p.call_id in self._by_call]
            self._seen = {same: True for same in self._seen if same[3] in self._by_call}
            self._counts = {times: n for times, n in self._counts.items() if times[3] in self._by_call}

    def call_ids(self):
        with self._lock:
            return list(self._by_call)

    def of(self, call_id):
        """All packets of one call, at both sides, in order."""
        with self._lock:
            return list(self._by_call.get(call_id, ()))

    def at(self, side, call_id, port=None):
        """The packets of one call at one side (and one port of it)."""
        return [p for p in self.of(call_id)
                if p.side == side and port in (None, p.port)]

    def seen_by(self, side, call_id, port=None):
        """[('in', 'INVITE', 'a'), ('out', '180', 'b'), ...]: in = received."""
        return [('out' if p.outgoing else 'in', p.kind, p.node)
                for p in self.at(side, call_id, port)]

    def received_by(self, side, call_id, port=None):
        """Only the kinds, only what this side got: ['100', '180', '200']."""
        return [p.kind for p in self.at(side, call_id, port) if not p.outgoing]

    def sent_by(self, side, call_id, port=None):
        return [p.kind for p in self.at(side, call_id, port) if p.outgoing]

    def repeated(self, call_id=None):
        """The retransmissions, of one call or of all."""
        with self._lock:
            packets = (self.packets if call_id is None
                       else self._by_call.get(call_id, ()))
            return [p for p in packets if p.dup]

    def show(self, call_id):
        """One call as text, for the message of a failed assertion."""
        return '\n'.join(map(repr, self.of(call_id))) or f'{call_id}: nothing'
