"""The owner of a ringing call dies, and a connection with it: the caller's, or the one to the gateway. These are
calls over UDP, whose records are made to say that a leg is on a connection: so the phones need none that outlives a node."""
import json

import pytest

from lab.connections import ConnectedCallees, connected_cluster
from lab.lab import ANYCAST, Lab
from lab.phone import Callees, Caller, talk_and_end
from lab.proc import each, wait_until

WAIT_MS = 1500
CALLER = ('quiet', 'talks', 'refuses')           # the caller is on a connection
GATEWAY = ('answers', 'rejects', 'cancelled')    # the gateway is


def change_record(cluster, call_id, **fields):
    """In the store; of all branches, if a branch has the field."""
    [(key, record)] = cluster.records(f'{{{call_id}}}*').items()
    for name, value in fields.items():
        for part in record['branches'] if name in record['branches'][0] else [record]:
            assert name in part
            part[name] = value
    assert cluster.store.do('SET', key, json.dumps(record, separators=(',', ':')), 'KEEPTTL') == b'OK'


@pytest.fixture(scope='module')
def orphaned():
    """(calls, callees, TCP phones, cluster): all ring, and their node is dead."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, ConnectedCallees(lab, 'TCP') as far, Caller(lab) as caller:
        cluster = connected_cluster(lab, caller_wait_ms=WAIT_MS)
        lab.route_all('a')
        calls = {dial: caller.call(f'{dial}@lab', dial) for dial in CALLER + GATEWAY}
        wait_until(lambda: each(calls, lambda dial: callees.rings(f'{dial}@lab')), 5, 'all ring')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        cluster['a'].kamsyncd.kill()
        for dial in CALLER:
            change_record(cluster, f'{dial}@lab', src=f'tcp:{lab.address("caller")}:40001', dst=f'tcp:{ANYCAST}:5060')
        for dial in GATEWAY:
            change_record(cluster, f'{dial}@lab', to=f'tcp:{lab.address("gateway")}:5060', sock=f'tcp:{ANYCAST}:5060')
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: cluster['b'].counters()['takeovers_done'] == len(GATEWAY), 15, 'the gateway\'s calls taken over')
        yield calls, callees, far, cluster
        cluster.stop()
        lab.check()


def leg_of(orphaned, dial):
    [leg] = orphaned[1].legs(f'{dial}@lab')
    return leg


def expect_entry(orphaned, dial, how):
    def entries():
        return [entry['how'] for entry in orphaned[3]['b'].ask('cdr', count=100)['cdr'] if entry['call_id'] == f'{dial}@lab']
    wait_until(entries, 10, 'an entry in the archive')
    assert entries() == [how]


def came_over_tcp(orphaned, dial, method):
    """What kamsyncd sent, with the Via that the INVITE had."""
    leg = leg_of(orphaned, dial)
    return [msg for msg in list(orphaned[2].unknown) if msg.call_id == f'{dial}@lab' and msg['cseq'].endswith(method)
            and msg.branch == leg.invite.branch and msg.sent_by == leg.invite.sent_by]


# ---- the caller's connection: nobody comes back

def test_it_waits_for_the_caller_and_then_stops_ringing(orphaned):
    talks, refuses = leg_of(orphaned, 'talks'), leg_of(orphaned, 'refuses')
    talks.answer()
    refuses.reject()
    quiet = leg_of(orphaned, 'quiet')
    wait_until(lambda: quiet.cancels and quiet.acked, 15, 'CANCEL, and the ACK to its 487')
    expect_entry(orphaned, 'quiet', 'caller lost')
    assert orphaned[3]['b'].counters()['callers_lost'] == len(CALLER)


def test_whoever_answers_is_not_left_alone(orphaned):
    leg = leg_of(orphaned, 'talks')
    wait_until(lambda: leg.acked and leg.ended, 10, 'ACK and BYE')
    expect_entry(orphaned, 'talks', 'caller lost')


def test_refusal_is_acknowledged(orphaned):
    leg = leg_of(orphaned, 'refuses')
    wait_until(lambda: leg.acked, 10, 'the ACK to its 486')
    assert not leg.ended
    expect_entry(orphaned, 'refuses', 'caller lost')


# ---- the gateway's

def test_no_invite_is_repeated_over_a_connection(orphaned):
    assert not [msg for dial in GATEWAY for msg in came_over_tcp(orphaned, dial, 'INVITE')]
    assert each(GATEWAY, lambda dial: leg_of(orphaned, dial).invites == 1)


def test_gateway_answers(orphaned):
    call, leg = orphaned[0]['answers'], leg_of(orphaned, 'answers')
    leg.answer()
    talk_and_end(call, leg)
    expect_entry(orphaned, 'answers', 'completed')


def test_gateway_rejects(orphaned):
    leg_of(orphaned, 'rejects').reject()
    orphaned[0]['rejects'].wait(486)
    wait_until(lambda: came_over_tcp(orphaned, 'rejects', 'ACK'), 5, 'the ACK, over a new connection')
    expect_entry(orphaned, 'rejects', 'rejected')


def test_caller_cancels(orphaned):
    call = orphaned[0]['cancelled']
    cancel = call.cancel()
    call.wait(487)
    wait_until(lambda: cancel.code == 200, 5, '200 to the CANCEL')
    wait_until(lambda: came_over_tcp(orphaned, 'cancelled', 'CANCEL'), 5, 'the CANCEL, over a new connection')
    [connection] = [msg.connection for msg in came_over_tcp(orphaned, 'cancelled', 'CANCEL')][:1]
    assert connection.accepted and connection.peer[0] != ANYCAST, 'from the node\'s own address'
    expect_entry(orphaned, 'cancelled', 'cancelled')
