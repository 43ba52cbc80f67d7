"""What names a transaction: Call-ID, CSeq, and branch and sent-by of the caller's Via. An upstream fork sends several with one Call-ID
and CSeq, and the callee of a call counts its own CSeq."""
import time

import pytest

from lab.accidents import LARGE
from lab.cluster import CFG, Cluster
from lab.phone import T1
from lab.policies import by_kind, to
from lab.proc import each, wait_until
from lab.rawsip import Peer, Request

ROUTING = f'{CFG}/owner_gone.cfg'


@pytest.fixture
def peer(lab):
    """Who forks upstream."""
    the_peer = Peer(lab, 'caller', 5090)
    yield the_peer
    the_peer.close()


def expect(peer, code, request):
    """That reply to this one of the INVITEs."""
    while f'branch={request.branch}\r' not in (reply := peer.expect(f'SIP/2.0 {code}')):
        pass
    return reply


def ring(peer, request):
    peer.send(request.invite(peer))
    expect(peer, 180, request)


def end_by_cancel(peer, request):
    peer.send(request.cancel(peer))
    peer.send(request.ack(peer, expect(peer, 487, request)))


def take_over(cluster, legs, old, new):
    """The owner dies."""
    cluster[old].kamailio.kill()
    cluster.lab.steer(to(new))
    wait_until(lambda: all(leg.again for leg in legs), 5, 'taken over')


@pytest.mark.parametrize('defines', [{}, LARGE], ids=['small', 'large'])
def test_a_further_leg_of_what_was_lost(lab, callees, peer, defines):
    """One leg was lost to another node; the next one with its Call-ID and CSeq is the node's own."""
    cluster = Cluster(lab, routing=ROUTING, defines=defines)
    lab.steer(to('a'))
    lost, own = (Request('lost@lab', branch=f'z9hG4bKflap{n}', dial=f'one{n}') for n in (1, 2))
    ring(peer, lost)
    cluster['a'].wait_recorded(callees, 'lost@lab')
    lab.unplug('a')
    lab.steer(to('b'))
    wait_until(lambda: callees.legs('lost@lab')[0].again, 10, 'taken over')
    lab.plug('a')
    wait_until(lambda: cluster['a'].counters()['txns_lost'] == 1, 10, 'a knows that it lost it')
    lab.steer(to('a'))
    ring(peer, own)
    end_by_cancel(peer, own)
    assert [leg.code for leg in callees.legs('lost@lab')] == [180, 487]
    end_by_cancel(peer, lost)     # from a, which has lost it, to its new owner
    wait_until(lambda: each(callees.legs('lost@lab'), lambda leg: leg.settled), 3, 'both have ended')


def test_cancel_of_one_leg_is_not_the_others(lab, callees, peer):
    """The archive tells how the first leg ended, and that was not cancelled."""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING)
    lab.steer(to('a'))
    first, second = (Request('legs@lab', branch=f'z9hG4bKleg{n}', dial=f'one{n}') for n in (1, 2))
    ring(peer, first)
    ring(peer, second)
    end_by_cancel(peer, second)
    callees.legs('legs@lab')[0].reject(486)
    peer.send(first.ack(peer, expect(peer, 486, first)))
    entries = wait_until(lambda: cluster.store.archive('legs@lab'), 5, 'an entry in the archive')
    assert (entries[0]['how'], entries[0]['code']) == ('rejected', '486'), entries


def answered(lab, callees, caller, call_id, dial='one'):
    call = caller.call(call_id, dial)
    call.wait(180)
    leg = callees.legs(call_id)[0]
    leg.answer()
    call.wait(200)
    wait_until(lambda: leg.acked, 3, 'ACK')
    return call, leg


def invite_again(callees, leg):
    """The callee sends a re-INVITE, the first request of its own."""
    def received(port, msg, _received=callees.received):
        if msg.code:
            callees._on_answer(msg)
        else:
            _received(port, msg)
    callees.received = received
    return leg.within('INVITE')


def refuse(caller, code):
    """What the caller says to a re-INVITE of the callee; returns whose ACKs come to that."""
    acks = []

    def received(port, msg, _received=caller.received):
        if msg.method == 'ACK' and not msg.code:
            acks.append(msg)
        elif msg.method == 'INVITE' and not msg.code:
            lines = msg.text.split('\r\n')
            kept = [line for line in lines if line.split(':')[0] in ('Via', 'From', 'To', 'Call-ID', 'CSeq')]
            caller.send(port, '\r\n'.join([f'SIP/2.0 {code} No', *kept, 'Content-Length: 0', '', '']))
        else:
            _received(port, msg)
    caller.received = received
    return acks


def ack_refusal(callees, leg, asking):
    """The callee's ACK to that, within the transaction."""
    to_, via, cseq = (asking.answer[name] for name in ('to', 'via', 'cseq'))
    uri = asking.text.split(' ')[1]
    routes = [line for line in asking.text.split('\r\n') if line.startswith('Route:')]
    callees.send(leg.port, '\r\n'.join([
        f'ACK {uri} SIP/2.0', f'Via: {via}', *routes, f'From: {asking.answer["from"]}', f'To: {to_}', f'Call-ID: {leg.call_id}',
        f'CSeq: {cseq.split()[0]} ACK', 'Max-Forwards: 70', 'Content-Length: 0', '', '']))


def test_callee_invites_again_after_a_takeover(lab, callees, caller):
    """A 491 to the callee's own INVITE, with the CSeq of the one that was taken over, is said of the callee's."""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING)
    lab.steer(to('a'))
    call = caller.call('again@lab', 'one')
    call.wait(180)
    cluster['a'].wait_recorded(callees, 'again@lab')
    leg = callees.legs('again@lab')[0]
    take_over(cluster, [leg], 'a', 'b')
    leg.answer()
    call.wait(200)
    acks = refuse(caller, 491)
    asking = invite_again(callees, leg)
    wait_until(lambda: asking.code == 491, 3, '491 at the callee')
    wait_until(lambda: acks, 3, 'its ACK at the caller')


def test_ack_to_what_the_callee_was_refused(lab, callees, caller):
    """It reaches the owner of the callee's INVITE from a node that has seen the 2xx to the caller's, with the same CSeq."""
    Cluster(lab, nodes='ab', routing=ROUTING)
    lab.steer(to('b'))
    _, leg = answered(lab, callees, caller, 'refused@lab')
    lab.steer(by_kind({'ACK': 'b'}, default='a'))
    refuse(caller, 488)
    asking = invite_again(callees, leg)
    wait_until(lambda: asking.code == 488, 3, '488 at the callee')
    ack_refusal(callees, leg, asking)
    acked = time.monotonic()
    wait_until(lambda: time.monotonic() - acked > 3 * T1, 5, 'time for the 488 to come again')
    refusals = [packet for packet in lab.trace.at('gateway', 'refused@lab', leg.port) if packet.kind == '488']
    assert len(refusals) == 1, lab.trace.show('refused@lab')
