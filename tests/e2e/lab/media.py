"""rtpengine, and RTP through it.

    address = start_rtpengine(lab)        # 'udp:…:2223', as Kamailio wants it
    with Media(lab) as media:
        call = caller.call('x@lab', 'phone', **media.offer())
        media.answer(leg)                 # what a callee says from now on has an SDP
        media.talk(call, leg)             # a packet in each direction, by the addresses that each was told
"""
import re
import socket
import struct

from lab import netns
from lab.lab import SIDES
from lab.proc import wait_until

PORT = 2223           # of rtpengine's control protocol
RTP = 20000           # of both phones
TYPE = (('Content-Type', 'application/sdp'),)
HOST = 'store'        # a host of the lab that is no node


def start_rtpengine(lab):
    address = lab.address(HOST)
    proc = lab.start(HOST, 'rtpengine', ['rtpengine', '--config-file=none', '--foreground', '--log-stderr', '--table=-1',
                                         f'--interface={address}', f'--listen-ng={address}:{PORT}', '--num-threads=1'])
    proc.wait_udp(PORT)
    return f'udp:{address}:{PORT}'


def sdp(ip):
    return (f'v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {RTP} RTP/AVP 0\r\n'
            'a=rtpmap:0 PCMU/8000\r\n')


def told(message):
    """(address, port) of an SDP."""
    body = message.text.partition('\r\n\r\n')[2]
    return re.search(r'^c=IN IP4 (\S+)', body, re.M)[1], int(re.search(r'^m=audio (\d+)', body, re.M)[1])


def _bind(address):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.setblocking(False)
    return sock


class Media:
    def __init__(self, lab):
        self.ip = {side: lab.address(side) for side in SIDES}
        self.relay = lab.address(HOST)
        self._sockets = {side: netns.inside(lab.namespace(side), _bind, (self.ip[side], RTP)) for side in SIDES}
        self._count = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for sock in self._sockets.values():
            sock.close()

    def offer(self):
        """Of a caller: for Caller.call()."""
        return {'headers': TYPE, 'body': sdp(self.ip['caller'])}

    def answer(self, leg):
        leg.headers, leg.body = TYPE, sdp(self.ip['gateway'])

    def talk(self, call, leg):
        self._pass('caller', 'gateway', told(call.final))
        self._pass('gateway', 'caller', told(leg.invite))

    def _pass(self, sender, receiver, address):
        """A packet of the one to the address that it was told reaches the other, by way of rtpengine."""
        assert address[0] == self.relay, address
        self._count += 1
        payload = f'{self._count} of the {sender}'.encode().ljust(160, b'\xff')
        packet = struct.pack('!BBHII', 0x80, 0, self._count, 160 * self._count, 1) + payload
        self._sockets[sender].sendto(packet, address)
        wait_until(lambda: self._got(receiver, payload), 10, f'the RTP of the {sender} at the {receiver}')

    def _got(self, side, payload):
        try:
            data, source = self._sockets[side].recvfrom(2000)
        except BlockingIOError:
            return False
        return data[12:] == payload and source[0] == self.relay
