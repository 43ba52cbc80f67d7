"""The name of a Redis that has several addresses, of which it listens on one. Each kamsyncd here has a hosts file of its own,
in a mount namespace."""
import os
import shutil
import socket

import pytest

from harness import COMMAND, wait_until
from sip import Call

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which('unshare'), reason='needs root and unshare')


def start(daemon, tmp_path, hosts):
    path = tmp_path / 'hosts'
    path.write_text(hosts)
    daemon.write_config()
    daemon.launch(['unshare', '-m', 'sh', '-c', f'mount --bind {path} /etc/hosts && exec "$@"', 'sh', *COMMAND, '-c',
                   daemon.conf_path])
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
