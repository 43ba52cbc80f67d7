"""What a script keeps beside the message is there after a takeover, too: message flags, each branch's flags, and the $avps that
KAMSYNC_AVPS names."""
import os

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until

ROUTING = os.path.join(CFG, 'kept.cfg')
AVPS = '[] two words, a | and "quotes", first'
# what each reply sees: flag 5 of the message, flags 3 and 7 of the branch or its flag 31, and the $avps
SEEN = {5060: f'32 136 -7 {AVPS}', 5062: f'32 2147483648 -7 {AVPS}', 5064: f'32 136 8 {AVPS}'}
RINGS = (('fork', 5060), ('fork', 5062), ('first', 5060), ('second', 5064))


def seen(call, port, code):
    """The X-Seen of the replies with that code of the callee at that port, each only once."""
    return {msg['x-seen'] for msg in list(call.replies) if msg.code == code and msg['contact'].endswith(f':{port}>')}


@pytest.fixture(scope='module')
def calls():
    """(callees, calls, {(dial, port): X-Seen of the 180 before the death}): a fork, one at the first gateway, one at the second."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=ROUTING,
                          defines={'KAMSYNC_AVPS': '"word, number,next ,missing,empty"'})
        lab.route_all('a')
        calls = {dial: caller.call(f'{dial}@lab', dial) for dial in ('fork', 'first', 'second')}
        [leg] = wait_until(lambda: callees.legs('second@lab'), 5, 'the first gateway rings')
        leg.reject(503)
        before = {(dial, port): wait_until(lambda dial=dial, port=port: seen(calls[dial], port, 180), 5, f'{dial} rings at {port}')
                  for dial, port in RINGS}
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: each(RINGS, lambda ring: callees.legs(f'{ring[0]}@lab', ring[1])[0].again), 5, 'INVITEs sent again')
        yield callees, calls, before
        lab.check()


@pytest.mark.parametrize('dial, port', RINGS)
def test_replies_see_the_same(calls, dial, port):
    callees, calls, before = calls
    assert before[dial, port] == {SEEN[port]}, 'the script itself'
    [leg] = callees.legs(f'{dial}@lab', port)
    leg.say(183)
    wait_until(lambda: seen(calls[dial], port, 183), 5, '183')
    assert seen(calls[dial], port, 183) == {SEEN[port]}


def test_failure_route_goes_on_with_them(calls):
    callees, calls, _ = calls
    callees.legs('first@lab', 5060)[0].reject(503)
    [leg] = wait_until(lambda: callees.legs('first@lab', 5064), 5, 'the gateway that an $avp names')
    assert leg.invite['x-seen'] == f'32 -7 {AVPS}'
    leg.answer()
    calls['first'].wait(200)
    assert seen(calls['first'], 5064, 200) == {SEEN[5064]}
