"""An answered call by hand, whose messages may be as odd as one likes.

    call = Call('nul', tag=';tag=r\\0w')
    call.begin(caller, gateway)     # two of rawsip's Peers; the gateway's one gets the requests of one call at a time
    call.end(caller, gateway)
"""
import itertools

from lab.lab import ANYCAST
from lab.rawsip import answer_to

_numbers = itertools.count(1)


class Call:
    """Answered by the gateway, acknowledged and hung up by the caller."""

    def __init__(self, name, call_id=None, branch=True, tag=';tag=raw', body='', before='', more=''):
        number = next(_numbers)
        self.call_id = call_id or f'{name}-{number}@lab'
        self.branch = f';branch=z9hG4bK{name}{number}' if branch else ''
        self.tag, self.body, self.before, self.more = tag, body, before, more

    def text(self, peer, method, cseq, to_tag='', route=''):
        body = self.body if method == 'INVITE' else ''
        uri = f'sip:callee@{ANYCAST}'
        return (f'{self.before}{method} {uri} SIP/2.0\r\n'
                f'Via: SIP/2.0/{peer.transport} {peer.host}:{peer.port}{self.branch and self.branch + str(cseq)}\r\n{self.more}'
                f'From: <sip:caller@{peer.host}:{peer.port}>{self.tag}\r\nTo: <{uri}>{to_tag}\r\nCall-ID: {self.call_id}\r\n'
                f'CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\n{route}Contact: <sip:caller@{peer.host}:{peer.port}>\r\n'
                f'Content-Length: {len(body)}\r\n\r\n{body}').encode('latin-1')

    def begin(self, peer, gateway):
        peer.send(self.text(peer, 'INVITE', 1))
        answered(gateway, b'INVITE', f'Contact: <sip:callee@{gateway.ip}:{gateway.port}>\r\n')
        peer.expect('SIP/2.0 200', 15)

    def live(self, peer, gateway):
        self.begin(peer, gateway)
        self.end(peer, gateway)

    def bye(self, peer, gateway, cseq=2):
        text = self.text(peer, 'BYE', cseq, ';tag=gateway', f'Route: <sip:{ANYCAST};lr>\r\n')
        return text.replace(f' sip:callee@{ANYCAST} '.encode(), f' sip:callee@{gateway.ip}:{gateway.port} '.encode())

    def end(self, peer, gateway):
        peer.send(self.bye(peer, gateway))
        answered(gateway, b'BYE')
        peer.expect('SIP/2.0 200', 15)


def answered(gateway, method, headers='', status='200 OK'):
    """Its first request of that kind gets that answer; what is left of an earlier call (an ACK, a repetition) is read over."""
    while True:
        gateway.sock.settimeout(15)
        data, source = gateway.sock.recvfrom(65535)
        if data.lstrip(b'\r\n').startswith(method):
            answer = answer_to(data.lstrip(b'\r\n'), status).replace(b'Content-Length', headers.encode() + b'Content-Length')
            gateway.send(answer, source)
            return
