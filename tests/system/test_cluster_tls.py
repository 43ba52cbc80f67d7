"""A Redis Cluster with TLS: what holds for the nodes that are named holds for all that they name. Needs hiredis 1.0 (Debian 13)."""
import pytest

from redis_cluster import slot_of
from sip import open_handover
from test_redis_cluster import (all_there, all_there_at, calls_in, cancel_at, connected, make_cluster, meet,  # noqa: F401
                                ring, with_password)
from test_tls import certificates, tls  # noqa: F401


@pytest.fixture
def ca(tls, certificates):  # noqa: F811
    return {'redis_ca_file': certificates.path('ca.crt')}


def test_records(ca, certificates, make_cluster, make_node):  # noqa: F811
    """At each master; and behind a redirect, and at a replica that becomes the master."""
    cluster = make_cluster(tls=certificates.server('good'), replicas=True)
    a, b = meet(cluster, make_node, **ca)
    first, second, third = cluster.masters
    calls = [ring(a, cluster, call) for master in cluster.masters for call in calls_in(cluster, master, 3)]
    cluster.move(slot_of(calls[0].key(True)), second)
    a.kamailio.events(calls[0].reply_event(183))
    cancel_at(b, calls[0], a)
    cluster.failover(cluster.replicas[2])
    all_there_at(cluster.replicas[2], calls[6:])
    cancel_at(b, calls[6], a)
    for node in (a, b):
        connected(node, cluster.replicas[2])
    all_there(cluster, calls)
    assert all(f':{m.port} ' not in node.daemon.log() for node in (a, b) for m in cluster.members)


def test_a_redirect_to_a_node_with_a_wrong_certificate(ca, certificates, make_cluster, make_node):  # noqa: F811
    """Nothing is told to it; its slot is served by nobody until it has the right one, and the others go on."""
    cluster = make_cluster(tls=certificates.server('good'))
    a, b = meet(cluster, make_node, **ca)
    call = ring(a, cluster, calls_in(cluster, cluster.masters[0], 1)[0])
    new = cluster.add_master(tls=certificates.server('another'))
    cluster.move(slot_of(call.key(True)), new)
    a.kamailio.events(call.reply_event(183))
    b.kamailio.stray(call.cancel())
    for node in (a, b):
        node.daemon.wait_log(f':{new.seen_port} (commands): cannot connect, trying again for ever: '
                             'its certificate is for another name: see redis_server_name')
    assert open_handover(b.kamailio.wait_sends(1)[0])[0]['why'] == 'unavailable'
    for master in cluster.masters[:3]:
        cancel_at(b, ring(a, cluster, calls_in(cluster, master, 1)[0]), a)
    for node in (a, b):
        assert node.daemon.report()['store'] == 'up' and f':{new.seen_port} (commands): connected' not in node.daemon.log()
    assert new.calls('evalsha') == new.calls('get') == 0
    new.do('CONFIG', 'SET', 'tls-cert-file', certificates.path('good.crt'), 'tls-key-file', certificates.path('good.key'))
    for node in (a, b):
        connected(node, new)
    cancel_at(b, call, a)


def test_password_and_certificate_at_each_node(ca, certificates, make_cluster, make_node, tmp_path):  # noqa: F811
    """Also behind a redirect."""
    cluster = make_cluster(tls=certificates.server('good', clients='yes'), requirepass='secret')
    node = make_node(1, store=cluster.url, redis_cert_file=certificates.path('client.crt'),
                     redis_key_file=certificates.path('client.key'), **ca, **with_password(tmp_path, 'secret'))
    call = calls_in(cluster, cluster.masters[0], 1)[0]
    new = cluster.add_master()
    cluster.move(slot_of(call.key(True)), new)
    ring(node, cluster, call)
    for master in cluster.masters[:3]:
        ring(node, cluster, calls_in(cluster, master, 1)[0])
    assert 'AUTH refused' not in node.daemon.log() and 'redis refuses' not in node.daemon.log()
