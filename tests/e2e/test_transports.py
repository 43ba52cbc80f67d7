"""Calls with a leg over TCP, TLS, WS or WSS whose owner lives: their records, and what reaches another node."""
import contextlib

import pytest

from lab.connections import ConnectedCaller, gateway_over
from lab.phone import Caller
from lab.policies import to
from lab.proc import wait_until


@pytest.fixture(scope='module', params=['UDP', 'TCP', 'TLS'])
def gateway(request):
    with gateway_over(request.param) as what:
        yield what


def phone(lab, transport):
    return Caller(lab) if transport == 'UDP' else ConnectedCaller(lab, transport)


@contextlib.contextmanager
def ringing(gateway, transport, name):
    """A call that rings, by way of a: its caller, itself, and its leg at the phone."""
    kind, lab, callees, _ = gateway
    lab.steer(to('a'))
    with phone(lab, transport) as caller:
        call = caller.call(f'{name}-{transport}-{kind}@lab', 'phone')
        call.wait(180)
        [leg] = callees.legs(call.call_id)
        yield caller, call, leg


def elsewhere(lab, caller, call):
    """What the caller sends from now on goes to b, over another connection."""
    lab.steer(to('b'))
    if call.over or isinstance(caller, ConnectedCaller):
        call.over = caller.connect()


@pytest.mark.parametrize('transport', ['UDP', 'TCP', 'TLS', 'WS', 'WSS'])
def test_record_and_archive(gateway, transport):
    """The BYE comes to another node."""
    kind, lab, callees, cluster = gateway
    with ringing(gateway, transport, 'call') as (caller, call, leg):
        [txn] = wait_until(lambda: cluster['b'].ask('tx', call_id=call.call_id)['txns'], 5, 'its record')
        # Kamailio calls WSS "ws", too
        assert txn['src'].startswith('ws:' if transport == 'WSS' else f'{transport.lower()}:'), txn
        assert txn['branches'][0]['to'].startswith(f'{kind.lower()}:'), txn
        leg.answer()
        call.wait(200)
        wait_until(lambda: leg.acked, 5, 'the ACK at the phone')
        assert call.call_id in [live['call_id'] for live in cluster['b'].ask_all('calls')['calls']]
        elsewhere(lab, caller, call)
        bye = call.bye()
        wait_until(lambda: leg.ended and bye.code == 200, 5, 'the BYE at the phone')
        ended = wait_until(lambda: [e for e in cluster['b'].ask('cdr', count=100)['cdr'] if e['call_id'] == call.call_id], 10,
                           'its entry in the archive')
        assert [(e['how'], e['by'], e['source']) for e in ended] == [('completed', 'caller', txn['src'])]


@pytest.mark.parametrize('transport', ['UDP', 'TCP', 'TLS', 'WS', 'WSS'])
def test_cancel_elsewhere(gateway, transport):
    """Its 200 comes over its own connection, the 487 over the INVITE's."""
    kind, lab, callees, cluster = gateway
    with ringing(gateway, transport, 'cancel') as (caller, call, leg):
        [first] = getattr(caller, 'connections', [None])
        elsewhere(lab, caller, call)
        cancel = call.cancel()
        wait_until(lambda: cancel.code == 200, 5, 'the answer to the CANCEL')
        call.wait(487)
        wait_until(lambda: leg.cancels and leg.acked, 5, 'CANCEL and ACK at the phone')
        if first:
            assert call.final.connection is first
            assert [m.code for m in call.over.messages] == [200] and len(caller.connections) == 2 and not caller.refused


@pytest.mark.parametrize('gateway', ['TCP', 'TLS'], indirect=True)
@pytest.mark.parametrize('transport', ['UDP', 'TCP', 'WSS'])
@pytest.mark.parametrize('code', [200, 486])
def test_reply_elsewhere(gateway, transport, code):
    """Over a new connection, which the far end opens to the address in the Via, as many do that have lost theirs."""
    kind, lab, callees, cluster = gateway
    with ringing(gateway, transport, f'reply-{code}') as (caller, call, leg):
        lab.steer(to('b'), ('gateway',))
        leg.to = callees.connect(to=leg.invite.sent_by)
        leg.say(code)
        call.wait(code)
        wait_until(lambda: leg.acked, 5, 'the ACK at the phone')
        assert call.codes().count(code) == 1
        if code == 200:
            assert call.bye() and wait_until(lambda: leg.ended, 5, 'the BYE at the phone')


@pytest.mark.parametrize('transport', ['UDP', 'TCP', 'TLS', 'WS', 'WSS'])
def test_ack_elsewhere(gateway, transport):
    kind, lab, callees, cluster = gateway
    with ringing(gateway, transport, 'ack') as (caller, call, leg):
        elsewhere(lab, caller, call)
        lab.steer(to('a'), ('gateway',))
        leg.answer()
        call.wait(200)
        wait_until(lambda: leg.acked, 5, 'the ACK at the phone')


@pytest.mark.parametrize('gateway', ['UDP'], indirect=True)
@pytest.mark.parametrize('transport', ['TCP', 'TLS', 'WSS'])
def test_ack_to_a_refusal_elsewhere(gateway, transport):
    """It goes to the owner, who has acknowledged the refusal to the gateway, and to nobody else."""
    kind, lab, callees, cluster = gateway
    with ringing(gateway, transport, 'refused') as (caller, call, leg):
        call.no_ack = True
        leg.reject()
        call.wait(486)
        elsewhere(lab, caller, call)
        call.ack()

        def decided():
            return [line['text'] for line in cluster['b'].ask_all('trace', call_id=call.call_id)['trace']]
        wait_until(decided, 5, 'what becomes of the ACK')
        assert [text[-16:] for text in decided()] == [': owner, owner=1'], decided()
        assert leg.acks == 1 and not callees.unknown and not call.over.messages
