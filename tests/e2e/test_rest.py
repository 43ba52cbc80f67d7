"""Without events the timer that sends what is left over rests for long (KAMSYNC_PACE). Nothing may wait for it then: what comes in that
time is sent while it still rests."""
import itertools
import re

import pytest

from lab.cluster import CFG, Cluster
from lab.evapiclient import EvapiClient, frame
from lab.proc import wait_until
from lab.rawsip import Peer, Request, answer_to

FRAMES_MAX = 4  # so that credit is used up before the timer looks
_numbers = itertools.count(1)


class Idle:
    """A node whose kamsyncd is a client of ours, and somebody who calls."""

    def __init__(self, lab, **defines):
        self.lab = lab
        Cluster(lab, nodes='a', daemons=False, routing=f'{CFG}/rest.cfg', defines={'KAMSYNC_FRAMES_MAX': FRAMES_MAX, **defines})
        self.client = EvapiClient(lab, 'a')
        self.peer = Peer(lab, 'caller', 15110)
        self.gateway = Peer(lab, 'gateway', 5060)    # answers nothing

    def send(self, text):
        self.peer.send(text, (self.lab.address('a'), 5060))

    def rests(self):
        name = f'rest{next(_numbers)}'
        self.send(Request(f'{name}@lab', branch=f'z9hG4bK{name}').invite(self.peer).replace('INVITE', 'MESSAGE'))
        return 'few=-1' in self.peer.expect('SIP/2.0 299', having=name)

    def wait_until_it_rests(self):
        wait_until(self.rests, 10, 'the timer rests', every=0.05)

    def invite(self):
        """Its Call-ID."""
        name = f'rest{next(_numbers)}'
        self.send(Request(f'{name}@lab', branch=f'z9hG4bK{name}').invite(self.peer))
        return name

    def cancelled(self):
        """A call that rings and is cancelled. All phones have said their last word when this returns."""
        name = f'rest{next(_numbers)}'
        request = Request(f'{name}@lab', branch=f'z9hG4bK{name}')
        self.send(request.invite(self.peer))
        invite = self.gateway.expect('INVITE', having=name)
        self.gateway.send(answer_to(invite.encode(), '180 Ringing'), (self.lab.address('a'), 5060))
        self.peer.expect('SIP/2.0 180', having=name)
        self.send(request.cancel(self.peer))
        cancel = self.gateway.expect('CANCEL', having=name)
        self.gateway.send(answer_to(cancel.encode(), '200 OK'), (self.lab.address('a'), 5060))
        self.gateway.send(answer_to(invite.encode(), '487 Request Terminated'), (self.lab.address('a'), 5060))
        self.send(request.ack(self.peer, self.peer.expect('SIP/2.0 487', having=name)))

    def bye(self):
        name = f'rest{next(_numbers)}'
        text = Request(f'{name}@lab', branch=f'z9hG4bK{name}').bye(self.peer)
        first, rest = text.split('\r\n', 1)
        anycast = self.peer.anycast[0]
        self.send(f'BYE sip:callee@{self.gateway.ip} SIP/2.0\r\nRoute: <sip:{anycast};lr>\r\n{rest}')

    def relayed(self):
        """How many calls have come to the gateway: what there is to tell of them has been queued, or sent, before."""
        self.gateway.receive(0.001)
        return len({re.search(r'Call-ID: (\S+)', text)[1] for text in self.gateway.seen})

    @staticmethod
    def told(client):
        """How many events there are in the frames so far."""
        client.read(0.01)
        return sum(message['behind'].count('{"t":') for message in client.others if message['t'] == 'events')

    def close(self):
        for one in (self.client, self.peer, self.gateway):
            one.close()


@pytest.fixture
def idle(lab):
    found = Idle(lab)
    yield found
    found.close()


@pytest.mark.parametrize('what', ['invite', 'bye'])
def test_an_event_is_sent_at_once(idle, what):
    """Also that of a BYE, which else waits for the BYE's answer, or for the timer."""
    idle.wait_until_it_rests()
    getattr(idle, what)()
    wait_until(lambda: idle.told(idle.client) == 1, 5, 'the event', every=0.001)
    assert idle.rests()


def test_a_new_kamsyncd_has_at_once_what_the_old_one_did_not_acknowledge(idle):
    idle.invite()
    wait_until(lambda: idle.told(idle.client) == 1, 5, 'the event', every=0.001)
    idle.wait_until_it_rests()
    new = EvapiClient(idle.lab, 'a')
    wait_until(lambda: idle.told(new) == 1, 5, 'the kept event', every=0.001)
    assert idle.rests()
    idle.invite()
    wait_until(lambda: idle.told(new) == 2, 5, 'the next event', every=0.001)
    assert idle.rests()
    new.close()


def test_what_had_no_credit_is_sent_with_the_acknowledgement(idle):
    """Unless the timer wakes just then: so a few times are tried."""
    sent = 0

    def last():
        return max((message['n'] for message in idle.client.others if message['t'] == 'events'), default=0)

    def acknowledge():
        idle.client.write(frame({'t': 'ack', 'n': idle.client.next_n(), 'events': last(), 'strays': 0}))
    for _ in range(5):
        idle.wait_until_it_rests()
        acknowledged = last()
        while last() < acknowledged + FRAMES_MAX:
            idle.invite()
            sent += 1
            wait_until(lambda want=sent: idle.told(idle.client) == want, 5, 'its event', every=0.001)
        for _ in range(3):
            idle.invite()
        sent += 3
        wait_until(lambda want=sent: idle.relayed() == want, 5, 'their events wait', every=0.001)
        acknowledge()
        wait_until(lambda want=sent: idle.told(idle.client) == want, 5, 'all events', every=0.001)
        rested = idle.rests()
        acknowledge()
        if rested:
            return
    raise AssertionError('the timer sent them')


def test_with_many_calls_a_cancel_is_told_with_its_487(lab):
    """So it waits until the CANCEL has been sent on, but not for the timer, whose turn may come in between: so a few are tried."""
    busy = Idle(lab, KAMSYNC_ENOUGH=1000000, KAMSYNC_TIMER='"name=kamsync;interval=1000000u;mode=1;"')
    busy.invite()
    wait_until(lambda: busy.told(busy.client), 10, 'the timer has taken up the connection', every=0.001)

    def is_told():
        frames = len(busy.client.others)
        busy.cancelled()
        busy.client.read(0.1)
        return any('"t":"cancel"' in message['behind'] and '"code":487' in message['behind']
                   for message in busy.client.others[frames:] if message['t'] == 'events')
    try:
        assert any(is_told() for _ in range(3))
    finally:
        busy.close()
