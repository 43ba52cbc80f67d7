"""The archives of a real Redis Cluster as one, and what lives when nodes move to it."""
import json
import shutil

import pytest

from fake_control import fine, run_ctl
from harness import wait_until
from redis_cluster import RedisCluster
from sip import Call
from test_to_cluster import move

CALLS = 60


@pytest.fixture
def cluster(tmp_path):
    made = RedisCluster(str(tmp_path))
    yield made
    made.stop()


def entries(cluster):
    return {key: cluster.do('XLEN', key) for key in cluster.keys('kamsync:*:cdr')}


def end_calls(node, cluster, count):
    before, calls = sum(entries(cluster).values()), [Call() for _ in range(count)]
    for call in calls:
        node.kamailio.events(call.branch_event(), call.reply_event(486))
    wait_until(lambda: sum(entries(cluster).values()) == before + count, 20, lambda: f'their entries: {entries(cluster)}')
    return {call.call_id.decode() for call in calls}


def test_each_ended_call_comes_once(cluster, make_node, tmp_path):
    control, out = tmp_path / 'control', tmp_path / 'calls.jsonl'
    node, ended = make_node(1, store=cluster.url, control=control), set()

    def exported():
        fine(run_ctl('-s', control, 'cdr', '--export', out))
        return len(out.read_text().splitlines() if out.exists() else []) >= len(ended)
    for _ in range(2):
        ended |= end_calls(node, cluster, CALLS)
        wait_until(exported, 10, 'all in the file', every=0.2)
    assert all(member.do('KEYS', 'kamsync:*:cdr') for member in cluster.masters)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    ids = [tuple(map(int, row['id'].split('-'))) for row in rows]
    assert len(rows) == 2 * CALLS and {row['call_id'] for row in rows} == ended and ids == sorted(ids)
    assert json.loads(fine(run_ctl('-s', control, '--json', 'cdr', '-n', '7')))['cdr'] == rows[-7:]
    names = json.loads(fine(run_ctl('-s', control, '--json', 'key', rows[0]['call_id'])))
    assert rows[0]['call_id'].encode() in [e[1][e[1].index(b'call_id') + 1] for e in cluster.do('XRANGE', names['archive'], '-', '+')]


@pytest.mark.skipif(not shutil.which('redis-cli'), reason='needs redis-cli')
def test_calls_that_live_are_known_again(cluster, make_node, redis, tmp_path):
    """docs/redis-keys.md, From one Redis to a Redis Cluster."""
    node = make_node(1)
    calls = [node.report_call(180) for _ in range(10)]
    wait_until(lambda: len(redis.do('KEYS', 'kamsync:call:*')) == len(calls), 10, 'the calls')
    node.daemon.stop()
    move(redis, cluster.masters[0], tmp_path)
    node.daemon.options['store'] = cluster.url
    node.daemon.start()
    node.daemon.wait_report(10, store='up', transactions=len(calls))
    for call in calls:
        node.kamailio.events(call.reply_event(486))
    wait_until(lambda: sum(entries(cluster).values()) == len(calls), 10, 'an entry of each')
