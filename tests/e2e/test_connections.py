"""Calls over TCP, TLS, WS and WSS, with the recipe kamailio-cfg/cookbook/connections.cfg."""
import pytest

from lab.connections import SERVER_PORT, TRANSPORTS, ConnectedCallees, ConnectedCaller, connect_address, connected_cluster, gateway_over
from lab.lab import ANYCAST, Lab
from lab.phone import Callees
from lab.policies import to
from lab.proc import each, wait_until


@pytest.fixture(scope='module', params=['UDP', 'TCP', 'TLS'])
def gateway(request):
    with gateway_over(request.param) as what:
        yield what


def talk(callees, caller, call_id):
    call = caller.call(call_id, 'phone')
    call.wait(180)
    [leg] = callees.legs(call.call_id)
    leg.answer()
    call.wait(200)
    wait_until(lambda: leg.acked, 5, 'the ACK at the gateway')
    return call, leg


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_call_through_one_node(gateway, transport):
    _, lab, callees, _ = gateway
    lab.steer(to('a'))
    with ConnectedCaller(lab, transport) as caller:
        call, leg = talk(callees, caller, f'{transport}@lab')
        bye = call.bye()
        wait_until(lambda: leg.ended and bye.code == 200, 5, 'the BYE at the phone')
        assert not caller.refused


@pytest.mark.parametrize('gateway', ['TCP', 'TLS'], indirect=True)
def test_node_connects_from_an_address_of_its_own_and_names_the_anycast_one(gateway):
    kind, lab, callees, _ = gateway
    lab.steer(to('b'))
    with ConnectedCaller(lab, 'TCP') as caller:
        caller.call('own@lab', 'phone').wait(180)
        [leg] = callees.legs('own@lab')
        assert leg.invite.connection.peer[0] == connect_address('b')
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


def from_gateway_to(lab, callees, kind, leg, node):
    """What the gateway sends from now on for this call goes to that node."""
    lab.steer(to(node), ('gateway',))
    if kind != 'UDP':
        leg.over = callees.connect()


def answered(asking):
    wait_until(lambda: asking.code, 5, 'an answer')
    return asking.code


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_requests_towards_the_phone_reach_the_node_that_holds_its_connection(gateway, transport):
    """A re-INVITE, and by what its answer named, a BYE, which arrive at the other node."""
    kind, lab, callees, cluster = gateway
    lab.steer(to('a'))
    with ConnectedCaller(lab, transport) as caller:
        call, leg = talk(callees, caller, f'holder-{transport}@lab')
        from_gateway_to(lab, callees, kind, leg, 'b')
        assert answered(leg.within('INVITE')) == 200
        wait_until(lambda: call.reinvite_acks, 5, 'the ACK at the phone')
        assert answered(leg.bye()) == 200
        assert (len(call.reinvites), call.byes, len(caller.connections)) == (1, 1, 1)
        assert call.reinvites[0].uri == caller.contact('caller', caller.port)
        caller.check()


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_the_phone_may_go_on_over_another_connection_at_another_node(gateway, transport):
    """Once it has said so with a re-INVITE, the other node's connection is the one."""
    kind, lab, callees, _ = gateway
    lab.steer(to('a'))
    with ConnectedCaller(lab, transport) as caller:
        call, leg = talk(callees, caller, f'moved-{transport}@lab')
        lab.steer(to('b'), ('caller',))
        caller.connections[0].close()
        assert answered(call.within('INVITE')) == 200
        assert answered(leg.bye()) == 200 and call.byes == 1


def has_connection(lab, host, port):
    """Does the kernel know of one with this port of the phone?"""
    return f':{port} ' in lab.run(host, ['ss', '-tan']).stdout


@pytest.mark.parametrize('node', 'ab')
@pytest.mark.parametrize('transport', TRANSPORTS)
def test_phone_has_closed_its_connection(gateway, transport, node):
    """A quick answer, and nobody connects to the port that the connection had."""
    kind, lab, callees, _ = gateway
    lab.steer(to('a'))
    with ConnectedCaller(lab, transport) as caller:
        call, leg = talk(callees, caller, f'closed-{node}-{transport}@lab')
        [connection] = caller.connections
        port = connection.local[1]
        connection.reset()
        for host in ('caller', 'a'):
            wait_until(lambda host=host: not has_connection(lab, host, port), 5, 'the end of the connection')
        with ConnectedCallees(lab, 'TCP', (port,), side='caller') as there:
            from_gateway_to(lab, callees, kind, leg, node)
            bye = leg.bye()
            assert answered(bye) == (500 if transport in ('WS', 'WSS') else 477) and bye.tries == 1
            assert not there.connections and not there.refused


@pytest.mark.parametrize('kind', ['UDP', 'TCP'])
def test_holder_has_died(kind):
    with Lab(nodes='ab') as lab, (Callees(lab) if kind == 'UDP' else ConnectedCallees(lab, kind)) as callees:
        cluster = connected_cluster(lab, kind)
        lab.steer(to('a'))
        with ConnectedCaller(lab, 'TLS') as caller:
            _, leg = talk(callees, caller, 'died@lab')
            cluster['a'].kamailio.kill()
            wait_until(lambda: 'is down' in cluster['b'].log(), 10, 'b to know')
            from_gateway_to(lab, callees, kind, leg, 'b')
            assert answered(leg.bye()) == 430
