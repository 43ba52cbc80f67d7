"""Redis is killed, hangs, forgets, refuses."""
import json
import os
import signal
import time

import pytest

from harness import REPO, SECRET, SLOWER, wait_until
from sip import Call, open_handover

PROMISED, SLACK = 0.300, 0.500 * SLOWER  # the fallback comes within 300 ms; machines that run tests may be slow


def fallback(node, message):
    """Reports the stray; it must come back as unavailable within the promised time."""
    count = len(node.kamailio.of_type('send')) + 1
    since = node.kamailio.stray(message)
    frame = node.kamailio.wait_sends(count)[-1]
    seconds = frame.at - since
    print(f'given back after {seconds * 1000:.1f} ms')
    fields, original = open_handover(frame)
    assert (frame['to'], fields['to'], fields['why']) == (node.kamailio.sip, '2', 'unavailable')
    assert original == message
    assert seconds < PROMISED + SLACK
    return seconds


def has_record(redis, call):
    return lambda: redis.do('EXISTS', call.key())


def why_of_next(kamailio, message):
    count = len(kamailio.of_type('send')) + 1
    kamailio.stray(message)
    return open_handover(kamailio.wait_sends(count)[-1])[0]['why']


@pytest.mark.parametrize('method', ['CANCEL', 'ACK'])
def test_killed_before_a_stray(two_nodes, redis, method):
    b = two_nodes[1]
    redis.kill()
    b.daemon.wait_report(store='down')
    assert fallback(b, Call().request(method)) < PROMISED * SLOWER, 'nobody to wait for'
    b.daemon.wait_report(verdict_unavailable=1)


def test_killed_amid_a_lookup(two_nodes, redis):
    b = two_nodes[1]
    redis.signal(signal.SIGSTOP)
    call = Call()
    since = b.kamailio.stray(call.cancel())
    b.daemon.wait_report(strays=1)
    redis.kill()
    frame = b.kamailio.wait_sends(1)[0]
    assert open_handover(frame)[0]['why'] == 'unavailable'
    print(f'given back after {(frame.at - since) * 1000:.1f} ms')
    assert frame.at - since < PROMISED + SLACK


@pytest.mark.parametrize('method', ['CANCEL', 'ACK'])
def test_hung(two_nodes, redis, method):
    a, b = two_nodes
    call = a.report_call()
    redis.signal(signal.SIGSTOP)
    try:
        assert fallback(b, call.request(method)) > 0.1, 'a slow Redis is waited for (store_wait_ms)'
    finally:
        redis.signal(signal.SIGCONT)
    wait_until(lambda: why_of_next(b.kamailio, call.cancel()) == 'owner', 10, 'Redis to be asked again')


def test_hung_for_long(two_nodes, redis):
    """Longer than redis_timeout_ms and node_ttl_ms: connections are given up, nodes are not."""
    a, b = two_nodes
    call = a.report_call()
    redis.signal(signal.SIGSTOP)
    try:
        b.daemon.wait_log('no answer in time')
        b.daemon.wait_report(store='down')
        assert fallback(b, call.cancel()) < PROMISED * SLOWER
        late = Call()
        a.kamailio.events(late.branch_event())
    finally:
        redis.signal(signal.SIGCONT)
    wait_until(has_record(redis, late), 10, 'the record of what happened meanwhile')
    b.daemon.wait_report(store='up')
    assert why_of_next(b.kamailio, late.cancel()) == 'owner'
    assert not [f for f in b.kamailio.of_type('node') if not f['up']], 'a hung Redis is nobody\'s death'


def test_restarts_empty(two_nodes, redis):
    a, b = two_nodes
    calls = [a.report_call() for _ in range(20)]
    redis.restart()
    for call in calls:
        wait_until(has_record(redis, call), 10, 'live records to be written again')
    wait_until(lambda: why_of_next(b.kamailio, calls[0].cancel()) == 'owner', 10, 'lookups to work again')
    wait_until(lambda: redis.do('SMEMBERS', 'kamsync:nodes') in ([b'1', b'2'], [b'2', b'1']), 5, 'both nodes')


def test_events_while_redis_is_away(two_nodes, redis):
    a = two_nodes[0]
    redis.kill()
    a.daemon.wait_report(store='down')
    ended, lives = Call(), Call()
    a.kamailio.events(ended.branch_event(), lives.branch_event(), ended.reply_event(200), lives.reply_event(180))
    a.daemon.wait_report(events_reply=2)
    redis.start()
    for call in (lives, ended):
        wait_until(has_record(redis, call), 10, 'the record')
    assert json.loads(redis.record(ended.key()))['done'] is True
    assert json.loads(redis.record(lives.key()))['state'] == 'ringing'
    assert a.daemon.report()['puts'] == 2, 'nothing is written to a Redis that is away'


def test_one_key_is_of_another_type(make_node, redis):
    """Somebody has put something else where two records go, that of a transaction and that of a call: that costs these, and no
    other is written again for it."""
    node = make_node(1)
    calls = [Call() for _ in range(50)]
    redis.do('LPUSH', calls[0].key(), 'x')
    redis.do('SET', f'kamsync:call:{{{calls[1].call_id.decode()}}}', 'x')
    for call in calls:
        node.kamailio.events(call.branch_event(), call.reply_event(180))
    for call in calls[1:]:
        wait_until(has_record(redis, call), 10, 'the record')
    node.daemon.wait_log('redis refuses: WRONGTYPE')
    wait_until(lambda: node.daemon.report()['call_writes'] >= len(calls) - 1, 5, 'the records of the calls')
    before = node.daemon.report()
    time.sleep(4)  # not a guess: so often everything was written again each second
    after = node.daemon.report()
    assert 1 <= after['puts_failed'] <= 8
    assert after['puts'] - before['puts'] <= 4 and after['call_writes'] - before['call_writes'] <= 4
    redis.do('DEL', calls[0].key())
    wait_until(has_record(redis, calls[0]), 10, 'the record, when nothing is in its way any more')


def test_full_memory(make_node, redis):
    node = make_node(1)
    redis.do('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    redis.do('CONFIG', 'SET', 'maxmemory', '1')
    call = Call()
    node.kamailio.events(call.branch_event())
    node.daemon.wait_log('redis refuses: OOM')
    wait_until(lambda: node.daemon.report()['puts_failed'] >= 2, 10, 'it to be tried again')
    assert not has_record(redis, call)()
    redis.do('CONFIG', 'SET', 'maxmemory', '0')
    wait_until(has_record(redis, call), 10, 'the record')
    assert node.daemon.log().count('redis refuses') == 1, 'said once'


def test_read_only_replica(make_redis, make_node, redis):
    """A failover that the address has not followed yet; lookups work there, writes do not."""
    node, master = make_node(1), make_redis(repl_diskless_sync_delay=0)
    kept = node.report_call()

    def record():
        """Without its epoch: the node takes the store for another one if it misses a beat there, and then proves that it is its own."""
        found = json.loads(redis.record(kept.key()) or '{}')
        return {name: value for name, value in found.items() if name not in ('epoch', 'from')}
    before = record()
    redis.do('REPLICAOF', '127.0.0.1', master.port)
    wait_until(lambda: b'master_link_status:up' in redis.do('INFO', 'replication'), 10, 'the replica')
    call = Call()
    node.kamailio.events(call.branch_event())
    node.daemon.wait_log('redis refuses: READONLY')
    # refused, or held back: kamsyncd may have missed its own beat there first, and writes nothing before that is seen again
    wait_until(lambda: (r := node.daemon.report())['puts_failed'] or r['unwritten'], 5, 'the record to be refused')
    assert not has_record(redis, call)()
    redis.do('REPLICAOF', 'NO', 'ONE')
    wait_until(has_record(redis, call), 10, 'the record')
    wait_until(lambda: record() == before, 10, lambda: f'the record that the sync deleted, {before}: {record()}')


@pytest.fixture
def credentials(make_kamailio, make_daemon, tmp_path):
    """A node of its own settings for Redis."""
    def make(redis, user='', password=None, db=''):
        (tmp_path / 'password').write_text((password or '') + '\n')
        (tmp_path / 'password').chmod(0o600)
        kamailio = make_kamailio().start()
        return kamailio, make_daemon(kamailio, store=redis.url + db, redis_user=user, heartbeat_ms=100,
                                     redis_password_file=tmp_path / 'password' if password else None).start()
    return make


def test_wrong_password(make_redis, credentials):
    redis = make_redis(requirepass='right')
    kamailio, daemon = credentials(redis, password='wrong')
    daemon.wait_log('AUTH refused: WRONGPASS')
    kamailio.wait_hello()
    kamailio.stray(Call().cancel())
    assert open_handover(kamailio.wait_sends(1)[0])[0]['why'] == 'unavailable'
    redis.auth = ['right']
    redis.do('CONFIG', 'SET', 'requirepass', 'wrong')
    daemon.wait_report(store='up')
    assert daemon.log().count('AUTH refused') <= 2, 'said once per connection, not per attempt'


def test_no_password_where_one_is_needed(make_redis, credentials):
    redis = make_redis(requirepass='right')
    daemon = credentials(redis)[1]
    daemon.wait_log('NOAUTH')
    redis.auth = ['right']
    redis.do('CONFIG', 'SET', 'requirepass', '')
    redis.auth = None
    daemon.wait_report(store='up')


@pytest.mark.parametrize('password', ['right', 'with "quotes" \\ and % signs', SECRET])
def test_password(make_redis, credentials, password):
    daemon = credentials(make_redis(requirepass=password), password=password)[1]
    daemon.wait_report(store='up')
    assert password not in daemon.log()


# What the documentation gives to administrators. Each of them is needed: see the test, and for those that only calls
# or scripts need tests/unit/test_store_redis.c and test_store_put.c.
RIGHTS = ['+ping', '+info', '+set', '+get', '+sadd', '+srem', '+smembers', '+expire', '+scan', '+publish', '+subscribe',
          '+script|load']
CALL_RIGHTS = ['+evalsha', '+eval', '+getrange', '+hgetall', '+hmget', '+hset', '+hsetnx', '+pexpire', '+pttl', '+append', '+xadd',
               '+xrange', '+xrevrange']


def test_rights_are_those_of_the_documentation():
    with open(os.path.join(REPO, 'docs', 'security.md')) as f:
        line = next(line for line in f if 'ACL SETUSER' in line)
    assert [word for word in line.split() if word[0] == '+'] == RIGHTS + CALL_RIGHTS


@pytest.mark.parametrize('policy', ['noeviction', 'allkeys-lru', 'volatile-ttl'])
def test_policy_that_throws_records_away_is_warned_of(make_node, redis, policy):
    """Once, on connecting; again only when it is another one."""
    redis.do('CONFIG', 'SET', 'maxmemory-policy', policy)
    node, evicts = make_node(1), policy != 'noeviction'
    for connection in (1, 2):
        node.daemon.wait_log('(commands): connected', count=connection)
        read = redis.calls('smembers')
        wait_until(lambda: redis.calls('smembers') > read + 1, 5, 'it has looked at that, and after it at the nodes')
        assert node.daemon.log().count('maxmemory-policy') == evicts
        assert f'set maxmemory-policy noeviction, not {policy}' in node.daemon.log() or not evicts
        redis.do('CLIENT', 'KILL', 'TYPE', 'normal')


@pytest.fixture
def acl(redis, credentials):
    """A node whose Redis user has these rights, and has done all that a node does."""
    def run(rights, db=''):
        redis.do('SADD', 'kamsync:nodes', 77)    # it has been gone for long
        redis.do('ACL', 'SETUSER', 'kamsync', 'on', '>its-password', '~kamsync:*', '&kamsync:*', *rights)
        kamailio, daemon = credentials(redis, 'kamsync', 'its-password', db)
        call = Call()
        kamailio.wait_hello()
        kamailio.events(call.branch_event())
        return kamailio, daemon, call
    return run


def denied(redis):
    """Which commands Redis has denied."""
    entries = [dict(zip(e[::2], e[1::2])) for e in redis.do('ACL', 'LOG')]
    return {e[b'object'] for e in entries if e[b'reason'] != b'auth'}


@pytest.mark.parametrize('db', ['', '/5'])
def test_smallest_acl(redis, acl, db):
    kamailio, daemon, call = acl(RIGHTS + CALL_RIGHTS + (['+select'] if db else []), db)
    daemon.wait_report(store='up', transactions=1, unwritten=0, puts_failed=0)
    assert daemon.report()['puts'] > 0
    wait_until(lambda: why_of_next(kamailio, Call().cancel()) == 'unknown', 5, 'a lookup in time')
    wait_until(lambda: redis.calls('smembers') > 2 and redis.calls('subscribe') and redis.calls('publish'), 5,
               'all that a node does')
    if not db:
        wait_until(lambda: b'77' not in redis.do('SMEMBERS', 'kamsync:nodes'), 5, 'node 77 is forgotten')
    assert denied(redis) == set()
    assert 'refuses' not in daemon.log()


@pytest.mark.parametrize('right', RIGHTS)
def test_each_right_is_needed_and_missed_aloud(redis, acl, right):
    daemon = acl([r for r in RIGHTS + CALL_RIGHTS if r != right])[1]
    wait_until(lambda: denied(redis) == {right[1:].encode()}, 5, lambda: f'denied: {denied(redis)}')
    daemon.wait_log('NOPERM')


def test_forgets_without_a_broken_connection(two_nodes, redis):
    """FLUSHALL, or a replica for a moment. Nobody has anything to write just then; the next beat notices."""
    a = two_nodes[0]
    call = a.report_call()
    def beat():
        return json.loads(redis.do('GET', 'kamsync:node:1'))['beat']
    wait_until(has_record(redis, call), 5, 'the record')
    first = beat()
    wait_until(lambda: beat() > first + 1, 5, 'two beats: it knows that its own record is there')
    redis.do('FLUSHALL')
    wait_until(has_record(redis, call), 5, 'the record again')
