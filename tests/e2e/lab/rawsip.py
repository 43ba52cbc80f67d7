"""SIP by hand: one UDP socket in a namespace, for messages that SIPp does not send.

    caller = Peer(lab, 'caller', 5090)
    invite = Request('INVITE', call_id='x', branch='z9hG4bK1', dial='ring1')
    caller.send(invite.text(caller))
    caller.expect('SIP/2.0 180')
    caller.send(invite.cancel(caller))
"""
import re
import select
import socket
import time

from lab import netns
from lab.lab import ANYCAST, ANYCAST6, SIP_PORT

COMPACT = {'v': 'via', 'f': 'from', 't': 'to', 'i': 'call-id'}


class Peer:
    transport = 'UDP'

    def __init__(self, lab, side, port, family=4):
        self.ip, self.port, self.family = lab.address(side, family), port, family
        self.host = self.ip if family == 4 else f'[{self.ip}]'
        self.anycast = (ANYCAST if family == 4 else ANYCAST6, SIP_PORT)
        self.sock = netns.inside(lab.namespace(side), self._open)
        self.seen = []

    def _open(self):
        sock = socket.socket(socket.AF_INET if self.family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        netns.make_room(sock)   # nothing here is sent again
        sock.bind((self.ip, self.port))
        return sock

    def send(self, text, to=None):
        data = text if isinstance(text, bytes) else text.encode()
        self.sock.sendto(data, to or self.anycast)

    def receive(self, timeout):
        """The next message as text, or None."""
        if not select.select([self.sock], [], [], max(timeout, 0))[0]:
            return None
        text = self.sock.recv(65535).decode(errors='replace')
        self.seen.append(text)
        return text

    def expect(self, start, timeout=10, having=''):
        """Reads until a message begins with start and has that text in it, and returns it."""
        return self.expect_all([start], timeout, having)[start]

    def expect_all(self, starts, timeout=10, having=''):
        """The same for several, which come in any order: what two processes of Kamailio send may change places."""
        found, deadline = {}, time.monotonic() + timeout
        while (missing := [start for start in starts if start not in found]):
            if (left := deadline - time.monotonic()) <= 0:
                raise AssertionError(f'no {missing} within {timeout} s; got: '
                                     + (', '.join(repr(t.splitlines()[0]) for t in self.seen) or 'nothing'))
            text = self.receive(left)
            if text and having in text:
                found.update({start: text for start in missing if text.startswith(start)})
        return found

    def expect_nothing(self, start, seconds):
        """Fails if such a message comes within the time: use it for what must never be sent."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            text = self.receive(left)
            assert not (text and text.startswith(start)), text

    def close(self):
        self.sock.close()


class Request:
    """An INVITE, and the CANCEL and ACK that belong to it. Every part can be given; the rest is filled in."""

    def __init__(self, call_id, branch='z9hG4bKraw', dial='ring1', cseq=1, display='', headers='', body='',
                 names=('Via', 'From', 'To', 'Call-ID', 'Contact', 'Content-Length'), more_vias=''):
        self.call_id, self.branch, self.dial, self.cseq, self.display = call_id, branch, dial, cseq, display
        self.headers, self.body, self.names, self.more_vias = headers, body, names, more_vias

    def _text(self, peer, method, to_tag='', headers='', body=''):
        via, from_, to, call_id, contact, length = self.names
        host = ANYCAST if peer.family == 4 else f'[{ANYCAST6}]'
        return (f'{method} sip:{self.dial}@{host} SIP/2.0\r\n'
                f'{via}: SIP/2.0/UDP {peer.host}:{peer.port};branch={self.branch}{self.more_vias}\r\n'
                f'{from_}: {self.display}<sip:caller@{peer.host}:{peer.port}>;tag=raw\r\n'
                f'{to}: <sip:{self.dial}@{host}>{to_tag}\r\n{call_id}: {self.call_id}\r\n'
                f'CSeq: {self.cseq} {method}\r\nMax-Forwards: 70\r\n'
                f'{contact}: <sip:caller@{peer.host}:{peer.port}>\r\n{headers}'
                f'{length}: {len(body)}\r\n\r\n{body}')

    def invite(self, peer):
        return self._text(peer, 'INVITE', headers=self.headers, body=self.body)

    def cancel(self, peer, headers=''):
        return self._text(peer, 'CANCEL', headers=headers)

    def bye(self, peer):
        return self._text(peer, 'BYE', to_tag=';tag=callee')

    def ack(self, peer, final, headers=''):
        """The ACK to a negative final reply, whose To tag it takes."""
        to = next(line for line in final.split('\r\n') if line.lower().startswith(('to:', 't:')))
        tag = to[to.index(';tag='):] if ';tag=' in to else ''
        return self._text(peer, 'ACK', to_tag=tag, headers=headers)


def headers(data):
    """[(name, text)], folded lines in one."""
    head = data.partition(b'\r\n\r\n')[0].decode('latin-1')
    lines = re.split(r'\r\n(?![ \t])', head)[1:]
    found = [(line.partition(':')[0].strip().lower(), line) for line in lines]
    return [(COMPACT.get(name, name), line) for name, line in found]


def answer_to(request, status):
    """What a far end answers. It repeats what it got, well-formed or not."""
    lines = [line for name, line in headers(request) if name in ('via', 'from', 'call-id', 'cseq')]
    target = [line for name, line in headers(request) if name == 'to'][:1]
    lines += [line if re.search(r';\s*tag', line) else f'{line};tag=gateway' for line in target]
    return '\r\n'.join([f'SIP/2.0 {status}', *lines, 'Content-Length: 0', '', '']).encode('latin-1')
