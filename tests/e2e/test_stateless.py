"""A script that sends INVITEs by forward(): no tm has a transaction, so nothing can be taken over, but the calls are known, and what
the script sends on without kamsync it sends on with it."""
import time

import pytest

from lab.accidents import LARGE
from lab.cluster import CFG, Cluster
from lab.connections import ConnectedCaller, connect_soon
from lab.lab import ANYCAST
from lab.phone import T1, Callees, Caller
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.rawsip import Peer, answer_to

SEARCHED = 3     # seconds; the second search comes a second after the first
EVERYWHERE = {'one node': to('a'), 'elsewhere': by_kind({'INVITE': 'a'}, default='b')}


@pytest.fixture
def phones(lab):
    with Callees(lab) as callees, Caller(lab) as caller:
        yield caller, callees


def cluster_of(lab, **options):
    return Cluster(lab, nodes='ab', config=f'{CFG}/stateless.cfg', routing=None, **options)


def ring(phones, call_id):
    caller, callees = phones
    call = caller.call(call_id, 'one')
    call.wait(180)
    return call, callees.legs(call_id)[0]


def archived(cluster, call_id):
    [entry] = wait_until(lambda: cluster.store.archive(call_id), 6, 'an entry in the archive')
    return entry['how'], entry['code']


@pytest.mark.parametrize('defines', [{}, LARGE], ids=['small', 'large'])
@pytest.mark.parametrize('where', EVERYWHERE)
def test_cancel(lab, phones, where, defines):
    cluster = cluster_of(lab, defines=defines)
    lab.steer(EVERYWHERE[where])
    call, leg = ring(phones, 'cancel@lab')
    asking = call.cancel()
    call.wait(487)
    wait_until(lambda: asking.code == 200 and leg.settled, 3, '200 to CANCEL, ACK')
    assert leg.acks == 1 and leg.cancels == 1
    assert archived(cluster, 'cancel@lab') == ('cancelled', '487')


@pytest.mark.parametrize('where', EVERYWHERE)
def test_call(lab, phones, where):
    cluster = cluster_of(lab)
    lab.steer(EVERYWHERE[where])
    call, leg = ring(phones, 'call@lab')
    leg.answer()
    call.wait(200)
    wait_until(lambda: leg.acked, 3, 'ACK')
    bye = call.bye()
    wait_until(lambda: bye.code == 200, 3, '200 to BYE')
    assert archived(cluster, 'call@lab') == ('completed', '200')
    assert not lab.trace.repeated('call@lab')


def test_a_dead_node_leaves_nothing_to_be_sent_again(lab, phones):
    cluster = cluster_of(lab)
    lab.steer(to('a'))
    answered, leg = ring(phones, 'answered@lab')
    leg.answer()
    answered.wait(200)
    busy, leg = ring(phones, 'busy@lab')
    leg.reject(486)
    busy.wait(486)
    rings, ringing = ring(phones, 'rings@lab')
    wait_until(lambda: len(cluster.records()) == 3, 10, 'their records')
    cluster['a'].kamailio.kill()
    lab.steer(to('b'))
    asking = rings.cancel()
    rings.wait(487)
    wait_until(lambda: asking.code == 200 and ringing.settled, 3, 'the end of what rang')
    died = time.monotonic()
    wait_until(lambda: time.monotonic() - died > SEARCHED, 5, 'b has looked for orphans twice')
    assert cluster['b'].counters()['takeovers'] == 0
    assert [len(phones[1].legs(call_id)) for call_id in ('answered@lab', 'busy@lab', 'rings@lab')] == [1, 1, 1]
    assert not any(leg.again for call_id in ('answered@lab', 'busy@lab', 'rings@lab') for leg in phones[1].legs(call_id))


@pytest.mark.parametrize('where', 'ab')
def test_an_invite_that_comes_again(lab, phones, where):
    """It is the callee who knows it; the node that gets it second keeps no record."""
    cluster = cluster_of(lab)
    lab.steer(to('a'))
    call = phones[0].call('again@lab', 'one', deaf=True)
    leg = wait_until(lambda: phones[1].legs('again@lab'), 3, 'it rings')[0]
    wait_until(cluster.records, 10, 'its record')
    lab.steer(to(where))
    call.repeat()
    call.wait(180)
    wait_until(lambda: cluster['b'].status()['transactions'] == '0', 10, 'b has none')
    leg.answer()
    call.wait(200)
    wait_until(lambda: leg.acked, 3, 'ACK')
    bye = call.bye()
    wait_until(lambda: bye.code == 200, 2 * T1, '200 to BYE')
    assert archived(cluster, 'again@lab') == ('completed', '200')


def test_a_reply_goes_back_over_the_connection_of_its_request(lab):
    """To a phone that cannot be reached otherwise; before any INVITE."""
    cluster = cluster_of(lab, defines={'OVER_TCP': None})
    lab.steer(to('a'))
    gateway = Peer(lab, 'gateway', 5060)
    with ConnectedCaller(lab, 'TCP') as phone:
        connection = connect_soon(phone)
        connection.send(f'REGISTER sip:x@{ANYCAST} SIP/2.0\r\nVia: SIP/2.0/TCP phone.invalid;branch=z9hG4bKregister\r\n'
                        f'From: <sip:x@{ANYCAST}>;tag=x\r\nTo: <sip:x@{ANYCAST}>\r\nCall-ID: register@lab\r\nCSeq: 1 REGISTER\r\n'
                        'Content-Length: 0\r\n\r\n')
        gateway.send(answer_to(gateway.expect('REGISTER').encode(), '200 OK'))
        wait_until(lambda: connection.messages, 10, 'the 200')
        assert connection.messages[0].code == 200
    gateway.close()
    cluster.stop()
