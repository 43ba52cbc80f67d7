"""A CANCEL over a connection that no node has a transaction for, or that nobody can say of: each gets one answer."""
import pytest

from lab.connections import TRANSPORTS, ConnectedCaller, connected_cluster
from lab.lab import ANYCAST, Lab
from lab.phone import new_branch, request
from lab.proc import wait_until


@pytest.fixture(scope='module')
def alone():
    """One node, without kamsyncd: it knows of no other."""
    with Lab(nodes='a') as lab:
        cluster = connected_cluster(lab, daemons=False, redis=False, defines={'KAMSYNC_YOUNG_S': 0})
        lab.route_all('a')
        yield lab
        cluster.stop()
        lab.check()


def ask(caller, method, call_id):
    """Outside a call."""
    branch, uri = new_branch(), f'sip:{ANYCAST}'
    headers = [caller.via(caller.port, branch), ('From', f'<sip:caller@{caller.ip}>;tag=x'), ('To', f'<{uri}>'),
               ('Call-ID', call_id), ('CSeq', f'1 {method}'), ('Max-Forwards', '70')]
    asking = caller.ask(caller.port, method, branch, request(method, uri, headers))
    wait_until(lambda: asking.code, 5, f'the answer to {method}')


@pytest.mark.parametrize('transport', TRANSPORTS)
def test_unknown_without_kamsyncd(alone, transport):
    """Kamailio reads a connection in order: so what it says to the CANCEL has come before its answer to the OPTIONS."""
    with ConnectedCaller(alone, transport) as caller:
        ask(caller, 'CANCEL', f'unknown-{transport}@lab')
        ask(caller, 'OPTIONS', f'after-{transport}@lab')
        [connection] = caller.connections
        assert [msg.code for msg in connection.messages] == [200 if transport in ('WS', 'WSS') else 481, 200]
