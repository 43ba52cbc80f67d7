"""An INVITE that left from a node's own address, which is dead: no other node can send from there, so its phone gets no second
INVITE, but a CANCEL when the call ends; and what it says arrives once its node is back."""
import os

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until

ROUTING = os.path.join(CFG, 'own_address.cfg')
CALLS = ('cancelled', 'timer', 'both', 'answered')


@pytest.fixture(scope='module')
def lost():
    """(calls, callees, cluster): all ring, their node is dead, and the other one has them."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=ROUTING)
        lab.route_all('a')
        calls = {dial: caller.call(f'{dial}@lab', dial) for dial in CALLS}
        wait_until(lambda: each(CALLS, lambda dial: len(callees.legs(f'{dial}@lab')) == 1 + (dial == 'both')), 5, 'all ring')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: cluster['b'].counters()['takeovers_done'] == len(CALLS), 5, 'all taken over')
        yield calls, callees, cluster
        lab.check()


def leg_of(lost, dial, port=5060):
    [leg] = lost[1].legs(f'{dial}@lab', port)
    return leg


def expect_cancelled(lost, dial):
    leg = leg_of(lost, dial)
    wait_until(lambda: leg.cancels, 5, 'a CANCEL at the phone')
    assert leg.code == 487 and leg.invites == 1


def expect_entry(lost, dial, how):
    _, _, cluster = lost

    def entries():
        return [entry['how'] for entry in cluster['b'].ask('cdr', count=100)['cdr'] if entry['call_id'] == f'{dial}@lab']
    wait_until(entries, 10, 'an entry in the archive')
    assert entries() == [how]


def test_the_caller_cancels(lost):
    call = lost[0]['cancelled']
    cancel = call.cancel()
    call.wait(487)
    wait_until(lambda: cancel.code == 200, 5, '200 to the CANCEL')
    expect_cancelled(lost, 'cancelled')
    expect_entry(lost, 'cancelled', 'cancelled')


def test_nobody_answers(lost):
    lost[0]['timer'].wait(408, timeout=8)
    expect_cancelled(lost, 'timer')
    expect_entry(lost, 'timer', 'timed out')


def test_another_phone_answers(lost):
    leg_of(lost, 'both', 5062).answer()
    lost[0]['both'].wait(200)
    expect_cancelled(lost, 'both')


def test_its_node_comes_back(lost):
    calls, _, cluster = lost
    cluster['a'].start_kamailio()
    leg = leg_of(lost, 'answered')
    leg.answer()
    calls['answered'].wait(200)
    wait_until(lambda: leg.acked, 5, 'the ACK')
    bye = calls['answered'].bye()
    wait_until(lambda: bye.code == 200, 5, '200 to the BYE')
    assert leg.invites == 1
