"""A phone that rings in a box, and who calls it, by the anycast address of the one node there."""
import socket

from lab.netns import inside
from lab.rawsip import answer_to

NODE, PHONE, CALLER = '198.51.100.1', '192.0.2.201', '192.0.2.202'
CALL_ID = 'rings@caller'


class Peer:
    def __init__(self, node, host):
        self.host = host
        self.socket = inside(f'/proc/{node.init()}/ns/net', self.open)

    def open(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((self.host, 5060))
        sock.settimeout(5)
        return sock

    def ask(self, method, to='phone', to_tag='', branch='z9hG4bKrings'):
        uri = f'sip:{NODE}' if method == 'REGISTER' else f'sip:{to}@{NODE}'
        lines = (f'{method} {uri} SIP/2.0', f'Via: SIP/2.0/UDP {self.host};branch={branch}', f'From: <sip:caller@{NODE}>;tag=c',
                 f'To: <sip:{to}@{NODE}>{to_tag}', f'Call-ID: {CALL_ID if method != "REGISTER" else "registers@phone"}',
                 f'CSeq: 1 {method}', 'Max-Forwards: 70', f'Contact: <sip:{to}@{self.host}>', 'Content-Length: 0', '', '')
        self.say('\r\n'.join(lines).encode())

    def say(self, data):
        self.socket.sendto(data, (NODE, 5060))

    def expect(self, start):
        """What comes next must begin so."""
        data = self.socket.recv(65535)
        assert data.startswith(start.encode()), data
        return data

    def expect_both(self, *starts):
        """In any order."""
        got = [self.socket.recv(65535) for _ in starts]
        assert all(any(data.startswith(start.encode()) for data in got) for start in starts), got
        return got


class Ringing:
    """Whoever calls `cancel` sees that the phone has heard nothing since it rang, and hears the CANCEL."""

    def __init__(self, node):
        self.phone, self.caller = Peer(node, PHONE), Peer(node, CALLER)
        self.phone.ask('REGISTER', branch='z9hG4bKregisters')
        self.phone.expect('SIP/2.0 200 ')
        self.caller.ask('INVITE')
        self.invite = self.phone.expect('INVITE')
        self.phone.say(answer_to(self.invite, '180 Ringing'))
        self.caller.expect('SIP/2.0 100 ')
        self.caller.expect('SIP/2.0 180 ')

    def cancel(self):
        self.caller.ask('CANCEL')
        self.phone.say(answer_to(self.phone.expect('CANCEL'), '200 OK'))
        self.phone.say(answer_to(self.invite, '487 Request Terminated'))
        self.phone.expect('ACK')
        self.caller.expect_both('SIP/2.0 200 ', 'SIP/2.0 487 ')
        self.caller.ask('ACK', to_tag=';tag=gateway')

    def end(self):
        self.phone.socket.close()
        self.caller.socket.close()
