"""Kamailio's end of the evapi socket, with frames that were made before the clock starts: what kamsyncd can take.

    stream = Stream(directory, redis.url)       # starts kamsyncd as well
    stream.pump(frames(new_calls(range(1000))))
"""
import base64
import json
import select
import socket
import threading
import time

import measure
from fake_kamailio import events_frame, netstring, prove, text_of
from harness import Daemon, free_port, keys_files, wait_until

CREDIT = 32            # unacknowledged frames, as the script keeps it
FRAME = 24000
SRC, DST = 'udp:198.51.100.11:5090', 'udp:192.0.2.1:5060'
GATEWAY = 'udp:198.51.100.12:5060'
SDP = (b'v=0\r\no=- 3905212 3905212 IN IP4 198.51.100.11\r\ns=-\r\nc=IN IP4 198.51.100.11\r\nt=0 0\r\n'
       b'm=audio 40000 RTP/AVP 9 8 0 101\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n'
       b'a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\na=sendrecv\r\n')


def now():
    """As Kamailio prints it ($TV(Sn))."""
    return round(time.time(), 6)


def b64(data):
    return base64.b64encode(data).decode()


def invite(number, to_tag=b''):
    return (b'INVITE sip:callee@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 198.51.100.11:5090;branch=z9hG4bKbench%d;rport\r\n'
            b'Max-Forwards: 70\r\nTo: <sip:callee@example.com>%s\r\nFrom: "Caller" <sip:caller@example.com>;tag=f%d\r\n'
            b'Call-ID: bench-%d@bench\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@198.51.100.11:5090>\r\n'
            b'User-Agent: kamsync bench\r\nContent-Type: application/sdp\r\nContent-Length: %d\r\n\r\n%s'
            % (number, to_tag, number, number, len(SDP), SDP))


def tm_branch(number):
    return b'z9hG4bK%04x.%032x.0' % (number & 0xffff, number)


def branch(number, to_tag=b''):
    """As kamsync.cfg reports the first branch of a transaction."""
    sent = (b'INVITE sip:callee@192.0.2.1 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=%s;srvid=1\r\n\r\n'
            % tm_branch(number))
    return {'t': 'branch', 'src': SRC, 'dst': DST, 'to': GATEWAY, 'sock': DST, 'sent': b64(sent), 'at': now(),
            'req': b64(invite(number, to_tag))}


def reply(number, code):
    event = {'t': 'reply', 'via': b64(tm_branch(number)), 'code': code, 'at': now()}
    return {**event, 'to_tag': b64(b'gw%d' % number)} if code >= 200 else event


def bye(number, code):
    return {'t': 'bye', 'call_id': b64(b'bench-%d@bench' % number), 'code': code, 'at': now(),
            'from_tag': b64(b'f%d' % number), 'to_tag': b64(b'gw%d' % number)}


def reinvites(numbers):
    """INVITEs within calls: a transaction each, and no call."""
    return [branch(number, b';tag=gw%d' % number) for number in numbers]


def ringing(numbers):
    return [event for number in numbers for event in (branch(number), reply(number, 180))]


def talking(numbers):
    return [event for number in numbers for event in (branch(number), reply(number, 180), reply(number, 200))]


def ordinary(numbers, mixed=100):
    """Whole calls; so many of them at once that no two events of one call stand side by side."""
    numbers, events = list(numbers), []
    for start in range(0, len(numbers), mixed):
        some = numbers[start:start + mixed]
        events += [branch(number) for number in some]
        for code in (180, 200):
            events += [reply(number, code) for number in some]
        for code in (0, 200):
            events += [bye(number, code) for number in some]
    return events


def frames(events):
    """Lists of events' texts, each as much as one frame of the script's holds."""
    packed, size = [[]], 0
    for event in events:
        text = text_of(event)
        if packed[-1] and (size + len(text) > FRAME or len(packed[-1]) >= 90):
            packed.append([])
            size = 0
        packed[-1].append(text)
        size += len(text)
    return [''.join(texts) for texts in packed]


class Stream:
    """A kamsyncd, and the Kamailio that it thinks to have."""

    def __init__(self, directory, store, node=1, **settings):
        self.node, self.port, self.going = node, free_port(), True
        self.sent = self.acked = self.told = 0
        self.probes = 0
        self.sends = []      # moments at which `send` frames came
        self.listener = socket.create_server(('127.0.0.1', self.port))
        self.daemon = Daemon(directory, self.port, name=f'k{node}', store=store, **settings).start_quietly()
        self.conn = self.listener.accept()[0]
        self.conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.moved = threading.Condition()
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        self.daemon.wait_report(timeout=10, kamailio='up', store='up')
        self.pid = self.daemon.popen.pid

    def _read(self):
        rest = b''
        while self.going:
            if not select.select([self.conn], [], [], 0.1)[0]:
                continue
            try:
                data = self.conn.recv(1 << 16)
            except ConnectionResetError:
                return
            if not data:
                return
            rest += data
            while (parts := rest.partition(b':'))[1] and len(parts[2]) > int(parts[0]):
                size = int(parts[0])
                self._take(json.loads(parts[2][:size]))
                rest = parts[2][size + 1:]

    def _take(self, frame):
        if frame['t'] == 'hello':
            inc, sip = f'17.{self.port}', f'192.0.2.{self.node}:5060'
            with open(keys_files[self.port]) as file:
                proof = prove(file.readline().strip(), f'hello kamailio {frame["tag"]} 1 {self.node} {inc} {sip}')
            self._say({'t': 'hello', 'node': self.node, 'inc': inc, 'sip': sip, 'nonce': '1', 'proof': proof})
        elif frame['t'] == 'send':
            self._sent(base64.b64decode(frame['msg']))
        elif frame['t'] == 'ack':
            with self.moved:
                self.acked = frame['events']
                self.moved.notify()
        if 'n' in frame:
            self._say({'t': 'ack', 'n': frame['n']})

    def _sent(self, msg):
        """Answers a probe for the node that it is meant for."""
        marker = msg.find(b'z9hG4bK-kamsync.')
        if msg.startswith(b'OPTIONS') and marker >= 0:
            self.probes += 1
            other = int(msg[marker:].split(b'.')[1])
            self._write(events_frame(max(self.sent, 1), text_of({'t': 'alive', 'id': other})))
        else:
            self.sends.append(time.monotonic())

    def _say(self, message):
        self._write(netstring(json.dumps(message).encode()))

    def _write(self, data):
        with self.lock:
            self.conn.sendall(data)

    def pump(self, texts):
        """Sends these frames as fast as credit allows, and waits until all is in the store. Seconds."""
        begun = time.monotonic()
        self.told += sum(text.count('{"t":') for text in texts)
        for text in texts:
            with self.moved:
                while self.sent - self.acked >= CREDIT:
                    self.moved.wait(0.5)
            self.sent += 1
            self._write(events_frame(self.sent, text))
        self.wait_written()
        return time.monotonic() - begun

    def wait_written(self):
        def written():
            report = self.daemon.report()
            told = report['events_branch'] + report['events_reply'] + report['events_bye']
            return told >= self.told and report['unwritten'] == 0
        wait_until(written, 120, 'all read and written', every=0.005)

    def counters(self):
        return self.daemon.report()

    def cpu(self):
        return measure.cpu(self.pid)

    def hang_up(self):
        """This Kamailio dies."""
        self.going = False
        self.thread.join()
        self.conn.close()

    def close(self):
        self.daemon.kill()
        self.hang_up()
        self.listener.close()
