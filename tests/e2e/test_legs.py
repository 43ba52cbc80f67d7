"""Several INVITEs with one Call-ID and one From tag are one call: a caller who tries again at once, a fork upstream. Is the real one
shown live, and is its entry in the archive right?"""
import itertools
import re
import signal
import time

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees
from lab.policies import to
from lab.proc import wait_until
from lab.rawsip import Peer, Request

TOLERANCE_MS = 50


class Legs:
    """A cluster, a caller who may fork, phones that ring, and all INVITEs of one call."""

    def __init__(self):
        self.lab = Lab()
        try:
            self.cluster = Cluster(self.lab, routing=f'{CFG}/owner_gone.cfg')
            self.callees = Callees(self.lab)
            self.peer = Peer(self.lab, 'caller', 5090)
        except BaseException:
            self.lab.close()
            raise
        self.numbers = itertools.count(1)
        self.answered = self.heard = 0   # since when both sides know, at the earliest and at the latest

    def close(self):
        self.callees.close()
        self.peer.close()
        self.cluster.stop()
        self.lab.close()

    def begin(self, call_id, at, cseq=1):
        """An INVITE that arrives at that node; returns it, and the phone that rings."""
        n = next(self.numbers)
        self.answered = self.heard = 0
        request = Request(call_id, branch=f'z9hG4bKleg{n}', dial=f'one{n}', cseq=cseq)
        self.lab.steer(to(at))
        self.peer.send(request.invite(self.peer))
        self.expect(180, request)
        return request, self.callees.legs(call_id)[-1]

    def expect(self, code, request, method='INVITE'):
        """That reply to this one of the requests."""
        while True:
            reply = self.peer.expect(f'SIP/2.0 {code}')
            if f'branch={request.branch}\r' in reply and re.search(rf'^CSeq: \d+ {method}\r', reply, re.M):
                return reply

    def end(self, request, leg, code):
        """Negative; 487: the caller cancels it."""
        if code == 487:
            self.peer.send(request.cancel(self.peer))
        else:
            leg.reject(code)
        self.peer.send(request.ack(self.peer, self.expect(code, request)))

    def answer(self, request, leg):
        """Returns what the caller needs for a request within the dialog."""
        self.answered = self.answered or time.monotonic()
        leg.answer()
        answer = self.expect(200, request)
        self.heard = self.heard or time.monotonic()
        self.peer.send(self.within(request, answer, 'ACK', request.cseq))
        wait_until(lambda: leg.acked, 3, 'ACK')
        return answer

    def within(self, request, answer, method, cseq):
        lines = answer.split('\r\n')
        routes = [line.split(': ', 1)[1] for line in lines if line.startswith('Record-Route: ')]
        contact = re.search(r'^Contact: <([^>]*)>', answer, re.M)[1]
        return '\r\n'.join([
            f'{method} {contact} SIP/2.0', f'Via: SIP/2.0/UDP {self.peer.ip}:5090;branch=z9hG4bK{method}{next(self.numbers)}',
            *(f'Route: {route}' for route in reversed(', '.join(routes).split(', ')) if route),
            *(line for line in lines if line.startswith(('From: ', 'To: '))),
            f'Call-ID: {request.call_id}', f'CSeq: {cseq} {method}', 'Max-Forwards: 70', 'Content-Length: 0', '', ''])

    def bye(self, request, answer, at):
        """The call was no shorter than self.least and no longer than self.most, in ms, if it is the last dialog."""
        self.lab.steer(to(at))
        self.least = 1000 * (time.monotonic() - self.heard)
        self.peer.send(self.within(request, answer, 'BYE', request.cseq + 1))
        self.peer.expect('SIP/2.0 200', having=f'CSeq: {request.cseq + 1} BYE')
        self.most = 1000 * (time.monotonic() - self.answered)

    # --- what kamsync says

    def live(self, call_id):
        """The states in which it is listed."""
        found = self.cluster['c'].ask_all('calls', limit=1000)['calls']
        return sorted(call['state'] for call in found if call['call_id'] == call_id)

    def wait_live(self, call_id, *states):
        wait_until(lambda: self.live(call_id) == sorted(states), 5, f'{states}, not {self.live(call_id)}')

    def entries(self, call_id):
        return [entry for entry in self.cluster['c'].ask('cdr', count=10000)['cdr'] if entry['call_id'] == call_id]

    def expect_entry(self, call_id, others=()):
        """One completed call that lasted as long as it did, and these other ends at the most."""
        wait_until(lambda: any(entry['how'] == 'completed' for entry in self.entries(call_id)), 6, 'the entry')
        wait_until(lambda: not self.live(call_id), 6, 'nothing live')
        entries = self.entries(call_id)
        completed = [entry for entry in entries if entry['how'] == 'completed']
        assert len(completed) == 1, entries
        assert self.least - TOLERANCE_MS < completed[0]['duration_ms'] < self.most + TOLERANCE_MS, entries
        assert completed[0].get('ringing', 0) >= completed[0]['trying'], entries
        assert {entry['how'] for entry in entries} - {'completed'} <= set(others), entries


@pytest.fixture(scope='module')
def legs():
    the_legs = Legs()
    yield the_legs
    the_legs.close()


def talk(seconds):
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > seconds, seconds + 2, 'they talk')


@pytest.mark.parametrize('at', 'ab')
@pytest.mark.parametrize('code', [302, 401, 407, 486, 487, 500, 603])
@pytest.mark.parametrize('pause', [0, 0.35, 1.2])
def test_next_attempt(legs, code, at, pause):
    """The first one ends so; the next comes at once, here or at another node, rings and talks."""
    call_id = f'next-{code}-{at}-{pause}@lab'
    first, leg = legs.begin(call_id, 'a')
    legs.end(first, leg, code)
    if pause:
        talk(pause)
    second, leg = legs.begin(call_id, at, cseq=2)
    legs.wait_live(call_id, 'ringing')
    answer = legs.answer(second, leg)
    legs.wait_live(call_id, 'answered')
    talk(0.5)
    legs.bye(second, answer, 'c')
    legs.expect_entry(call_id, ('rejected', 'cancelled'))


@pytest.mark.parametrize('at', 'ab')
@pytest.mark.parametrize('code', [486, 487])
@pytest.mark.parametrize('which', ['first', 'second'])
def test_one_leg_gives_up(legs, which, code, at):
    """Both ring; one of them gives up long before the other is answered."""
    call_id = f'up-{which}-{code}-{at}@lab'
    both = [legs.begin(call_id, 'a'), legs.begin(call_id, at)]
    lost, kept = both if which == 'first' else reversed(both)
    legs.end(*lost, code)
    talk(2.5)
    answer = legs.answer(*kept)
    legs.wait_live(call_id, 'answered')
    talk(0.5)
    legs.bye(kept[0], answer, 'c')
    legs.expect_entry(call_id)


@pytest.mark.parametrize('at', 'ab')
@pytest.mark.parametrize('which', ['first', 'second'])
def test_one_leg_is_answered(legs, which, at):
    """The upstream proxy cancels the other then."""
    call_id = f'answered-{which}-{at}@lab'
    both = [legs.begin(call_id, 'a'), legs.begin(call_id, at)]
    kept, lost = both if which == 'first' else reversed(both)
    answer = legs.answer(*kept)
    legs.lab.steer(to('a' if which == 'second' else at))
    legs.end(*lost, 487)
    talk(2.5)
    legs.wait_live(call_id, 'answered')
    legs.bye(kept[0], answer, 'c')
    legs.expect_entry(call_id)


def test_answer_is_heard_of_late(legs):
    """The kamsyncd of the answered leg stands still for longer than the end of the other one waits for anything."""
    call_id = 'late@lab'
    lost, kept = legs.begin(call_id, 'a'), legs.begin(call_id, 'b')
    wait_until(lambda: 'leg.2' in legs.cluster['c'].ask('call', call_id=call_id)['calls'][-1], 5, 'the second leg in the record')
    legs.cluster['b'].kamsyncd.signal(signal.SIGSTOP)
    try:
        answer = legs.answer(*kept)
        legs.lab.steer(to('a'))
        legs.end(*lost, 487)
        talk(3)
    finally:
        legs.cluster['b'].kamsyncd.signal(signal.SIGCONT)
    legs.wait_live(call_id, 'answered')
    legs.bye(kept[0], answer, 'c')
    legs.expect_entry(call_id)


@pytest.mark.parametrize('at', 'ab')
@pytest.mark.parametrize('ended', ['first', 'second'])
def test_both_legs_are_answered(legs, ended, at):
    """Two dialogs: the call ends with the last of them."""
    call_id = f'both-{ended}-{at}@lab'
    both = [legs.begin(call_id, 'a'), legs.begin(call_id, at)]
    answers = [legs.answer(*both[0])]
    answers.append(legs.answer(*both[1]))
    wait_until(lambda: any(name.startswith('dialog.') for name in legs.cluster['c'].ask('call', call_id=call_id)['calls'][-1]), 5,
               'the second dialog in the record')
    order = [0, 1] if ended == 'first' else [1, 0]
    legs.bye(both[order[0]][0], answers[order[0]], 'c')
    talk(1)
    assert not legs.entries(call_id) and 'answered' in legs.live(call_id)
    legs.bye(both[order[1]][0], answers[order[1]], 'b')
    legs.expect_entry(call_id)
