"""A CANCEL that waited for a takeover goes to Kamailio when that says that it has the transaction, and its script may still be at
work with it: it cannot act then. Over a connection nobody sends another CANCEL, and yet it is answered, by 200."""
import os

import pytest

from lab.cluster import CFG, Cluster
from lab.connections import ConnectedCaller
from lab.lab import Lab
from lab.phone import Callees
from lab.policies import to
from lab.proc import wait_until

AT_WORK = os.path.join(CFG, 'at_work.cfg')
DIALS = ('rings', 'suspended')


@pytest.fixture(scope='module')
def stage():
    """(calls, cancels, callees): node a had the calls, and has died; the CANCELs come over another connection before b knows."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, ConnectedCaller(lab, 'TCP') as caller:
        cluster = Cluster(lab, modules=AT_WORK, routing=AT_WORK, defines={'CHILDREN': 6})
        lab.steer(to('a'))
        calls = {dial: caller.call(f'{dial}@lab', dial) for dial in DIALS}
        wait_until(lambda: callees.rings('rings@lab'), 5, 'one rings')
        wait_until(lambda: len(cluster.records()) == len(DIALS), 5, 'all records')
        cluster['a'].wait_recorded(callees, 'rings@lab')
        lab.steer(to('b'))
        cluster['a'].kamsyncd.kill()
        cluster['a'].kamailio.kill()
        wait_until(lambda: not caller.latest(), 5, 'the end of the connection')
        connection = caller.connect()
        for call in calls.values():
            call.over = connection
        yield calls, {dial: call.cancel() for dial, call in calls.items()}, callees
        cluster.stop()
        lab.check()


@pytest.mark.parametrize('dial', DIALS)
def test_cancel_is_answered(stage, dial):
    calls, cancels, callees = stage
    wait_until(lambda: cancels[dial].code, 10, 'the answer to the CANCEL')
    assert cancels[dial].code == 200
    calls[dial].wait(487, 10)
    assert all(leg.cancels for leg in callees.legs(calls[dial].call_id))
    assert sorted(msg.code for msg in calls[dial].over.messages if msg.call_id == f'{dial}@lab' and msg.code >= 200) == [200, 487]
