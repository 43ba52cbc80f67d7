"""TCP as the lab sees it: which node a connection goes to, and the SIP messages in plain TCP and in WebSocket.

TLS shows nothing here: there the phones' own logs tell (lab/connections.py).
"""
import re
import struct

from lab.packets import Packet, ip_header

TCP = 6
FIN, SYN, RST, ACK = 1, 2, 4, 16
TLS_HANDSHAKE = 0x16
TEXT, BINARY = 1, 2            # WebSocket's opcodes
_LENGTH = re.compile(rb'\r\n(?:Content-Length|l)[ \t]*:[ \t]*(\d+)', re.I)


def is_tcp(packet):
    version = packet[0] >> 4 if packet else 0
    return (version == 4 and packet[9] == TCP) or (version == 6 and packet[6] == TCP)


def parse_tcp(packet):
    """(source, destination, sequence number, flags, payload) of a raw IP packet; None if not TCP."""
    header = ip_header(packet) if is_tcp(packet) else None
    if header is None:
        return None
    _, start, end, source_ip, destination_ip = header
    source, destination, sequence, _, offset, flags = struct.unpack_from('!HHIIBB', packet, start)
    return (source_ip, source), (destination_ip, destination), sequence, flags, bytes(packet[start + (offset >> 4) * 4:end])


class Flow:
    """One connection of the caller or the gateway with the anycast address, as a policy sees it: once, when it begins.

    kind         'SYN': this side opens it; 'SYN-ACK': a node has opened it, from the anycast address
    port         of this side; peer_port: of the node
    occurrence   0 for the first connection of this side, then 1, 2…
    node         where its packets go
    """
    call_id, cseq, cseq_method, dup, outgoing, text, branch, to_tag = '', 0, '', False, True, '', '', ''

    def __init__(self, side, source, destination, sequence, kind, occurrence):
        self.side, self.source, self.destination, self.sequence = side, source, destination, sequence
        self.kind, self.occurrence, self.node = kind, occurrence, None

    @property
    def port(self):
        return self.source[1]

    @property
    def peer_port(self):
        return self.destination[1]


class Flows:
    """The connections of one side."""

    def __init__(self, side):
        self.side, self._flows, self._count = side, {}, 0

    def of(self, tcp, choose):
        """The Flow of a packet that this side sends; choose(flow) is asked for the node of a new one."""
        source, destination, sequence, flags, _ = tcp
        flow = self._flows.get((source, destination))
        if flow is None or (flags & SYN and flow.sequence != sequence):
            kind = 'SYN-ACK' if flags & SYN and flags & ACK else 'SYN'
            flow = Flow(self.side, source, destination, sequence, kind, self._count)
            self._count += 1
            flow.node = choose(flow)
            self._flows[source, destination] = flow
        return flow

    def move(self, node, condition=lambda flow: True):
        for flow in list(self._flows.values()):
            if condition(flow):
                flow.node = node


class Streams:
    """The bytes of each direction of each connection, put together to SIP messages."""

    def __init__(self):
        self._streams = {}

    def feed(self, tcp):
        """Returns the messages that are complete with this segment."""
        source, destination, sequence, flags, payload = tcp
        if flags & (RST | SYN) or (source, destination) not in self._streams:
            self._streams[source, destination] = Stream((sequence + (1 if flags & SYN else 0)) % 2**32)
        return self._streams[source, destination].feed(sequence, payload) if payload else []


class Stream:
    """The messages of one direction. put(): where nothing is lost."""

    def __init__(self, sequence=0):
        self._next, self._buffer = sequence, b''
        self._take = self._first

    def feed(self, sequence, payload):
        seen = (self._next - sequence) % 2**32
        if seen > 2**31:         # a segment before it has been lost: it comes again, and this one after it
            return []
        fresh = payload[seen:]
        self._next = (self._next + len(fresh)) % 2**32
        return self.put(fresh)

    def put(self, data):
        """Returns the messages that are complete with these bytes."""
        self._buffer += data
        messages = []
        while self._buffer and (taken := self._take()) is not None:
            messages += [taken] if taken else []
        return messages

    # Each takes one thing from the buffer: a message, b'' for something else, None if it is not complete.

    def _first(self):
        """What speaks here?"""
        if self._buffer[0] == TLS_HANDSHAKE:
            self._take = self._nothing
        elif self._buffer.startswith((b'GET ', b'HTTP/1.1 ')):
            end = self._buffer.find(b'\r\n\r\n')
            if end < 0:
                return None
            self._buffer, self._take = self._buffer[end + 4:], self._frame
        else:
            self._take = self._sip
        return b''

    def _nothing(self):
        self._buffer = b''
        return b''

    def _sip(self):
        self._buffer = self._buffer.lstrip(b'\r\n')     # keep-alives
        end = self._buffer.find(b'\r\n\r\n') + 4
        length = _LENGTH.search(self._buffer[:end])
        end += int(length[1]) if length else 0
        if end < 4 or len(self._buffer) < end:
            return None
        message, self._buffer = self._buffer[:end], self._buffer[end:]
        return message

    def _frame(self):
        """A WebSocket frame; SIP messages are never in several (RFC 7118, 5)."""
        head = frame_head(self._buffer)
        if head is None or len(self._buffer) < head[0] + head[1]:
            return None
        start, length, mask = head
        payload, opcode = self._buffer[start:start + length], self._buffer[0] & 15
        self._buffer = self._buffer[start + length:]
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if mask else payload
        return payload if opcode in (TEXT, BINARY) else b''


def frame_head(frame):
    """(where its payload begins, how long that is, mask) of a WebSocket frame; None if the head is not complete."""
    if len(frame) < 2:
        return None
    length, start = frame[1] & 127, 2
    if length > 125:
        size = 2 if length == 126 else 8
        length, start = int.from_bytes(frame[2:2 + size]), 2 + size
    masked = frame[1] & 128
    mask = frame[start:start + 4] if masked else b''
    start += 4 if masked else 0
    return (start, length, mask) if len(frame) >= start else None


def packets_of(side, outgoing, node, tcp, messages):
    """As the trace keeps them."""
    return [Packet(side, outgoing, node, tcp[0], tcp[1], message) for message in messages if b'SIP/2.0' in message]
