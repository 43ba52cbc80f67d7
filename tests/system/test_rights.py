"""The rights in Redis that docs/security.md names, word for word: with them a node does all that it does, and with none less."""
import os

import pytest

from conftest import Node
from fake_control import run_ctl
from harness import REPO, wait_until
from lab.proc import each
from redis_cluster import RedisCluster, slot_of
from sentinel import Watched
from sip import Call, open_handover

PASSWORD = 'its-password'


def lines_of_the_page():
    """The commands by their users and rights, without the readers of the archive."""
    with open(os.path.join(REPO, 'docs', 'security.md')) as file:
        found = [line.split() for line in file if line.startswith('    ACL SETUSER kamsync')]
    return {'all': next(words for words in found if '~kamsync:*' in words),
            'database': next(words for words in found if words[3:] == ['+select']),
            'sentinel': next(words for words in found if words[3:] == ['+role']),
            'cluster': next(words for words in found if '+asking' in words),
            'asks': next(words for words in found if words[2] == 'kamsync-asks')}


PAGE = lines_of_the_page()
ASKS = [word for word in PAGE['asks'][3:] if word[0] in '+&']


def allow(redis, words, without=None):
    redis.do(*[word.replace('PASSWORD', PASSWORD) for word in words if word != without])


def denied(redis):
    """What Redis has refused to somebody who is logged in."""
    entries = [dict(zip(entry[::2], entry[1::2])) for entry in redis.do('ACL', 'LOG')]
    return {entry[b'object'].decode() for entry in entries if entry[b'reason'] != b'auth'}


def check_nothing_refused(node, redis):
    assert denied(redis) == set() and 'NOPERM' not in node.daemon.log()


@pytest.fixture
def password(tmp_path):
    path = tmp_path / 'password'
    path.write_text(PASSWORD + '\n')
    path.chmod(0o600)
    return path


@pytest.fixture
def make(make_kamailio, make_daemon, password):
    def start(url, **options):
        kamailio = make_kamailio().start()
        daemon = make_daemon(kamailio, store=url, redis_user='kamsync', redis_password_file=password, heartbeat_ms=100, **options)
        daemon.options['control'] = daemon.control
        return Node(kamailio, daemon.start(), None)
    return start


def why_of_bogus(node):
    """What a CANCEL of no call is given: 'unavailable' if the store was slow."""
    count = len(node.kamailio.of_type('send')) + 1
    node.kamailio.stray(Call().cancel())
    return open_handover(node.kamailio.wait_sends(count)[-1])[0]['why']


def does_all(node, redis):
    """A call is written, looked up, ended and archived; and the doctor has looked at its rights."""
    node.kamailio.wait_hello()
    node.daemon.wait_report(10, store='up')
    call = Call()
    node.kamailio.events(call.branch_event(), call.reply_event(180), call.reply_event(486))
    wait_until(lambda: node.daemon.report()['call_writes'], 10, 'the record of the call')
    wait_until(lambda: why_of_bogus(node) == 'unknown', 10, 'a CANCEL to be looked up in time')
    wait_until(lambda: redis.calls('smembers') > 2 and redis.calls('eval'), 5, 'all that a node does')
    doctor = run_ctl('-s', node.daemon.control, 'doctor').stdout
    assert doctor and 'ACL SETUSER' not in doctor, doctor
    check_nothing_refused(node, redis)


@pytest.mark.parametrize('database', ['', '/3'])
def test_one_redis(redis, make, database):
    allow(redis, PAGE['all'])
    if database:
        allow(redis, PAGE['database'])
    does_all(make(redis.url + database), redis)


@pytest.fixture(scope='module')
def watched(tmp_path_factory):
    made = Watched(str(tmp_path_factory.mktemp('watched')))
    yield made
    made.stop()


def prepare(watched, without=None):
    for redis in watched.redis:
        allow(redis, PAGE['all'])
        allow(redis, PAGE['sentinel'])
        redis.do('ACL', 'LOG', 'RESET')
    for sentinel in watched.sentinels:
        sentinel.do('ACL', 'DELUSER', 'kamsync-asks')
        allow(sentinel, PAGE['asks'], without)
        sentinel.do('ACL', 'LOG', 'RESET')


def test_sentinel(watched, make, password):
    """Also after a failover, of which the Sentinels tell."""
    prepare(watched)
    node = make(watched.url, sentinel_user='kamsync-asks', sentinel_password_file=password)
    does_all(node, watched.master())
    new = watched.failover()
    node.daemon.wait_log(f':{new.port} (commands): connected', 10)
    node.daemon.wait_log('there is another master')
    assert all(denied(each) == set() for each in (*watched.redis, *watched.sentinels))


@pytest.mark.parametrize('right', ASKS)
def test_each_right_at_the_sentinels_is_needed(watched, make, password, right):
    prepare(watched, right)
    node = make(watched.url, sentinel_user='kamsync-asks', sentinel_password_file=password)
    wait_until(lambda: any(denied(each) for each in watched.sentinels), 10, 'the Sentinels to refuse')
    assert node.daemon.running


@pytest.fixture
def cluster(tmp_path):
    """In each node of which the rights are given."""
    made = RedisCluster(str(tmp_path))
    try:
        for member in made.members:
            allow(member, PAGE['all'])
            allow(member, PAGE['cluster'])
        yield made
    finally:
        made.stop()


class AllMembers:
    """A Redis Cluster as does_all() asks a Redis."""

    def __init__(self, cluster):
        self.members = cluster.members

    def do(self, *words):
        return [entry for member in self.members for entry in member.do(*words)]

    def calls(self, command):
        return sum(member.calls(command) for member in self.members)


def test_records_in_all_slots(cluster, make):
    node = make(cluster.url)
    node.kamailio.wait_hello()
    node.daemon.wait_report(10, store='up')
    calls = [Call() for _ in range(20)]
    for call in calls:
        node.kamailio.events(call.branch_event(), call.reply_event(180), call.reply_event(486))
    wait_until(lambda: each(calls, lambda call: cluster.has(call.key(True))), 10, 'the records')
    wait_until(lambda: cluster.keys('kamsync:*:cdr'), 10, 'the archive')
    check_nothing_refused(node, AllMembers(cluster))
    node.daemon.stop()


def test_redis_cluster(cluster, make):
    """Also while a slot moves, and when the archives are read as one."""
    node = make(cluster.url)
    does_all(node, AllMembers(cluster))
    call = Call()
    slot = slot_of(call.key(True))
    cluster.begin_move(slot, next(m for m in cluster.masters if m is not cluster.owner(slot)))
    node.kamailio.events(call.branch_event())
    wait_until(lambda: AllMembers(cluster).calls('asking'), 5, 'a record to go where the slot goes')
    done = run_ctl('-s', node.daemon.control, 'cdr')
    assert done.returncode == 0, done.stderr
    check_nothing_refused(node, AllMembers(cluster))
    node.daemon.stop()
