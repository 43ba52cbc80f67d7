"""Calls with a leg over TCP, TLS, WS or WSS whose owner lives: their records, and what reaches another node."""
import pytest

from lab.connections import ConnectedCallees, ConnectedCaller, connected_cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import wait_until


@pytest.fixture(scope='module', params=['UDP', 'TCP', 'TLS'])
def gateway(request):
    """(transport to the gateway, lab, callees, cluster)"""
    with Lab(nodes='ab') as lab:
        kind = request.param
        with Callees(lab) if kind == 'UDP' else ConnectedCallees(lab, kind) as callees:
            cluster = connected_cluster(lab, kind)
            yield kind, lab, callees, cluster
            cluster.stop()
        lab.check()


def phone(lab, transport):
    return Caller(lab) if transport == 'UDP' else ConnectedCaller(lab, transport)


def elsewhere(lab, caller, call):
    """What the caller sends from now on goes to b, over another connection."""
    lab.steer(to('b'))
    if call.over or isinstance(caller, ConnectedCaller):
        call.over = caller.connect()


@pytest.mark.parametrize('transport', ['UDP', 'TCP', 'TLS', 'WS', 'WSS'])
def test_record_and_archive(gateway, transport):
    """The BYE comes to another node."""
    kind, lab, callees, cluster = gateway
    lab.steer(to('a'))
    with phone(lab, transport) as caller:
        call = caller.call(f'{transport}-{kind}@lab', 'phone')
        call.wait(180)
        [txn] = wait_until(lambda: cluster['b'].ask('tx', call_id=call.call_id)['txns'], 5, 'its record')
        # Kamailio calls WSS "ws", too
        assert txn['src'].startswith('ws:' if transport == 'WSS' else f'{transport.lower()}:'), txn
        assert txn['branches'][0]['to'].startswith(f'{kind.lower()}:'), txn
        [leg] = callees.legs(call.call_id)
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
