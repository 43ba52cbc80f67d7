"""A store that Sentinels watch: failovers of every sort, and what is wrong with Sentinels."""
import signal
import time

import pytest

from harness import SLOWER, RedisError, wait_until
from sentinel import NAME, Watched
from sip import Call

REWRITTEN_S = 2.0  # what the new master has missed


@pytest.fixture
def make_watched(tmp_path):
    made = []

    def make(**options):
        made.append(Watched(str(tmp_path), **options))
        return made[-1]
    yield make
    for watched in made:
        watched.stop()


@pytest.fixture
def watched(make_watched):
    return make_watched()


@pytest.fixture
def node(watched, make_node):
    return make_node(1, store=watched.url)


def ring(node, redis, timeout=10):
    """A call whose record gets there."""
    call = Call()
    node.kamailio.events(call.branch_event(), call.reply_event(180))
    wait_until(lambda: has(redis, call), timeout, 'the record')
    return call


def has(redis, call):
    try:
        return redis.do('EXISTS', call.key())
    except (OSError, RedisError):
        return False


def test_failover_by_command(watched, node):
    """The old master is a replica then: kamsyncd leaves it at once, and nothing more is written to it."""
    old = watched.master()
    calls = [ring(node, old) for _ in range(20)]
    new = watched.failover()
    calls.append(ring(node, new))
    wait_until(lambda: all(has(new, call) for call in calls), 5, 'all records at the new master')
    node.daemon.wait_log(f'127.0.0.1:{new.port} (commands): connected')


@pytest.mark.parametrize('end', ['kill', 'stop'])
def test_master_dies(watched, node, end):
    """What an asynchronous replica had not got is written again; and the old one, when it comes back, gets nothing, though it
    thinks itself the master for a while."""
    old = watched.master()
    calls = [ring(node, old) for _ in range(20)]
    old.signal(signal.SIGKILL if end == 'kill' else signal.SIGSTOP)
    lost = Call()
    node.kamailio.events(lost.branch_event(), lost.reply_event(180))
    new = watched.wait_other_master(old)
    for call in [*calls, lost]:
        wait_until(lambda c=call: has(new, c), 5, 'the record at the new master')
    if end == 'kill':
        old.popen.wait()
        old.start()
    else:
        old.signal(signal.SIGCONT)
    wait_until(lambda: watched.is_master(old), 5, 'the old one to be back, and to think itself the master', every=0.01)
    late = ring(node, new)
    assert not has(old, late) and all(has(new, call) for call in [*calls, lost])


def test_replica_that_lags(watched, node):
    """It has missed the last seconds when it becomes the master; they are written again within 2 s."""
    old, replica = watched.master(), watched.replica()
    early = ring(node, old)
    wait_until(lambda: has(replica, early), 5, 'the replica to have it')
    watched.cut_replica()
    missed = [ring(node, old) for _ in range(20)]
    assert not any(has(replica, call) for call in missed)
    old.kill()
    new = watched.wait_other_master(old)
    node.daemon.wait_report(10, store='up')
    since = time.monotonic()
    for call in [early, *missed]:
        wait_until(lambda c=call: has(new, c), 5, 'the record at the new master')
    print(f'rewritten in {time.monotonic() - since:.2f} s')
    assert time.monotonic() - since < REWRITTEN_S * SLOWER


def test_one_sentinel_is_dead(watched, make_node):
    """The first in the list: whoever answers goes to the front."""
    first = watched.sentinels[0]
    first.kill()
    node = make_node(1, store=watched.url)
    ring(node, watched.master())


def test_a_sentinel_hangs(watched, make_node):
    first = watched.sentinels[0]
    first.signal(signal.SIGSTOP)
    begun = time.monotonic()
    node = make_node(1, store=watched.url)
    ring(node, watched.redis[0])
    print(f'{time.monotonic() - begun:.2f} s')
    first.signal(signal.SIGCONT)


def test_sentinels_that_are_not_named_are_learned(watched, make_node):
    """One is named, and dies; the others know the way."""
    first = watched.sentinels[0]
    node = make_node(1, store=f'sentinel://127.0.0.1:{first.port}/{NAME}')
    old = watched.master()
    ring(node, old)
    first.kill()
    old.kill()
    new = watched.wait_other_master(old)
    ring(node, new)


def test_no_sentinel_answers(make_kamailio, make_daemon, watched):
    """Said once, and other than an unknown name."""
    for sentinel in watched.sentinels:
        sentinel.kill()
    daemon = make_daemon(make_kamailio().start(), store=watched.url).start()
    daemon.wait_log('no Sentinel answers; the last one, 127.0.0.1:')
    assert 'the name behind the hosts' not in daemon.log()
    for sentinel in watched.sentinels:
        sentinel.start()
    daemon.wait_report(10, store='up')
    assert daemon.log().count('no Sentinel answers') == 1


def test_unknown_name(make_kamailio, make_daemon, watched):
    daemon = make_daemon(make_kamailio().start(), store=watched.url.replace(NAME, 'other')).start()
    daemon.wait_log("must be that of `sentinel monitor`: 127.0.0.1:")
    daemon.wait_log('does not know: other')
    assert 'no Sentinel answers' not in daemon.log()


@pytest.fixture(scope='module')
def guarded(tmp_path_factory):
    made = Watched(str(tmp_path_factory.mktemp('guarded')), password='their-password')
    yield made
    made.stop()


def password_file(tmp_path, text):
    path = tmp_path / 'sentinel-password'
    path.write_text(text + '\n')
    path.chmod(0o600)
    return path


@pytest.mark.parametrize('password', ['wrong', None])
def test_wrong_password_of_the_sentinels(guarded, make_kamailio, make_daemon, tmp_path, password):
    path = password_file(tmp_path, password) if password else None
    daemon = make_daemon(make_kamailio().start(), store=guarded.url, sentinel_password_file=path).start()
    daemon.wait_log('no Sentinel lets kamsyncd ask (see sentinel_user, sentinel_password_file); 127.0.0.1:')
    daemon.wait_log('AUTH refused: WRONGPASS' if password else 'NOAUTH')
    assert 'no Sentinel answers' not in daemon.log() and 'their-password' not in daemon.log()


def test_password_of_the_sentinels(guarded, make_node, tmp_path):
    node = make_node(1, store=guarded.url, sentinel_password_file=password_file(tmp_path, 'their-password'))
    ring(node, guarded.master())


def test_not_yet_a_master(watched, make_kamailio, make_daemon):
    """The Sentinels name one that is a replica: nothing is written to it, and they are asked again."""
    master = watched.master()
    for sentinel in watched.sentinels[1:]:
        sentinel.kill()  # so that nobody corrects it
    replica = next(r for r in watched.redis if r is not master)
    master.do('REPLICAOF', '127.0.0.1', replica.port)
    kamailio = make_kamailio().start()
    daemon = make_daemon(kamailio, store=watched.url).start()
    daemon.wait_log('not the master any more, or not yet')
    assert ' (commands): connected' not in daemon.log()
    master.do('REPLICAOF', 'NO', 'ONE')
    daemon.wait_report(10, store='up')
    assert daemon.log().count('(commands): not the master') == 1


def test_a_demoted_master_is_left_at_its_first_refusal(watched, node):
    """Nobody has closed the connection: READONLY is enough."""
    old = watched.master()
    ring(node, old)
    for sentinel in watched.sentinels[1:]:
        sentinel.kill()
    replica = next(r for r in watched.redis if r is not old)
    replica.do('REPLICAOF', 'NO', 'ONE')
    old.do('REPLICAOF', '127.0.0.1', replica.port)
    node.daemon.wait_log('redis refuses: READONLY')
    node.daemon.wait_log('not the master any more, or not yet')
    old.do('REPLICAOF', 'NO', 'ONE')
    node.daemon.wait_report(10, store='up')
