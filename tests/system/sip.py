"""Calls as text: what Kamailio reports of them, the strays that belong to them, and what a handover must look like."""
import base64
import binascii
import hashlib
import itertools
import urllib.parse

from fake_kamailio import DST, SRC
from harness import SECRET, SLOWER

GATEWAY, SOCK = 'udp:192.0.2.200:5060', 'udp:203.0.113.5:5060'
_calls = itertools.count(1)


def b64(data):
    return base64.b64encode(data).decode()


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode()


class Call:
    """One INVITE transaction: the caller's Via identifies it, tm's branch ids are `<tm_id>.<index>`."""

    def __init__(self, call_id=None, cseq=1, branch=None, display='Alice', body=b'', header=b'',
                 caller=b'alice@example.com', callee=b'bob@example.com'):
        number = next(_calls)
        self.call_id = to_bytes(call_id if call_id is not None else f'call{number}@caller.example')
        self.cseq, self.branch = cseq, to_bytes(branch or f'z9hG4bKcaller{number}')
        self.sent_by = b'198.51.100.7:5062'
        self.tm_id = f'z9hG4bK{number:04x}.{hashlib.md5(str(number).encode()).hexdigest()}'
        self.display, self.body, self.header = to_bytes(display), body, header
        self.caller, self.callee = caller, callee

    def request(self, method, vias=b'', body=b''):
        return (b'%s sip:%s SIP/2.0\r\n' % (method.encode(), self.callee) + vias
                + b'Via: SIP/2.0/UDP %s;branch=%s;rport\r\n' % (self.sent_by, self.branch)
                + b'From: "%s" <sip:%s>;tag=f1\r\nTo: <sip:%s>\r\n' % (self.display, self.caller, self.callee)
                + b'Call-ID: %s\r\nCSeq: %d %s\r\nMax-Forwards: 70\r\n' % (self.call_id, self.cseq, method.encode())
                + self.header + b'Content-Length: %d\r\n\r\n' % len(body) + body)

    def invite(self):
        return self.request('INVITE', body=self.body)

    def cancel(self):
        return self.request('CANCEL')

    def ack(self):
        return self.request('ACK')

    def via_branch(self, index=0):
        # tm writes the index in hexadecimal, lowest digit first
        return f'{self.tm_id}.{format(index, "x")[::-1]}'

    def sent(self, index=0, route=b''):
        via = b'Via: SIP/2.0/UDP 203.0.113.5;branch=%s;srvid=1\r\n' % self.via_branch(index).encode()
        return self.request('INVITE', via + route, self.body)

    def branch_event(self, index=0, route=b''):
        """The first branch carries the INVITE as received."""
        event = {'t': 'branch', 'src': SRC, 'dst': DST, 'to': GATEWAY, 'sock': SOCK,
                 'sent': b64(self.sent(index, route))}
        return event if index else {**event, 'req': b64(self.invite())}

    def reply_event(self, code, index=0):
        return {'t': 'reply', 'via': b64(self.via_branch(index).encode()), 'code': code}

    def cancel_event(self, **more):
        return {'t': 'cancel', 'call_id': b64(self.call_id), 'cseq': self.cseq,
                'branch': b64(self.branch), 'sent_by': b64(self.sent_by), **more}

    def key(self, bucketed=False):
        """Its record's; bucketed: in a Redis Cluster."""
        def encode(b):
            return urllib.parse.quote(b, safe='@.-_~+!*;=')
        host, port = self.sent_by.decode().rsplit(':', 1)
        rest = f'{self.cseq}:{encode(self.branch)}:{encode(host.encode())}:{port}'
        if bucketed:
            return f'kamsync:{{b{binascii.crc_hqx(self.call_id, 0) % 256:02x}}}:tx:{encode(self.call_id)}:{rest}'
        return f'kamsync:tx:{{{encode(self.call_id)}}}:{rest}'


def warm_up(kamailio):
    """Valgrind translates what runs for the first time, and that takes longer than a stray may wait."""
    if SLOWER > 1:
        kamailio.stray(Call().request('BYE'), ask='call')
        kamailio.frames.remove(kamailio.wait_sends(1)[0])


def key_of(secret):
    """The secret as kamsyncd gives it to Kamailio (daemon/core/link/proof.h)."""
    key = secret.encode()
    key = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b'\0')
    return bytes(byte ^ pad for pad in (0x36, 0x5c) for byte in key).hex()


def prove(text, key):
    """The proof, reckoned as the script does: HMAC (RFC 2104) from its two padded keys."""
    inner, outer = bytes.fromhex(key[:128]), bytes.fromhex(key[128:])
    return hashlib.sha256(outer + hashlib.sha256(inner + text).digest()).hexdigest().encode()


def open_handover(frame, key=key_of(SECRET)):
    """The fields of the X-Kamsync header in a `send` frame, and the message without it. The proof must be right."""
    first, header, rest = base64.b64decode(frame['msg']).split(b'\r\n', 2)
    name, colon, value = header.partition(b': ')
    assert name == b'X-Kamsync' and colon, header
    body, _, proof = value.partition(b';proof=')
    message = first + b'\r\n' + rest
    assert proof == prove(body + b' ' + message, key), 'the proof is wrong'
    return dict(pair.split('=', 1) for pair in body.decode().split(';')), message


def check_adopted(frame, call, message):
    """The frame sends the caller's request on as a stateless proxy would: recorded R-URI, Via on top, next hop and socket."""
    assert (frame['to'], frame['sock']) == (GATEWAY.removeprefix('udp:'), SOCK)
    method, rest = message.split(b' ', 1)
    via = b'Via: SIP/2.0/UDP 203.0.113.5;branch=%s;srvid=1\r\n' % call.via_branch().encode()
    first, headers = rest.split(b'\r\n', 1)
    assert base64.b64decode(frame['msg']) == method + b' ' + first + b'\r\n' + via + headers
