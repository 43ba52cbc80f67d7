"""failure_route takes its time before it tries the second gateway, or refuses the call itself: until tm has answered the caller
the call is not over, its archive says how it really ended, and it survives its node's death."""
import os

import pytest

from lab.cluster import CFG
from lab.policies import to
from lab.proc import wait_until
from lab.talking import all_at_a

SLOW_FAILURE = os.path.join(CFG, 'slow_failure.cfg')
DIALS = {'late2': 2, 'late7': 7, 'susp7': 7}


@pytest.fixture
def bed(lab):
    with all_at_a(lab, routing=SLOW_FAILURE, modules=SLOW_FAILURE, defines={'CHILDREN': 4}) as parts:
        yield parts


def archive(cluster):
    return {entry['call_id']: [entry[name] for name in ('how', 'code', 'by')]
            for entry in cluster['b'].ask('cdr', count=100)['cdr']}


def fail_first(callees, caller, dials):
    """{dial: call}: the first gateway has refused, and failure_route is at work."""
    calls = {dial: caller.call(f'{dial}@lab', f'{dial}-x') for dial in dials}
    for call in calls.values():
        call.wait(180)
        callees.legs(call.call_id, 5060)[0].reject(503)
    return calls


def second_legs(callees, calls):
    for dial, call in calls.items():
        wait_until(lambda call=call: callees.legs(call.call_id, 5062), 25, f'the second gateway of {dial}')
    return [callees.legs(call.call_id, 5062)[0] for call in calls.values()]


def test_the_archive_tells_the_end(bed):
    cluster, callees, caller = bed
    calls = fail_first(callees, caller, DIALS)
    refused = fail_first(callees, caller, ['refuse'])['refuse']
    refused.wait(480, 15)
    for leg in second_legs(callees, calls):
        leg.answer()
    for call in calls.values():
        call.wait(200)
    assert not [entry for entry in archive(cluster) if entry != refused.call_id], 'they talk'
    for call in calls.values():
        call.bye()
    expected = {call.call_id: ['completed', 200, 'caller'] for call in calls.values()}
    expected[refused.call_id] = ['rejected', 480, 'callee']
    wait_until(lambda: archive(cluster) == expected, 10, lambda: f'{expected}, is {archive(cluster)}')


def test_the_node_dies_when_the_second_gateway_rings(bed):
    cluster, callees, caller = bed
    calls = fail_first(callees, caller, DIALS)
    legs = second_legs(callees, calls)
    wait_until(lambda: len([r for r in cluster.records().values() if len(r['branches']) == 2 and r['state'] == 'ringing']) == len(calls),
               5, 'the second branches are known')
    cluster.lab.steer(to('b'))
    cluster['a'].kamailio.kill()
    wait_until(lambda: all(leg.again for leg in legs), 5, 'taken over')
    for leg in legs:
        leg.answer()
    for call in calls.values():
        call.wait(200)
        call.bye()
    wait_until(lambda: archive(cluster) == {call.call_id: ['completed', 200, 'caller'] for call in calls.values()}, 10,
               lambda: f'{archive(cluster)}')
