"""A node is cut off from Redis and from the other nodes while its calls ring; callers and gateways still reach it. The others
take its calls over, but it is this node where they end. When the cut is healed, each call has its one entry in the archive,
that tells how it ended."""
import time

import pytest

from lab.cluster import Cluster
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import each, wait_until

CUT_S = 5
COPIES = 3
HOWS = {'cancel': 'cancelled', 'busy': 'rejected', 'talk': 'completed', 'ring': 'cancelled', 'answer': 'completed'}


class Calls:
    def __init__(self, callees, caller):
        self.callees = callees
        self.list = {(deed, n): caller.call(f'cut-{deed}-{n}@lab', 'one') for n in range(COPIES) for deed in HOWS}
        for call in self.list.values():
            call.wait(180)

    def of(self, *deeds):
        return [call for (deed, _), call in self.list.items() if deed in deeds]

    def leg(self, call):
        return self.callees.legs(call.call_id)[0]

    def end(self):
        """All but those that ring or talk on."""
        for call in self.of('cancel'):
            call.cancel()
        for call in self.of('busy'):
            self.leg(call).reject(486)
        for call in self.of('talk', 'answer'):
            self.leg(call).answer()
        wait_until(lambda: each(self.of('cancel', 'busy', 'talk', 'answer'), lambda call: call.final), 5, 'final replies')
        for call in self.of('talk'):
            call.bye()

    def end_rest(self):
        for call in self.of('ring'):
            call.cancel()
        for call in self.of('answer'):
            call.bye()


def archive(cluster):
    """{Call-ID: [how]}"""
    found = {}
    for entry in cluster['b'].ask('cdr', count=100)['cdr']:
        found.setdefault(entry['call_id'], []).append(entry['how'])
    return found


@pytest.mark.parametrize('moment', ['at once', 'taken over', 'just before it is healed'])
def test_each_call_has_its_entry(lab, moment):
    cluster = Cluster(lab)
    lab.steer(to('a'))
    with Callees(lab) as callees, Caller(lab) as caller:
        calls = Calls(callees, caller)
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.list.values()))
        began = time.monotonic()
        for other in ('b', 'c', 'store'):
            lab.cut('a', other)
        if moment != 'at once':
            wait_until(lambda: all(calls.leg(call).again for call in calls.list.values()), 10, 'all taken over')
        if moment == 'just before it is healed':
            time.sleep(max(0, began + CUT_S - 0.2 - time.monotonic()))
        calls.end()
        time.sleep(max(0, began + CUT_S - time.monotonic()))
        for other in ('b', 'c', 'store'):
            lab.heal('a', other)
        wait_until(lambda: all('node 1 (a) at 198.51.100.1:5060 is up' in cluster[n].log().split('is lost')[-1] for n in 'bc'),
                   10, 'a is back')
        calls.end_rest()
        expected = {call.call_id: [HOWS[deed]] for (deed, _), call in calls.list.items()}
        wait_until(lambda: archive(cluster) == expected, 15,
                   lambda: f'{ {c: (archive(cluster).get(c), how) for c, how in expected.items() if archive(cluster).get(c) != how} }')
        callees.check()
        caller.check()
    cluster.stop()
