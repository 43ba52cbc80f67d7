"""A gateway over TCP that bears a repeated INVITE (KAMSYNC_REPEAT): a Kamailio with phones behind it. What becomes of one that the
setting does not name is in test_connections_dead_owner.py."""
import os
import re

import pytest

from lab.cluster import CFG
from lab.connections import connected_cluster, take_over
from lab.lab import SIP_PORT, Lab
from lab.phone import Callees, Caller, talk_and_end
from lab.policies import to
from lab.proc import each, wait_until

PHONE_PORT = 7060
DIALS = ('answers', 'rejects', 'cancelled')


def invites(lab, call_id):
    """Those that came to the gateway."""
    return [p for p in lab.trace.at('gateway', call_id) if p.kind == 'INVITE' and not p.outgoing]


@pytest.fixture(scope='module')
def taken():
    """(calls, phones, lab): all ring, their node has died, and the other one has sent their INVITEs again."""
    with Lab(nodes='ab') as lab, Callees(lab, (PHONE_PORT,)) as phones, Caller(lab) as caller:
        address = lab.address('gateway')
        lab.kamailio('gateway', os.path.join(CFG, 'far_proxy.cfg'), {'LISTEN': f'{address}:{SIP_PORT}',
                                                                     'PHONE': f'"{address}:{PHONE_PORT}"'}, name='proxy')
        cluster = connected_cluster(lab, 'TCP', defines={'KAMSYNC_REPEAT': f'"^tcp:{re.escape(address)}:"'})
        lab.steer(to('a'))
        calls = {dial: caller.call(f'{dial}@lab', dial) for dial in DIALS}
        for call in calls.values():
            call.wait(180)
        cluster['a'].wait_recorded(phones, *(call.call_id for call in calls.values()))
        lab.steer(to('b'))
        cluster['a'].kamsyncd.kill()
        cluster['a'].kamailio.kill()
        take_over(lab, 'a', by='b')
        wait_until(lambda: each(DIALS, lambda dial: len(invites(lab, f'{dial}@lab')) == 2), 10, 'each INVITE again')
        yield calls, phones, lab
        cluster.stop()
        lab.check()


def leg_of(taken, dial):
    [leg] = taken[1].legs(f'{dial}@lab')
    return leg


def test_the_gateway_takes_it_for_the_same(taken):
    _, phones, lab = taken
    for dial in DIALS:
        first, again = invites(lab, f'{dial}@lab')
        assert first.branch == again.branch and again.source[0] == lab.address('b')
        assert phones.rings(f'{dial}@lab') == {PHONE_PORT: 1}


def test_phone_answers(taken):
    call, leg = taken[0]['answers'], leg_of(taken, 'answers')
    leg.answer()
    talk_and_end(call, leg)


def test_phone_rejects(taken):
    leg_of(taken, 'rejects').reject()
    taken[0]['rejects'].wait(486)


def test_caller_cancels(taken):
    call, leg = taken[0]['cancelled'], leg_of(taken, 'cancelled')
    cancel = call.cancel()
    call.wait(487)
    wait_until(lambda: cancel.code == 200 and leg.cancels, 5, 'the CANCEL at the phone')
