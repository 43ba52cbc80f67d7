"""evapi's traps (proto/messages.md), on the real Kamailio: those that kamsync must not fall into, and those that a newer
Kamailio may have mended, so that we notice."""
import collections
import itertools
import random
import re
import socket
import threading
import time

import pytest

from lab import netns
from lab.accidents import LARGE
from lab.cluster import CFG, Cluster
from lab.evapiclient import EvapiClient, frame, harmless
from lab.lab import ANYCAST
from lab.policies import to
from lab.proc import wait_until
from lab.rawsip import Peer, Request

BURST = 2000
HELLOS, HELLOS_MAX = 200, 5000  # looked at after so many whether one was met
CANCELS = 30  # of two rounds under way: below KAMSYNC_STRAYS_MAX
FRAMES_MAX = 32  # KAMSYNC_FRAMES_MAX
WINDOW = 16384
T1 = 0.5  # seconds after which a caller sends again (RFC 3261 17.1.2.1)


class Pings:
    """OPTIONS to a node every 20 ms. In a flood one may get lost in front of Kamailio, as on any network; but a long time
    without any answer means that Kamailio is blocked."""

    def __init__(self, lab, node, port=5071):
        self.peer, self.to = Peer(lab, 'gateway', port), (lab.address(node), 5060)
        self.answers, self.longest_gap = 0, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        number, last = 0, time.monotonic()
        while not self._end.is_set():
            number += 1
            self.peer.send(f'OPTIONS sip:{self.to[0]} SIP/2.0\r\n'
                           f'Via: SIP/2.0/UDP {self.peer.ip}:{self.peer.port};branch=z9hG4bKping{number}\r\n'
                           f'From: <sip:ping@{self.peer.ip}>;tag=ping\r\nTo: <sip:{self.to[0]}>\r\nMax-Forwards: 10\r\n'
                           f'Call-ID: ping\r\nCSeq: {number} OPTIONS\r\nContent-Length: 0\r\n\r\n', self.to)
            next_one = time.monotonic() + 0.02
            while (left := next_one - time.monotonic()) > 0:
                if self.peer.receive(left):
                    self.answers += 1
                    last = time.monotonic()
            self.longest_gap = max(self.longest_gap, time.monotonic() - last)

    def stop(self):
        self._end.set()
        self._thread.join()
        self.peer.close()


def sockets(lab, node, address):
    """The columns of /proc/net/udp of the node's SIP sockets there."""
    local = socket.inet_aton(address)[::-1].hex().upper()
    lines = netns.read_proc_net(lab.namespace(node), 'udp').splitlines()[1:]
    return [line.split() for line in lines if line.split()[1] == f'{local}:13C4']


def drops(lab, node):
    """Packets to the anycast address that the node's kernel could not give to Kamailio."""
    return sum(int(columns[-1]) for columns in sockets(lab, node, ANYCAST))


def waiting(lab, node):
    """Bytes to the node's own address that Kamailio has not read yet."""
    return sum(int(columns[4].split(':')[1], 16) for columns in sockets(lab, node, lab.address(node)))


Round = collections.namedtuple('Round', 'sent looked_up shed dropped answered')


class Stranger:
    """CANCELs of calls that nobody knows."""

    def __init__(self, lab, count):
        self.peer = Peer(lab, 'caller', 15095)
        self.waiting = {f'stranger-{n}@lab': Request(f'stranger-{n}@lab', branch=f'z9hG4bKstranger{n}')
                        for n in range(count)}

    def send_all(self):
        for request in self.waiting.values():
            self.peer.send(request.cancel(self.peer))

    def _take(self, timeout):
        answer = self.peer.receive(timeout)
        if answer:
            assert answer.startswith('SIP/2.0 481'), answer
            self.waiting.pop(re.search(r'Call-ID: (\S+)', answer)[1], None)
        return answer

    def take_answers(self, quiet):
        """Until all have one, or none has come for so long."""
        while self.waiting and self._take(quiet):
            pass


def calls(log, what):
    """Of which it says so."""
    return set(re.findall(rf'call (stranger-\d+)@lab[^\n]*{what}', log))


def one_round(lab, node, stranger):
    """All that have no answer yet are sent again; returns what became of them."""
    begin, dropped, sent = len(node.kamailio.log()), drops(lab, node.name), len(stranger.waiting)

    def seen():
        """A call may be in the log twice: all are told of what kamsyncd gives back for that, and in a small cluster of each."""
        log = node.kamailio.log()[begin:]
        looked_up, told = calls(log, 'given to kamsyncd'), calls(log, 'sent to all')
        return len(looked_up), len(told - looked_up), drops(lab, node.name) - dropped

    def is_over():
        return sum(seen()) == sent and node.status()['lookups'] == '0' and not waiting(lab, node.name)
    stranger.send_all()
    stranger.take_answers(T1)
    # some may wait in the socket still; an answer may be lost, too: on the way back from kamsyncd a full socket loses packets
    # as any network does
    wait_until(is_over, 10, lambda: f'word of all {sent}: {seen()}')
    return Round(sent, *seen(), sent - len(stranger.waiting))


def verdicts(node):
    counters = node.counters()
    return sum(counters[name] for name in ('verdict_unknown', 'verdict_unavailable', 'strays_dropped'))


@pytest.mark.parametrize('defines', [{}, LARGE], ids=['small cluster', 'large cluster'])
def test_a_burst_of_unknown_cancels(lab, defines):
    """Each is looked up, or goes to all nodes since kamsyncd is behind, or is dropped since so many are known to nobody: then
    nobody answers, and its caller, who sends it again as any caller does, gets his 481 later. Kamailio is not blocked, and nothing is left in a queue."""
    cluster, stranger = Cluster(lab, defines=defines), Stranger(lab, BURST)
    b = cluster['b']
    lab.steer(to('b'))
    pings, others, rounds, begun = Pings(lab, 'b'), Pings(lab, 'c', 5073), [], time.monotonic()
    while stranger.waiting:
        rounds.append(one_round(lab, b, stranger))
        assert len(rounds) < 60, rounds
    pings.stop()
    others.stop()
    print(f'{BURST} CANCELs of unknown calls at once: first {rounds[0]}; all answered after {len(rounds)} rounds, '
          f'{time.monotonic() - begun:.1f} s; {pings.answers} pings answered, the longest time without an '
          f'answer was {1000 * pings.longest_gap:.0f} ms')
    assert pings.longest_gap < 1 + others.longest_gap, f'{pings.longest_gap} s; a node with nothing to do: {others.longest_gap} s'
    looked_up = sum(one.looked_up for one in rounds)
    wait_until(lambda: verdicts(b) == looked_up, 5, lambda: f'{looked_up} verdicts: {b.counters()}')

    def queued():
        status = b.status()
        return status['lookups'], status['queued'], waiting(lab, 'b')
    wait_until(lambda: queued() == ('0', '0', 0), 5, lambda: f'nothing left in a queue: {queued()}')
    counters = b.counters()
    assert (counters['strays'], counters['frames_shed'], counters['frames_lost']) == (looked_up, 0, 0)
    stranger.peer.send(Request('after@lab', branch='z9hG4bKafter').cancel(stranger.peer))
    stranger.peer.expect('SIP/2.0 481', having='after@lab')
    cluster.stop()


@pytest.fixture
def kamailio(lab):
    """One Kamailio with kamsync.cfg whose evapi port is free for a client of ours."""
    return Cluster(lab, nodes='a', daemons=False)


CUTS = {'inside the length': lambda data: 1, 'behind the colon': lambda data: data.index(b':') + 1,
        'inside the payload': lambda data: 40, 'before the comma': lambda data: len(data) - 1}


@pytest.mark.parametrize('place, arrives', [('inside the length', False), ('behind the colon', True),
                                            ('inside the payload', True), ('before the comma', False)])
def test_a_read_that_ends_in_a_frame(lab, kamailio, place, arrives):
    """Why kamsyncd writes whole frames. If a frame cut inside its length or before its comma arrives, this Kamailio has
    mended evapi's reader: then say so in proto/messages.md, and turn this test round."""
    client = EvapiClient(lab, 'a')
    before, cut = client.next_n(), client.next_n()
    data = harmless(cut)
    at = CUTS[place](data)
    # a whole frame in front: a read that holds nothing but a piece is another case
    client.write(harmless(before) + data[:at])
    client.wait_until_read()
    client.write(data[at:])
    assert client.wait_acked(before)
    assert client.wait_acked(cut, 2 if arrives else 0.3) == arrives
    client.close()


def test_a_cancel_amid_a_hello(lab):
    """For a moment no node is known, and kamsyncd cannot be asked: it is dropped, and not answered, as another node may have
    its call. Each of many hellos, while the connection before it still stands, meets a few."""
    node = Cluster(lab, nodes='a', daemons=False, defines={'KAMSYNC_YOUNG_S': 0})['a']
    peer, client = Peer(lab, 'caller', 15096), EvapiClient(lab, 'a')
    for number in range(HELLOS_MAX):
        if number and number % HELLOS == 0 and 'kamsyncd has not connected yet, dropped' in node.kamailio.log():
            break
        before, client = client, EvapiClient(lab, 'a', greets=False)
        hello = client.hello()
        for copy in range(CANCELS):
            if copy == number % CANCELS:
                client.prove(hello)
            name = f'amid-{number}-{copy}'
            peer.send(Request(f'{name}@lab', branch=f'z9hG4bK{name}').cancel(peer), (lab.address('a'), 5060))
        client.wait_until_taken()
        before.close()
        # so that kamsyncd is never behind: that is another case
        wait_until(lambda: not waiting(lab, 'a'), 10, 'all CANCELs read', every=0.001)
    assert number < HELLOS_MAX - 1, 'no CANCEL came amid a hello'
    assert peer.receive(0.2) is None
    client.close()
    peer.close()


@pytest.mark.parametrize('pad', [0, 3000])
def test_the_window(lab, kamailio, pad):
    """20,000 numbered frames of mixed sizes, one a write, at most 16 kB (or one frame) not yet acknowledged: all arrive."""
    client, chance = EvapiClient(lab, 'a'), random.Random(7)
    unacked, under_way, count = {}, 0, 20000 if pad == 0 else 5000
    for _ in range(count):
        n = client.next_n()
        data = harmless(n, chance.randrange(pad) if pad else chance.randrange(100))
        while unacked and under_way + len(data) > WINDOW:
            assert client.read(5), f'{len(unacked)} frames are not acknowledged: {list(unacked)[:5]}'
            for acked in [m for m in unacked if m in client.acked]:
                under_way -= unacked.pop(acked)
        client.write(data)
        unacked[n] = len(data)
        under_way += len(data)
    for n in unacked:
        assert client.wait_acked(n), n
    assert client.acked == set(range(1, count + 1))
    client.close()


def credit(n, events, strays):
    return frame({'t': 'ack', 'n': n, 'events': events, 'strays': strays})


def test_credit_that_got_lost_comes_back(lab, kamailio):
    """Kamailio has sent all frames of events that it may, and no word of them comes: they may have got lost, each of them. So an
    empty one follows, once, and its acknowledgement counts for all."""
    client, peer = EvapiClient(lab, 'a'), Peer(lab, 'caller', 15097)

    def frames():
        return [message['n'] for message in client.others if message['t'] == 'events']

    def more_than(count):
        client.read(0.1)
        return len(frames()) > count

    def talk():
        request = Request(f'credit{next(numbers)}@lab', branch=f'z9hG4bKcredit{next(numbers)}')
        peer.send(request.invite(peer), (lab.address('a'), 5060))
    numbers, deadline = itertools.count(), time.monotonic() + 20
    while len(frames()) < FRAMES_MAX and time.monotonic() < deadline:
        talk()
        client.read(0.02)
    for _ in range(10):
        talk()
    wait_until(lambda: more_than(FRAMES_MAX), 5, 'a trial')
    assert frames() == list(range(1, FRAMES_MAX + 2))
    client.write(credit(client.next_n(), FRAMES_MAX + 1, 0))
    wait_until(lambda: more_than(FRAMES_MAX + 1), 5, 'what had to wait')
    peer.close()
    client.close()


class Talk:
    """INVITEs, each of which is a frame of events for the client."""

    def __init__(self, lab, client, port):
        self.lab, self.client, self.peer, self.told = lab, client, Peer(lab, 'caller', port), 0

    def frames(self):
        return [message for message in self.client.others if message['t'] == 'events']

    def call(self, name, dial='ring1'):
        request = Request(f'{name}@lab', branch=f'z9hG4bK{name}', dial=dial)
        self.peer.send(request.invite(self.peer), (self.lab.address('a'), 5060))

    def wait_told(self, timeout=5):
        """Until a frame has the new call of this caller; its number."""
        source = f'"src":"udp:{self.peer.ip}:{self.peer.port}"'

        def is_told():
            self.client.read(0.05)
            return any(source in frame['behind'] for frame in self.frames()[self.told:])
        wait_until(is_told, timeout, 'an event')
        self.told = len(self.frames())
        return self.frames()[-1]['n']


def test_what_was_acknowledged_is_not_sent_again(lab, kamailio):
    """Not even the last frames, all sent by SIP processes: the timer, which sends again what was not, has had nothing to do."""
    client = EvapiClient(lab, 'a')
    talk = Talk(lab, client, 15099)
    for number in range(50):
        talk.call(f'known{number}')
        told, n = talk.wait_told(), client.next_n()
        client.write(credit(n, told, 0))
        assert client.wait_acked(n)
    assert told >= 50
    new = EvapiClient(lab, 'a')
    other = Talk(lab, new, 15100)
    other.call('new')
    other.wait_told()
    assert [message['n'] for message in other.frames()] == [1]
    for one in (talk.peer, other.peer, client, new):
        one.close()


def test_a_turn_that_is_never_given_back(lab):
    """To send events (kamsync_turn): some seconds later the timer takes it."""
    Cluster(lab, nodes='a', daemons=False, routing=f'{CFG}/turn.cfg')
    client = EvapiClient(lab, 'a')
    talk = Talk(lab, client, 15101)
    for name, dial in (('before', 'ring1'), ('held', 'hold'), ('after', 'ring1')):
        talk.call(name, dial)
        talk.wait_told(10)
    talk.peer.close()
    client.close()


def test_stray_that_got_lost_is_not_waited_for(lab, kamailio):
    client, peer = EvapiClient(lab, 'a'), Peer(lab, 'caller', 15098)

    def strays():
        return [message['k'] for message in client.others if message['t'] == 'stray']

    def stray(name):
        """Whether it is given to kamsyncd; else Kamailio answers it."""
        peer.send(Request(f'{name}@lab', branch=f'z9hG4bK{name}').cancel(peer), (lab.address('a'), 5060))
        given = len(strays())

        def outcome():
            client.read(0.02)
            return strays()[-1] if len(strays()) > given else peer.receive(0)
        return wait_until(outcome, 5, f'what becomes of {name}')
    assert stray('first') == 1
    time.sleep(2.1)
    assert 'SIP/2.0 481' in stray('refused')
    time.sleep(5.1)
    assert stray('trial') == 2
    n = client.next_n()
    client.write(credit(n, 0, 2))
    assert client.wait_acked(n)
    assert [stray(f'then{i}') for i in range(3)] == [3, 4, 5]
    peer.close()
    client.close()
