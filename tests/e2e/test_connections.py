"""Calls over TCP, TLS, WS and WSS, with the recipe kamailio-cfg/cookbook/connections.cfg."""
import pytest

from lab.connections import SERVER_PORT, TRANSPORTS, ConnectedCallees, ConnectedCaller, connected_cluster
from lab.lab import ANYCAST, Lab
from lab.phone import Callees
from lab.policies import to
from lab.proc import each, wait_until


@pytest.fixture(scope='module', params=['UDP', 'TCP', 'TLS'])
def gateway(request):
    """(transport to the gateway, lab, callees, cluster)"""
    with Lab(nodes='ab') as lab:
        kind = request.param
        with Callees(lab) if kind == 'UDP' else ConnectedCallees(lab, kind) as callees:
            cluster = connected_cluster(lab, kind)
            yield kind, lab, callees, cluster
            callees.check()
            cluster.stop()
        lab.check()


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_call_through_one_node(gateway, transport):
    _, lab, callees, _ = gateway
    lab.steer(to('a'))
    with ConnectedCaller(lab, transport) as caller:
        call = caller.call(f'{transport}@lab', 'phone')
        call.wait(180)
        [leg] = callees.legs(call.call_id)
        leg.answer()
        call.wait(200)
        wait_until(lambda: leg.acked, 5, 'the ACK at the phone')
        bye = call.bye()
        wait_until(lambda: leg.ended and bye.code == 200, 5, 'the BYE at the phone')
        assert not caller.refused


@pytest.mark.parametrize('gateway', ['TCP', 'TLS'], indirect=True)
def test_node_connects_from_its_own_address_and_names_the_anycast_one(gateway):
    kind, lab, callees, _ = gateway
    lab.steer(to('b'))
    with ConnectedCaller(lab, 'TCP') as caller:
        caller.call('own@lab', 'phone').wait(180)
        [leg] = callees.legs('own@lab')
        assert leg.invite.connection.peer[0] == lab.address('b')
        assert leg.invite.sent_by == (ANYCAST, SERVER_PORT[kind])
        assert each(leg.invite.routes(), lambda route: ANYCAST in route), leg.invite.text


@pytest.mark.parametrize('gateway', ['UDP'], indirect=True)
@pytest.mark.parametrize('transport', TRANSPORTS)
def test_steering_by_connection(gateway, transport):
    """The second one goes elsewhere; the first one is reset when its route moves."""
    _, lab, callees, _ = gateway
    nodes = iter('ab')
    lab.route('gateway', 'a')
    lab.steer(lambda flow: next(nodes), ('caller',))
    with ConnectedCaller(lab, transport) as caller:
        first, second = caller.connect(), caller.connect()
        for node, connection in (('a', first), ('b', second)):
            call = caller.call(f'{node}-{transport}@lab', 'phone', over=connection)
            call.wait(180)
            assert lab.trace.at('gateway', call.call_id)[0].node == node
            if transport in ('TCP', 'WS'):
                assert lab.trace.seen_by('caller', call.call_id) == [('out', 'INVITE', node), ('in', '100', node), ('in', '180', node)]
        lab.flap('caller', 'b')
        for connection in (first, second):
            connection.send('\r\n\r\n')
        wait_until(lambda: not first.open, 5, 'the RST of the other node')
        assert second.open
        caller.check()
