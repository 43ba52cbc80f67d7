"""The name of a Redis that has several addresses, of which it listens on one; names that nobody answers for. Each kamsyncd here
has a hosts file of its own, in a mount namespace."""
import os
import shutil
import socket
import time

import pytest

from harness import COMMAND, SLOWER, wait_until
from sentinel import Watched
from sip import Call

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('unshare'), reason='needs root and unshare')


def start(daemon, tmp_path, hosts, resolv=''):
    mounts = ''
    for name, text in (('hosts', hosts), ('resolv.conf', resolv)):
        (tmp_path / name).write_text(text)
        mounts += f'mount --bind {tmp_path / name} /etc/{name} && '
    daemon.write_config()
    daemon.launch(['unshare', '-m', 'sh', '-c', f'{mounts}exec "$@"', 'sh', *COMMAND, '-c', daemon.conf_path])
    daemon.wait_log(' started: ', 10)


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(('::1', 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason='needs ::1, which stands before all of IPv4')


@pytest.mark.parametrize('hosts', [
    pytest.param('127.0.0.3 {0}\n127.0.0.2 {0}\n127.0.0.1 {0}\n', id='IPv4'),
    pytest.param('127.0.0.1 {0}\n127.0.0.2 {0}\n127.0.0.3 {0}\n', id='the last'),
    pytest.param('::1 {0}\n127.0.0.1 {0}\n', id='IPv6', marks=needs_ipv6),
])
@pytest.mark.parametrize('name', ['localhost', 'redis.example'])
def test_every_address_is_tried(tmp_path, kamailio, make_daemon, redis, hosts, name):
    """Also when Redis comes back."""
    daemon = make_daemon(kamailio, store=f'redis://{name}:{redis.port}')
    start(daemon, tmp_path, hosts.format(name))
    kamailio.wait_hello()
    daemon.wait_report(10, store='up', kamailio='up')
    for _ in range(2):
        call = Call()
        kamailio.events(call.branch_event())
        wait_until(lambda: redis.do('EXISTS', call.key()), 10, 'the record')
        redis.restart()
        daemon.wait_report(10, store='up')


@needs_ipv6
def test_address_that_says_nothing(tmp_path, kamailio, make_daemon, redis):
    """It takes the connection, as a full queue of one that hangs does, and then nothing comes."""
    with socket.socket(socket.AF_INET6) as mute:
        mute.bind(('::1', redis.port))
        mute.listen(8)
        daemon = make_daemon(kamailio, store=f'redis://redis.example:{redis.port}', redis_timeout_ms=300)
        start(daemon, tmp_path, '::1 redis.example\n127.0.0.1 redis.example\n')
        daemon.wait_report(10, store='up')


@pytest.fixture
def mute_resolver():
    """resolv.conf with a name server that says nothing, for 3 s."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(('127.0.0.99', 53))
        yield 'nameserver 127.0.0.99\noptions timeout:3 attempts:1\n'


def test_a_mute_name_server_does_not_delay_the_other_sentinels(tmp_path, kamailio, make_daemon, mute_resolver):
    watched = Watched(str(tmp_path))
    try:
        others = watched.url[len('sentinel://'):]
        daemon = make_daemon(kamailio, store=f'sentinel://s1.example,s2.example,{others}')
        begun = time.monotonic()
        start(daemon, tmp_path, '', mute_resolver)
        daemon.wait_report(10, store='up')
        print(f'{time.monotonic() - begun:.2f} s')
        assert time.monotonic() - begun < 2 * SLOWER, 'less than a look-up takes'
        daemon.stop()
    finally:
        watched.stop()


def test_a_mute_name_server_is_named(tmp_path, kamailio, make_daemon, mute_resolver):
    daemon = make_daemon(kamailio, store='redis://redis.example', redis_timeout_ms=200)
    start(daemon, tmp_path, '', mute_resolver)
    daemon.wait_log('its name is still being looked up: is the name server (/etc/resolv.conf) slow or away?')
    assert daemon.report()['store'] == 'down'
