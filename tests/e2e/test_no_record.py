"""A transaction that lives, and of which the store knows nothing: its CANCEL and ACK at another node do their work all the
same. 481 is only for what no Kamailio has. In a small cluster, and in one with more nodes than KAMSYNC_ALL_MAX."""
import itertools
import os
import signal
import time

import pytest

from lab.cluster import CFG, Cluster
from lab.kamailios import versions
from lab.lab import Lab
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.sipp import Gateway

NO_RECORD = f'{CFG}/no_record.cfg'
MSG_MAX, TXNS_MAX = 3000, 1000
QUIET_S = 4.3  # a final reply that nobody acknowledges would have come again (RFC 3261, T2)
_numbers = itertools.count(1)


@pytest.fixture(scope='module', params=[3, 0], ids=['small', 'large'])
def cluster(request):
    with Lab() as lab:
        Gateway(lab)
        cluster = Cluster(lab, routing=NO_RECORD, modules=NO_RECORD, txns_max=TXNS_MAX,
                          defines={'KAMSYNC_ALL_MAX': request.param, 'KAMSYNC_MSG_MAX': MSG_MAX})
        yield cluster
        cluster.stop()
        lab.check()


@pytest.fixture
def peer(cluster):
    peer = Peer(cluster.lab, 'caller', 15400 + next(_numbers))
    yield peer
    peer.close()


def new_call(name, dial='ring1', **options):
    number = next(_numbers)
    return Request(f'{name}-{number}@lab', branch=f'z9hG4bK{name}{number}', dial=dial, **options)


def answers(lab, call_id, method):
    return [p.kind for p in lab.trace.at('caller', call_id) if not p.outgoing and p.cseq_method == method]


def cancel_elsewhere(cluster, peer, request):
    """200 from a, once, and no 481; 487 for the INVITE, and its ACK goes to b, too."""
    peer.send(request.cancel(peer))
    replies = peer.expect_all(['SIP/2.0 200', 'SIP/2.0 487'], 5)
    peer.send(request.ack(peer, replies['SIP/2.0 487']))
    peer.expect_nothing('SIP/2.0 481', 0.5)
    assert answers(cluster.lab, request.call_id, 'CANCEL') == ['200'], cluster.lab.trace.show(request.call_id)


def invite_at_a(cluster, peer, request, ringing=True):
    cluster.lab.steer(by_kind({'CANCEL': 'b', 'ACK': 'b'}, default='a'))
    peer.send(request.invite(peer))
    peer.expect('SIP/2.0 180' if ringing else 'SIP/2.0 100')


def test_it_waits_in_the_script(cluster, peer):
    request = new_call('waits', 'wait-1')
    invite_at_a(cluster, peer, request, ringing=False)
    cancel_elsewhere(cluster, peer, request)
    peer.expect_nothing('SIP/2.0 180', 2)
    assert not cluster.lab.trace.at('gateway', request.call_id)


def test_it_is_too_large_to_be_reported(cluster, peer):
    request = new_call('large', body='x' * (MSG_MAX + 1000))
    invite_at_a(cluster, peer, request)
    cancel_elsewhere(cluster, peer, request)


def test_its_record_is_gone(cluster, peer):
    """Deleted by hand, or by a Redis that is full; then it is there again."""
    request = new_call('gone')
    invite_at_a(cluster, peer, request)
    key = wait_until(lambda: [k for k, r in cluster.records().items() if r['call_id'] == request.call_id and r['state'] == 'ringing'],
                     5, 'its record')[0]
    cluster.store.do('DEL', key)
    cancel_elsewhere(cluster, peer, request)
    wait_until(lambda: key in cluster.records(), 5, 'its record again')


def test_it_is_beyond_what_is_kept_in_memory(cluster, peer):
    """txns_max."""
    others = Peer(cluster.lab, 'caller', 15400 + next(_numbers))
    cluster.lab.steer(to('a'))
    shed = cluster['a'].counters()['txns_shed']
    many = [new_call('many') for _ in range(TXNS_MAX + 50)]
    for n, other in enumerate(many):
        others.send(other.invite(others))
        if n % 50 == 49:
            wait_until(lambda: sum(t.startswith('SIP/2.0 180') for t in drained(others)) > n, 20, 'ringing')
    wait_until(lambda: cluster['a'].counters()['txns_shed'] > shed, 5, 'some are not kept')
    request = new_call('beyond')
    invite_at_a(cluster, peer, request)
    cancel_elsewhere(cluster, peer, request)
    cluster.lab.steer(to('a'))
    for first in range(0, len(many), 50):  # no more at once than a socket of Kamailio's holds
        some = many[first:first + 50]
        for other in some:
            others.send(other.cancel(others))
        wait_until(lambda: sum(t.startswith('SIP/2.0 487') for t in drained(others)) >= first + len(some), 20, 'cancelled')
        for other in some:
            others.send(other.ack(others, 'To: <sip:x>;tag=y'))
    others.close()


def refusals(lab, request):
    return [p for p in lab.trace.at('caller', request.call_id) if p.kind == '404']


def drained(peer):
    while peer.receive(0):
        pass
    return peer.seen


@pytest.mark.skipif(versions()[0] >= (6, 1, 5), reason='this tm repeats no reply to an INVITE that was not sent on')
def test_ack_to_the_reply_of_the_script(cluster, peer):
    """It comes to b, and a stops repeating its 404."""
    request = new_call('own', 'reply-1')
    cluster.lab.steer(by_kind({'ACK': 'b'}, default='a'))
    peer.send(request.invite(peer))
    for _ in range(2):  # the second one is its repetition, by timer G
        final = peer.expect('SIP/2.0 404')
    peer.send(request.ack(peer, final))
    wait_until(lambda: not [p for p in refusals(cluster.lab, request) if p.time > time.monotonic() - QUIET_S], 4 * QUIET_S, 'no 404 any more')


def test_what_nobody_has(cluster, peer):
    request = new_call('nobody')
    cluster.lab.steer(to('b'))
    peer.send(request.cancel(peer))
    peer.expect('SIP/2.0 481')
    peer.expect_nothing('SIP/2.0', 0.5)


@pytest.mark.parametrize('most', [3, 0], ids=['small', 'large'])
def test_kamailio_stands_still(lab, most):
    """For a second, before it has told its kamsyncd of the INVITE: so only its timer sends here, and that is slow. Then it
    finds the CANCEL."""
    Gateway(lab)
    cluster = Cluster(lab, defines={'KAMSYNC_ALL_MAX': most, 'KAMSYNC_ENOUGH': 1000000,
                                    'KAMSYNC_TIMER': '"name=kamsync;interval=300000u;mode=1;"'})
    lab.steer(by_kind({'CANCEL': 'b', 'ACK': 'b'}, default='a'))
    peer, group = Peer(lab, 'caller', 15399), cluster['a'].kamailio.pid
    for _ in range(3):  # one of them is not reported yet
        request = new_call('still')
        peer.send(request.invite(peer))
        wait_until(lambda: lab.trace.at('gateway', request.call_id), 10, 'INVITE', every=0.001)
        os.killpg(group, signal.SIGSTOP)
        peer.send(request.cancel(peer))
        peer.expect_nothing('SIP/2.0 481', 1)
        os.killpg(group, signal.SIGCONT)
        peer.send(request.ack(peer, peer.expect('SIP/2.0 487', 5)))
        peer.expect_nothing('SIP/2.0 481', 0.5)
    peer.close()
    cluster.stop()
