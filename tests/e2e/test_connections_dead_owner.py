"""The owner of ringing calls dies, whose legs are on real connections: what becomes of each call."""
import pytest

from lab.connections import ConnectedCallees, ConnectedCaller, connected_cluster, take_over
from lab.lab import Lab
from lab.phone import Callees, Caller, talk_and_end
from lab.policies import to
from lab.proc import each, wait_until

WAIT_MS = 1500
DIALS = ('answers', 'rejects', 'cancelled', 'quiet')
WAYS = [('UDP', 'TCP'), ('TCP', 'UDP'), ('TCP', 'TCP'), ('TLS', 'UDP'), ('WS', 'UDP'), ('WSS', 'TCP')]


class Stage:
    """All ring, their node dies, and then each does at once what its name says; a caller over UDP sends on, one on a
    connection has lost that."""

    def __init__(self, lab, caller, callees, cluster, kind):
        self.lab, self.caller, self.callees, self.cluster, self.kind = lab, caller, callees, cluster, kind
        lab.steer(to('a'))
        self.calls = {dial: caller.call(f'{dial}@lab', dial) for dial in DIALS}
        wait_until(lambda: each(DIALS, lambda dial: callees.rings(f'{dial}@lab')), 5, 'all ring')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in self.calls.values()))
        lab.steer(to('b'))
        take_over(lab, 'a', by='b')
        cluster['a'].kamsyncd.kill()
        cluster['a'].kamailio.kill()
        if self.is_lost():
            wait_until(lambda: not caller.latest(), 5, 'the end of the connection')
            self.calls['cancelled'].over = caller.connect()
        if isinstance(callees, ConnectedCallees):
            wait_until(lambda: not callees.latest(), 5, 'the end of the connection to the phone')
        self.leg('answers').answer()
        self.leg('rejects').reject()
        self.cancel = self.calls['cancelled'].cancel()

    def is_lost(self):
        return self.kind != 'UDP'

    def leg(self, dial):
        [leg] = self.callees.legs(f'{dial}@lab')
        return leg

    def expect_entry(self, dial, how):
        def entries():
            return [e['how'] for e in self.cluster['b'].ask('cdr', count=100)['cdr'] if e['call_id'] == f'{dial}@lab']
        wait_until(entries, 20, 'an entry in the archive')
        assert entries() == [how]


@pytest.fixture(scope='module', params=WAYS, ids='-'.join)
def stage(request):
    kind, far = request.param
    with Lab(nodes='ab') as lab:
        with Callees(lab) if far == 'UDP' else ConnectedCallees(lab, far) as callees:
            with Caller(lab) if kind == 'UDP' else ConnectedCaller(lab, kind) as caller:
                cluster = connected_cluster(lab, far, caller_wait_ms=WAIT_MS)
                yield Stage(lab, caller, callees, cluster, kind)
                cluster.stop()
        lab.check()


def test_caller_cancels(stage):
    """He who has lost his connection does so over another one, which gets the 487."""
    call, leg = stage.calls['cancelled'], stage.leg('cancelled')
    wait_until(lambda: stage.cancel.code == 200, 10, 'the answer to the CANCEL')
    call.wait(487, 10)
    if stage.is_lost():
        assert sorted(msg.code for msg in call.over.messages if msg.code >= 200) == [200, 487]
    wait_until(lambda: leg.cancels, 10, 'the CANCEL at the phone')
    stage.expect_entry('cancelled', 'cancelled')


def test_phone_answers(stage):
    call, leg = stage.calls['answers'], stage.leg('answers')
    if stage.is_lost():
        wait_until(lambda: leg.acked and leg.ended, 20, 'ACK and BYE, since nobody hears it')
        stage.expect_entry('answers', 'caller lost')
        return
    talk_and_end(call, leg, 10)
    stage.expect_entry('answers', 'completed')


def test_phone_rejects(stage):
    if stage.is_lost():
        stage.expect_entry('rejects', 'caller lost')
        return
    stage.calls['rejects'].wait(486, 10)
    stage.expect_entry('rejects', 'rejected')


def test_nobody_moves(stage):
    """Nobody rings for ever."""
    leg = stage.leg('quiet')
    if stage.is_lost():
        wait_until(lambda: leg.cancels, 20, 'the CANCEL')
        stage.expect_entry('quiet', 'caller lost')
    else:
        stage.calls['quiet'].cancel()
        stage.calls['quiet'].wait(487, 10)
    assert leg.invites == 1 or stage.callees.transport == 'UDP'
