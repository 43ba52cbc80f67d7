"""store_near: a replica beside the nodes is asked first about a CANCEL at the wrong node, and is behind at the wrong moment."""
import pytest

from lab.accidents import wait_records
from lab.cluster import Cluster
from lab.policies import by_kind
from lab.proc import each, wait_until
from lab.ringing import Ringing
from lab.sipp import Gateway
from test_at_once import answers

pytestmark = pytest.mark.one_redis('it has a replica')

PORT = 6381
COUNT = 6


@pytest.fixture
def cluster(lab):
    """kamsyncd is asked about each CANCEL, as in a cluster of more nodes."""
    Gateway(lab)
    cluster = Cluster(lab, defines={'KAMSYNC_ALL_MAX': 0}, store_near=f'redis://{lab.address("store")}:{PORT}')
    lab.redis_cli('config', 'set', 'repl-diskless-sync-delay', '0')
    lab.redis('replica', PORT, ['--replicaof', '127.0.0.1', '6379'])
    wait_until(lambda: 'master_link_status:up' in lab.redis_cli('info', 'replication', port=PORT), 20, 'the replica to follow')
    for node in cluster.node.values():
        wait_until(lambda node=node: '(near replica): connected' in node.log(), 5, 'the replica')
    yield cluster
    cluster.stop()


def ring(cluster, name):
    """Calls of node a, whose records are in the replica, too."""
    cluster.lab.steer(by_kind({'CANCEL': 'b'}, default='a'))
    calls = Ringing(cluster.lab, name, COUNT)
    wait_records(cluster, calls)
    wait_until(lambda: set(cluster.keys()) <= set(cluster.lab.redis_cli('keys', '*', port=PORT).split('\n')), 5, 'the replica')
    return calls


def all_answered(lab, calls):
    wait_until(lambda: each(calls.call_ids, lambda call_id: answers(lab, call_id)), 5, 'an answer to each CANCEL')
    calls.peer.expect_nothing('SIP/2.0 481', 0.2)
    return {tuple(answers(lab, call_id)) for call_id in calls.call_ids}


def test_replica_names_the_owner(cluster):
    calls = ring(cluster, 'near')
    calls.cancel()
    calls.wait_ended('a')
    assert all_answered(cluster.lab, calls) == {('200',)}
    counters = cluster['b'].counters()
    assert counters['near_lookups'] >= COUNT and counters['near_found'] > 0


def test_replica_names_who_has_given_the_call_away(cluster):
    """It has stopped following the store before that. Whom it names drops the CANCEL, and does not refuse it."""
    calls = ring(cluster, 'old')
    cluster.lab.redis_cli('replicaof', 'no', 'one', port=PORT)
    cluster.lab.steer(by_kind({'CANCEL': 'b', 'ACK': 'b'}, default='a'))
    assert cluster['a'].ask('drain', evacuate=True)['ok']
    wait_until(lambda: cluster['a'].ask('evacuation')['left'] == 0, 20, 'a to be empty')
    at_c = sum(record['owner'] == 3 for record in cluster.records().values())
    calls.cancel()
    assert all_answered(cluster.lab, calls) == {('200',)}
    counters = cluster['b'].counters()
    assert counters['near_found'] + counters['near_failed'] >= at_c
    assert counters['near_vain'] <= counters['near_found']
