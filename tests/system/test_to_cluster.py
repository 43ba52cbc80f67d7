"""The commands of docs/redis-keys.md that move records from one Redis to a Redis Cluster. The new one is a single Redis here: it
takes any name, and redis-cli -c follows nowhere."""
import binascii
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from fake_control import fine, run_ctl
from harness import REPO, Redis, wait_until
from redis_budget import Talk

TAKEN = 'kamsync:tx:{plain@192.0.2.1}:2:b:h:5060'
DOC = pathlib.Path(REPO, 'docs', 'redis-keys.md')
pytestmark = pytest.mark.skipif(not shutil.which('redis-cli'), reason='needs redis-cli')


@pytest.fixture
def new(tmp_path):
    path = tmp_path / 'new'
    path.mkdir()
    server = Redis(str(path)).start()
    yield server
    server.kill()


def move(old, new, place):
    """Step 3 as it stands there. Returns what its last line shows."""
    step = DOC.read_text().split('\n3. Copy the records')[1].split('\n4. ')[0]
    lines = '\n'.join(re.findall(r'^ {7}(.*)$', step, re.M))
    hosts = lines.replace('-h OLD', f'-p {old.port}').replace('-h NEW', f'-p {new.port}')
    shutil.copy(pathlib.Path(REPO, 'docs', 'examples', 'to-cluster.lua'), place)
    return subprocess.run(['bash', '-euo', 'pipefail', '-c', hosts], check=True, cwd=place, capture_output=True, text=True).stdout


def renamed(key, call_id):
    bucket = binascii.crc_hqx(call_id, 0) % 256
    return re.sub(rb'^kamsync:(\w+):\{(.*?)\}:', rb'kamsync:{b%02x}:\1:\2:' % bucket, key)


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2]))


def fields_of(text):
    """Of a call that only its node has written, and its end, if that stands behind it: its bytes need not be UTF-8."""
    return pairs([word.encode('latin-1') for word in json.loads(text.decode('latin-1').replace('"]["', '","'))])


def value_of(redis, key):
    if b':call:' not in key:
        return redis.do('TYPE', key), redis.record(key)
    if redis.do('TYPE', key) == b'string':
        return fields_of(redis.do('GET', key))
    return pairs(redis.do('HGETALL', key))


def test_records_are_moved(make_node, redis, new, tmp_path):
    """Those of kamsyncd's own making, one with all that spoils a name, a claim, a transaction that was taken over, and calls that have
    ended, or that another node has written, too."""
    node, odd = make_node(1), b'*a b{c}"d\'\\e%41:f@\xff'
    shared, ended, talks = b'plain@192.0.2.1', b'ended@192.0.2.1', {}
    ids = [shared, ended, odd, *(b'call-%d' % i for i in range(150))]
    for call_id in ids:
        talk = Talk(call_id=call_id)
        node.kamailio.events(talk.branch_event(), talk.reply_event(180))
        talks[call_id] = talk
    talk = talks[ended]
    node.kamailio.events(talk.answer_event())
    wait_until(lambda: b'"answered"' in (redis.do('GET', f'kamsync:call:{{{ended.decode()}}}:f1') or b''), 20, 'its answer')
    node.kamailio.events(talk.bye_event(0), talk.bye_event(200))
    wait_until(lambda: redis.do('DBSIZE') >= 2 * len(ids) + 4, 20, 'all records, and the archive')
    node.daemon.stop()
    redis.do('SET', 'kamsync:claim:{plain@192.0.2.1}:1:b:h:5060:new', '1 100.1', 'PX', 60000)
    text = fields_of(redis.do('GET', f'kamsync:call:{{{shared.decode()}}}:f1'))
    redis.do('DEL', f'kamsync:call:{{{shared.decode()}}}:f1')
    redis.do('HSET', f'kamsync:call:{{{shared.decode()}}}:f1', *[word for pair in text.items() for word in pair], 'var.raw',
             bytes(range(256)))
    redis.do('PEXPIRE', f'kamsync:call:{{{shared.decode()}}}:f1', 60000)
    assert b'"]["ended"' in redis.do('GET', f'kamsync:call:{{{ended.decode()}}}:f1')
    redis.do('HSET', TAKEN, 'record', '{"epoch":2,"owner":1,"inc":"100.1","from":"1 2 200.1"}')
    redis.do('PEXPIRE', TAKEN, 60000)
    shown = move(redis, new, tmp_path)
    assert {line.split()[1] for line in shown.splitlines()} <= {'OK', *map(str, range(1, 30))}, shown
    old = redis.do('KEYS', 'kamsync:*:{*')
    assert len(old) == 2 * len(ids) + 2 == new.do('DBSIZE')
    for key in old:
        encoded = re.search(rb'\{(.*?)\}', key)[1]
        call_id = re.sub(rb'%(..)', lambda m: bytes.fromhex(m[1].decode()), encoded)
        moved, value = renamed(key, call_id), value_of(redis, key)
        if isinstance(value, dict) and b'tx' in value:
            value[b'tx'] = renamed(value[b'tx'], call_id)
        assert call_id in ids and value_of(new, moved) == value, moved
        assert abs(redis.do('PTTL', key) - new.do('PTTL', moved)) < 20_000, 'the rest of its life'


def test_old_archive_is_exported(make_daemon, make_kamailio, redis, tmp_path):
    """Step 5: a kamsyncd without a Kamailio reads it."""
    for i in range(1, 4):
        redis.do('XADD', 'kamsync:cdr', f'{i}-0', 'call_id', f'c{i}', 'how', 'completed')
    out, control = tmp_path / 'calls.jsonl', tmp_path / 'old.sock'
    daemon = make_daemon(make_kamailio(1), store=redis.url, control=control).start()
    daemon.wait_report(store='up')
    fine(run_ctl('-s', control, 'cdr', '--export', out))
    assert len(out.read_text().splitlines()) == 3
