"""How a store is named: what --check says, a Unix socket, and user and password in the URL."""
import os

import pytest

from harness import check_settings, wait_until
from sip import Call
from test_names import needs_ipv6

PASSWORD = 'p@ss/w:rd% 1'
ENCODED = 'p%40ss%2Fw%3Ard%25%201'


def works(node, redis):
    """It writes a call's record there."""
    node.wait_hello()
    call = Call()
    node.events(call.branch_event())
    wait_until(lambda: redis.do('EXISTS', call.key()), 10, 'the record')


@pytest.mark.parametrize('name', ['redis.sock', 'a@b%d%40'])
def test_unix_socket(tmp_path, make_redis, kamailio, make_daemon, name):
    """Also when Redis comes back. A path is what it is: nothing in it stands for a byte, or is a password."""
    path = tmp_path / name
    redis = make_redis(unixsocket=path)
    daemon = make_daemon(kamailio, store=f'unix://{path}').start()
    works(kamailio, redis)
    daemon.wait_log(f'store=unix://{path}')
    daemon.wait_log(f'redis {path} (commands): connected')
    redis.restart()
    works(kamailio, redis)


@pytest.fixture
def secret_conf(make_daemon, kamailio):
    """A node whose settings nobody else may read."""
    def make(store, **options):
        daemon = make_daemon(kamailio, store=store, **options)
        daemon.write_config()
        os.chmod(daemon.conf_path, 0o600)
        return daemon.start()
    return make


def test_user_and_password_in_the_url(make_redis, secret_conf, kamailio):
    redis = make_redis()
    redis.do('ACL', 'SETUSER', 'kam@sync', 'on', f'>{PASSWORD}', '~kamsync:*', '&kamsync:*', '+@all')
    redis.do('ACL', 'SETUSER', 'default', 'resetpass', '>another')
    redis.auth = ['another']
    daemon = secret_conf(f'redis://kam%40sync:{ENCODED}@127.0.0.1:{redis.port}')
    works(kamailio, redis)
    assert f'store=redis://127.0.0.1:{redis.port}' in daemon.log()
    assert 'p@ss' not in daemon.log() and 'p%40ss' not in daemon.log()


def test_password_alone(make_redis, secret_conf, kamailio):
    redis = make_redis(requirepass=PASSWORD)
    redis.auth = [PASSWORD]
    secret_conf(f'redis://:{ENCODED}@127.0.0.1:{redis.port}/3').wait_report(store='up')


def test_user_in_the_url_and_password_in_a_file(tmp_path, make_redis, make_daemon, kamailio):
    redis = make_redis()
    redis.do('ACL', 'SETUSER', 'kamsync', 'on', '>its-password', '~kamsync:*', '&kamsync:*', '+@all')
    redis.do('ACL', 'SETUSER', 'default', 'resetpass', '>another')
    redis.auth = ['another']
    (tmp_path / 'password').write_text('its-password\n')
    (tmp_path / 'password').chmod(0o600)
    make_daemon(kamailio, store=f'redis://kamsync@127.0.0.1:{redis.port}', redis_password_file=tmp_path / 'password').start()
    works(kamailio, redis)


@needs_ipv6
def test_ipv6_address(make_redis, make_daemon, kamailio):
    redis = make_redis(bind='127.0.0.1 ::1')
    make_daemon(kamailio, store=f'redis://[::1]:{redis.port}').start()
    works(kamailio, redis)


@pytest.mark.parametrize('store, said', [
    ('redis://192.0.2.1:x', "store: its port 'x' must be a number from 1 to 65535, as in redis://192.0.2.100:6379"),
    ('redis://u:geheim/x@192.0.2.1', "store: its password has a '/', which must be written %2F, as in redis://"),
    ('192.0.2.1:6379', 'store: it begins with no known word: write one of memory://, redis://192.0.2.100:6379,'),
    ('cluster://192.0.2.1/1', "store: its path '/1' must be empty: a Redis Cluster has one database, as in cluster://"),
])
def test_what_check_says(tmp_path, store, said):
    """All errors: tests/unit/test_store_name.c."""
    path = tmp_path / 'kamsyncd.conf'
    path.write_text(f'store = {store}\n')
    run = check_settings(path)
    assert run.returncode == 1 and run.stderr.startswith(f'kamsyncd: {path}: {said}'), run.stderr
    assert 'geheim' not in run.stderr
