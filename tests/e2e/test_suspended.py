"""A transaction that is suspended, so that it has no branch yet, is a transaction: another node answers its CANCEL after its owner's
death, and goes on with its INVITE."""
import os

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import wait_until

ROUTING = os.path.join(CFG, 'suspended.cfg')


def recorded(cluster, calls):
    for call in calls.values():
        wait_until(lambda call=call: cluster['a'].ask('tx', call_id=call.call_id)['txns'], 5, f'a record of {call.call_id}')
    wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all records')


def is_done(cluster, dial):
    return [record['done'] for record in cluster.records().values() if record['call_id'] == f'{dial}@lab'] == [True]


@pytest.fixture(scope='module')
def lost():
    """(calls, callees, cluster): node a had them all, and is dead."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=ROUTING)
        lab.route_all('a')
        calls = {dial: caller.call(f'{dial}@lab', dial) for dial in ('never-cancelled', 'never-before', 'soon')}
        recorded(cluster, calls)
        lab.route_all('b')
        calls['never-before'].cancel()           # while the owner lives
        calls['never-before'].wait(487)
        wait_until(lambda: is_done(cluster, 'never-before'), 10, 'the end in its record')
        wait_until(lambda: callees.legs('soon@lab'), 10, 'the one that went on ringing')
        lab.route_all('a')
        calls['soon-again'] = caller.call('soon-again@lab', 'soon-again')
        recorded(cluster, calls)
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: callees.legs('soon@lab')[0].again, 5, 'the INVITE sent again')
        yield calls, callees, cluster
        lab.check()


def test_cancel_while_its_owner_lives(lost):
    calls, _, _ = lost
    assert calls['never-before'].cancelling.code == 200


def test_cancel_after_its_owners_death(lost):
    calls, callees, cluster = lost
    call = calls['never-cancelled']
    cancel = call.cancel()
    call.wait(487)
    wait_until(lambda: cancel.code == 200, 5, '200 to the CANCEL')
    assert not callees.legs(call.call_id)


def test_another_node_goes_on_with_it(lost):
    calls, callees, _ = lost
    [leg] = wait_until(lambda: callees.legs('soon-again@lab'), 5, 'its phone rings')
    leg.answer()
    calls['soon-again'].wait(200)
    wait_until(lambda: leg.acked, 5, 'the ACK')


def test_one_that_has_a_branch_is_taken_over_as_any(lost):
    calls, callees, _ = lost
    [leg] = callees.legs('soon@lab')
    leg.answer()
    calls['soon'].wait(200)
    assert len(callees.legs('soon@lab')) == 1


def test_its_record_ends(lost):
    """Although the script alone has answered, and no branch ever was."""
    calls, _, cluster = lost
    calls['never-cancelled'].wait(487)
    wait_until(lambda: is_done(cluster, 'never-cancelled'), 15, 'a record that is done')
