"""Start, reconnect, reload, end."""
import os
import signal
import subprocess
import time

import pytest

from conftest import wait_met
from harness import COMMAND, SANITIZERS, SECRET, SLOWER, wait_until
from sip import Call, key_of


def test_kamailio_comes_later(make_kamailio, make_daemon):
    kamailio = make_kamailio()
    daemon = make_daemon(kamailio).start()
    daemon.wait_log('trying again for ever')
    kamailio.start()
    hello = kamailio.wait_hello()
    assert set(hello) == {'t', 'tag'} and hello['tag'].startswith('kamsync-')
    assert kamailio.keys() == [key_of(SECRET), '']
    daemon.wait_log(f'Kamailio is node 1 at 192.0.2.1:5060, incarnation {kamailio.inc}')
    daemon.wait_report(kamailio='up', node=1, link_ups=1)


def test_kamailio_restarts_again_and_again(kamailio, make_daemon):
    daemon = make_daemon(kamailio).start()
    for count in range(1, 5):
        kamailio.wait_hello(count=count)
        daemon.wait_log(f'incarnation {kamailio.inc}{": restarted" if count > 1 else ""}')
        kamailio.restart()
    tags = {f['tag'] for f in kamailio.of_type('hello')}
    assert len(tags) >= 4, 'each connection has a tag of its own'


def test_long_absence(kamailio, make_daemon):
    daemon = make_daemon(kamailio).start()
    daemon.wait_report(kamailio='up')
    kamailio.stop()
    daemon.wait_log('Kamailio is away')
    daemon.wait_report(kamailio='down')
    time.sleep(1.5)  # not a guess: long enough for the backoff to reach its longest step
    kamailio.start()
    begun = time.monotonic()
    kamailio.wait_hello(count=2)
    print(f'back after {time.monotonic() - begun:.3f} s')
    assert time.monotonic() - begun < 2 * SLOWER
    assert daemon.log().count('trying again for ever') <= 3, 'one line per loss, not one per attempt'


def test_backoff_when_kamailio_closes_at_once(kamailio, make_daemon):
    """evapi does that when it has as many clients as it may have (max_clients)."""
    kamailio.accepts = False
    daemon = make_daemon(kamailio).start()
    wait_until(lambda: len(kamailio.connects) >= 8, 10, '8 connections')
    took = kamailio.connects[7] - kamailio.connects[0]
    print(f'8 attempts took {took:.3f} s')
    assert took > 0.5, 'the waits between attempts must grow'
    assert daemon.log().count('trying again for ever') <= 3
    kamailio.accepts = True
    daemon.wait_report(kamailio='up')


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_end_without_kamailio(make_kamailio, make_daemon, number):
    daemon = make_daemon(make_kamailio()).start()
    daemon.signal(number)
    assert daemon.wait_exit(10) < 2 * SLOWER
    assert 'stopped' in daemon.log()


def test_end_writes_what_is_unwritten(kamailio, redis, make_daemon):
    daemon = make_daemon(kamailio, store=redis.url, redis_timeout_ms=60000).start()
    daemon.wait_report(kamailio='up', store='up')
    redis.signal(signal.SIGSTOP)
    kamailio.events(*[Call().branch_event() for _ in range(100)])
    kamailio.wait_frame('ack', events=1)
    daemon.signal(signal.SIGTERM)
    daemon.wait_log('stopping')
    redis.signal(signal.SIGCONT)
    assert daemon.wait_exit(10) < 2 * SLOWER
    assert len(redis.transactions()) == 100


@pytest.mark.parametrize('loss', ['never there', 'killed', 'hung'])
def test_end_without_redis(kamailio, redis, make_daemon, loss):
    if loss == 'never there':
        redis.kill()
    daemon = make_daemon(kamailio, store=redis.url).start()
    if loss != 'never there':
        daemon.wait_report(kamailio='up', store='up')
        redis.signal(signal.SIGKILL if loss == 'killed' else signal.SIGSTOP)
    kamailio.wait_hello()
    kamailio.events(Call().branch_event())
    daemon.wait_report(events_branch=1)
    daemon.signal(signal.SIGTERM)
    took = daemon.wait_exit(10)
    print(f'ended after {took:.3f} s')
    assert took < 2.5 * SLOWER


def test_end_with_strays_under_way(kamailio, redis, make_daemon):
    """The link is closed by then; their fallback falls due while the store is still waited for."""
    daemon = make_daemon(kamailio, store=redis.url, redis_timeout_ms=60000).start()
    daemon.wait_report(kamailio='up', store='up')
    redis.signal(signal.SIGSTOP)
    kamailio.events(Call().branch_event())
    kamailio.wait_frame('ack', events=1)
    for _ in range(20):
        kamailio.stray(Call().cancel())
    wait_until(lambda: kamailio.of_type('ack')[-1]['strays'] == 20, 5, 'the strays were read')
    daemon.signal(signal.SIGTERM)
    took = daemon.wait_exit(10)
    print(f'ended after {took:.3f} s')
    assert took < 4 * SLOWER


def test_end_amid_events(kamailio, make_daemon):
    """A frame that arrives together with the signal asks for an ack on a link that is closed."""
    for _ in range(3):
        daemon = make_daemon(kamailio).start()
        daemon.wait_report(kamailio='up')
        daemon.signal(signal.SIGSTOP)
        for _ in range(10):
            kamailio.events(Call().branch_event())
            kamailio.stray(Call().cancel())
        daemon.signal(signal.SIGTERM)
        daemon.signal(signal.SIGCONT)
        daemon.wait_exit(10)


def test_second_signal_ends_at_once(kamailio, redis, make_daemon):
    daemon = make_daemon(kamailio, store=redis.url, redis_timeout_ms=60000).start()
    daemon.wait_report(kamailio='up', store='up')
    redis.signal(signal.SIGSTOP)
    kamailio.events(Call().branch_event())
    kamailio.wait_frame('ack', events=1)
    daemon.signal(signal.SIGTERM)
    daemon.wait_log('stopping')
    daemon.signal(signal.SIGTERM)
    took = daemon.wait_exit(10)
    print(f'ended after {took:.3f} s')
    assert took < 1 * SLOWER


def test_reload_takes_new_values(kamailio, make_daemon, tmp_path):
    daemon = make_daemon(kamailio, log_level='error').start_quietly()
    kamailio.wait_hello()
    (tmp_path / 'old').write_text(SECRET)
    (tmp_path / 'old').chmod(0o400)
    daemon.write_secret('another-secret-of-the-cluster')
    daemon.reload(old_secret_file=tmp_path / 'old', log_level='info')
    kamailio.wait_frame('keys')
    assert kamailio.keys() == [key_of('another-secret-of-the-cluster'), key_of(SECRET)]
    daemon.wait_log('settings reloaded')
    daemon.wait_report(kamailio='up')
    assert len(kamailio.connects) == 1, 'a reload must not break the connection'


@pytest.mark.parametrize('change, words', [
    ({'lookup_ms': 'x'}, ['lookup_ms', "'x'"]),
    ({'log_level': 'loud'}, ['log_level']),
    ({'secret_file': '/nowhere'}, ['secret_file', '/nowhere']),
    ({'kamailio': '127.0.0.1:1'}, ["'kamailio' needs a restart"]),
    ({'store': 'redis://127.0.0.1:1'}, ["'store' needs a restart"]),
    ({'redis_timeout_ms': 500}, ["'redis_timeout_ms' needs a restart"]),
])
def test_reload_refuses(kamailio, make_daemon, change, words):
    daemon = make_daemon(kamailio).start()
    daemon.wait_report(kamailio='up')
    good = dict(daemon.options)
    daemon.write_secret('a-secret-that-must-not-be-taken')
    daemon.reload(**change)
    daemon.wait_log('reload refused, the old settings stay')
    for word in words:
        daemon.wait_log(word)
    assert not kamailio.of_type('keys') and kamailio.key() == key_of(SECRET), 'nothing of refused settings may be used'
    daemon.options = good
    daemon.reload()
    daemon.wait_log('settings reloaded')
    kamailio.wait_frame('keys')
    assert kamailio.key() == key_of('a-secret-that-must-not-be-taken')


def test_reload_while_kamailio_is_away(make_kamailio, make_daemon):
    kamailio = make_kamailio()
    daemon = make_daemon(kamailio).start()
    daemon.write_secret('another-secret-of-the-cluster')
    daemon.reload()
    daemon.wait_log('settings reloaded')
    kamailio.start()
    daemon.wait_report(kamailio='up')
    assert kamailio.key() == key_of('another-secret-of-the-cluster')


def test_nobody_reads_the_log(kamailio, make_daemon):
    """A pipe that is full must not stop kamsyncd; what did not go into it is counted."""
    daemon = make_daemon(kamailio, log_level='debug', lookup_ms=0)
    daemon.write_config()
    ours, theirs = os.pipe()
    daemon.popen = subprocess.Popen([*COMMAND, '-c', daemon.conf_path], stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
                                    env={**SANITIZERS, **os.environ})
    os.close(theirs)
    kamailio.wait_frame('ping')  # it has taken our hello
    for number in range(3000):
        kamailio.stray(Call().cancel())
        if number % 100 == 0:
            time.sleep(0.12)  # so that there are lines to write each second
    kamailio.wait_sends(3000, timeout=30)
    os.set_blocking(ours, False)
    text, deadline = b'', time.monotonic() + 10
    while b'lines of the log are lost: nobody read them' not in text:
        assert time.monotonic() < deadline, text[-1000:]
        kamailio.stray(Call().cancel())
        time.sleep(0.05)
        try:
            text += os.read(ours, 1 << 20)
        except BlockingIOError:
            pass
    daemon.signal(signal.SIGTERM)
    assert daemon.popen.wait(20) == 0
    os.close(ours)


def test_idle_it_sleeps(make_node):
    """Twice a second it probes the other node, with that come beats and more; and their answers wake it."""
    a, b = (make_node(number, heartbeat_ms=1000, node_ttl_ms=3000) for number in (1, 2))
    wait_met(a, b)
    before = a.daemon.sleeps()
    time.sleep(3)
    assert 6 <= a.daemon.sleeps() - before <= 3 * 12
