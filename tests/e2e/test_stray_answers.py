"""A CANCEL over a connection while kamsyncd is away: it gets one answer, since nothing is repeated over a connection."""
import pytest

from lab.connections import TRANSPORTS, ConnectedCaller, connected_cluster
from lab.lab import ANYCAST, Lab
from lab.phone import Callees, new_branch, request
from lab.policies import to
from lab.proc import each, wait_until


def send(caller, method, call_id):
    """Outside a call."""
    branch, uri = new_branch(), f'sip:{ANYCAST}'
    headers = [caller.via(caller.port, branch), ('From', f'<sip:caller@{caller.ip}>;tag=x'), ('To', f'<{uri}>'),
               ('Call-ID', call_id), ('CSeq', f'1 {method}'), ('Max-Forwards', '70')]
    return caller.ask(caller.port, method, branch, request(method, uri, headers))


def codes(caller):
    """All that has come over its latest connection, in the order in which Kamailio sent it: a last answer shows that nothing else
    will come."""
    wait_until(lambda asking=send(caller, 'OPTIONS', 'last@lab'): asking.code, 5, 'the answer to OPTIONS')
    return [msg.code for msg in caller.latest().messages][:-1]


@pytest.fixture(scope='module')
def alone():
    """One node, without kamsyncd: it knows of no other."""
    with Lab(nodes='a') as lab:
        cluster = connected_cluster(lab, daemons=False, redis=False, defines={'KAMSYNC_YOUNG_S': 0})
        lab.route_all('a')
        yield lab
        cluster.stop()
        lab.check()


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_node_knows_no_other(alone, transport):
    with ConnectedCaller(alone, transport) as caller:
        cancel = send(caller, 'CANCEL', f'unknown-{transport}@lab')
        wait_until(lambda: cancel.code, 5, 'the answer')
        assert codes(caller) == [481]


def test_node_has_just_started():
    """It waits for kamsyncd."""
    with Lab(nodes='a') as lab, ConnectedCaller(lab, 'TCP') as caller:
        cluster = connected_cluster(lab, daemons=False, defines={'KAMSYNC_YOUNG_S': 60})
        lab.route_all('a')
        cancel = send(caller, 'CANCEL', 'early@lab')
        assert not codes(caller)
        cluster['a'].start_kamsyncd()
        wait_until(lambda: cancel.code == 481, 10, 'the answer')
        cluster.stop()
        lab.check()


@pytest.fixture(scope='module')
def pair():
    """(lab, phones, cluster): two nodes that know each other, and both their kamsyncd are dead."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees:
        cluster = connected_cluster(lab)
        for name in 'ab':
            cluster[name].kamsyncd.kill()
            wait_until(lambda name=name: 'kamsyncd is gone' in cluster[name].kamailio.log(), 5, 'Kamailio to know')
        yield lab, callees, cluster
        cluster.stop()
        lab.check()


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_owner_is_another_node(pair, transport):
    """It acts, and says so."""
    lab, callees, _ = pair
    with ConnectedCaller(lab, transport) as caller:
        lab.steer(to('a'))
        call = caller.call(f'owned-{transport}@lab', 'phone')
        call.wait(180)
        lab.steer(to('b'))
        caller.connect()
        cancel = call.cancel()
        call.wait(487)
        wait_until(lambda: cancel.code == 200, 5, 'the answer')
        assert codes(caller) == [200] and call.final.connection is caller.connections[0]


def test_waits_for_kamsyncd(pair):
    """Nobody acts."""
    lab, _, cluster = pair
    lab.steer(to('b'))
    with ConnectedCaller(lab, 'TCP') as one, ConnectedCaller(lab, 'WSS', 17062) as other:
        cancels = [send(caller, 'CANCEL', f'nobody-{caller.port}@lab') for caller in (one, other)]
        assert not codes(one) + codes(other)
        for name in 'ab':
            cluster[name].start_kamsyncd()
        wait_until(lambda: each(cancels, lambda cancel: cancel.code == 481), 10, 'the answers')
