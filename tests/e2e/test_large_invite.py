"""An INVITE that is longer than a frame to Kamailio, and its owner dies: it is taken over all the same."""
from lab.cluster import Cluster
from lab.lab import ANYCAST
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import wait_until

SIZES = (17_000, 20_000, 28_000)


def test_it_is_taken_over(lab):
    cluster = Cluster(lab)
    lab.steer(to('a'))
    with Callees(lab) as callees, Caller(lab) as caller:
        calls = [caller.call(f'large-{size}-{n}@lab', 'one', headers=(('X-Fill', 'x' * size),))
                 for size in SIZES for n in range(2)]
        for call in calls:
            call.wait(180)
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls))
        lab.steer(to('b'))
        cluster['a'].kamailio.kill()
        wait_until(lambda: all(callees.legs(call.call_id)[0].again for call in calls), 10, 'all are taken over')
        for call in calls[::2]:
            call.cancel()
        for call in calls[1::2]:
            callees.legs(call.call_id)[0].reject(486)
        for call, code in zip(calls, len(SIZES) * [487, 486]):
            call.wait(code)
        assert all(callees.rings(call.call_id) == {5060: 1} for call in calls)
        wait_until(lambda: all(call.cancelling.code == 200 for call in calls[::2]), 5, '200 to each CANCEL')
        callees.check()
        caller.check()
    assert sum(cluster[name].counters()['takeovers_failed'] for name in 'bc') == 0
    cluster.stop()


def test_twice_in_an_event_is_too_long(lab):
    """With a Route the event has it as received and as sent: then the archive says that the call is not tracked."""
    cluster = Cluster(lab, nodes='a')
    lab.steer(to('a'))
    with Callees(lab) as callees, Caller(lab) as caller:
        call = caller.call('twice@lab', 'one', headers=(('Route', f'<sip:{ANYCAST};lr>'), ('X-Fill', 'x' * SIZES[-1])))
        call.wait(180)
        callees.legs(call.call_id)[0].reject(486)
        call.wait(486)
        [entry] = wait_until(lambda: cluster.store.archive(call.call_id), 40, 'an entry in the archive')
        assert entry['untracked'] == 'large'
    cluster.stop()
