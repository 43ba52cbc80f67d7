"""Kamailio dies while Redis is away, and Redis comes back empty: the dead one's kamsyncd, which lives, still knows its
calls, and they are taken over from what it writes."""
import time

import pytest

from lab.cluster import Cluster
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import each, wait_until


@pytest.mark.parametrize('restarted', [False, True], ids=['it stays away', 'it is started again'])
def test_redis_and_then_kamailio(lab, restarted):
    cluster = Cluster(lab)
    lab.steer(to('a'))
    with Callees(lab) as callees, Caller(lab) as caller:
        calls = [caller.call(f'left-{n}@lab', 'one') for n in range(6)]
        for call in calls:
            call.wait(180)
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls))
        cluster.store.kill()
        cluster['a'].kamailio.kill()
        if restarted:
            cluster['a'].start_kamailio()
            wait_until(lambda: 'restarted' in cluster['a'].kamsyncd.log(), 5, 'kamsyncd sees the restart')
        time.sleep(3)  # the accident lasts so long
        cluster.store.start()
        lab.steer(to('b'))
        wait_until(lambda: len([r for r in cluster.records().values() if r['owner'] != 1 or restarted]) == 6, 10, 'taken over')
        for call in calls[:3]:
            call.cancel()
        for call in calls[3:]:
            callees.legs(call.call_id)[0].reject(486)
        for call, code in zip(calls, 3 * [487] + 3 * [486]):
            call.wait(code)
        assert all(callees.rings(call.call_id) == {5060: 1} for call in calls), 'no phone rings twice'
        wait_until(lambda: all(each(callees.legs(call.call_id), lambda leg: leg.settled) for call in calls), 5, 'each has its ACK')
        caller.check()
        callees.check()
    cluster.stop()

