"""TLS to Redis and to Sentinels, with certificates of its own; and the way out where hiredis has none (Debian 12)."""
import os
import shutil
import subprocess

import pytest

from harness import Process, check_settings, free_port, wait_until
from sentinel import Watched
from sip import Call
from test_store_url import works


@pytest.fixture(scope='module')
def certificates(tmp_path_factory):
    if not shutil.which('openssl'):
        pytest.skip('openssl is not there')
    return Certificates(tmp_path_factory.mktemp('certificates'))


class Certificates:
    """Two CAs; of the first one a certificate for this host, one that has expired, one for another name, one of a client."""

    def __init__(self, directory):
        self.directory = directory
        for ca in ('ca', 'other-ca'):
            self.openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj',
                         f'/CN={ca}', '-days', '2', '-keyout', f'{ca}.key', '-out', f'{ca}.crt')
        self.sign('good', 'IP:127.0.0.1,DNS:redis.example')
        self.sign('another', 'DNS:another.example,IP:192.0.2.1')
        self.sign('client', 'DNS:kamsync')

    def openssl(self, *args):
        subprocess.run(['openssl', *args], cwd=self.directory, check=True, capture_output=True)

    def sign(self, name, alternatives, *dates):
        (self.directory / f'{name}.ext').write_text(f'subjectAltName={alternatives}\n')
        self.openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-subj', f'/CN={name}',
                     '-keyout', f'{name}.key', '-out', f'{name}.csr')
        self.openssl('x509', '-req', '-in', f'{name}.csr', '-CA', 'ca.crt', '-CAkey', 'ca.key', '-CAcreateserial',
                     '-extfile', f'{name}.ext', '-out', f'{name}.crt', *(dates or ('-days', '2')))
        (self.directory / f'{name}.key').chmod(0o600)

    def expired(self):
        self.sign('expired', 'IP:127.0.0.1', '-not_before', '20200101000000Z', '-not_after', '20200102000000Z')
        return 'expired'

    def path(self, name):
        return self.directory / name

    def server(self, name, clients='no'):
        return {'tls_cert_file': self.path(f'{name}.crt'), 'tls_key_file': self.path(f'{name}.key'),
                'tls_ca_cert_file': self.path('ca.crt'), 'tls_auth_clients': clients}


@pytest.fixture(scope='module')
def tls(tmp_path_factory):
    path = tmp_path_factory.mktemp('check') / 'kamsyncd.conf'
    path.write_text('store = rediss://127.0.0.1\n')
    if 'has no TLS' in check_settings(path).stderr:
        pytest.skip('this kamsyncd has no TLS: hiredis before 1.0')


@pytest.fixture
def make_tls_redis(make_redis, certificates):
    def make(name='good', clients='no'):
        redis = make_redis(tls_port=free_port(), **certificates.server(name, clients))
        redis.tls_url = f'rediss://127.0.0.1:{redis.options["tls_port"]}'
        return redis
    return make


@pytest.fixture
def start(make_daemon, kamailio, certificates):
    def make(store, **options):
        return make_daemon(kamailio, **{'store': store, 'redis_ca_file': certificates.path('ca.crt'), **options}).start()
    return make


def test_records_over_tls(tls, make_tls_redis, start, kamailio):
    """Also when Redis comes back; and many at once, which are more than one TLS record."""
    redis = make_tls_redis()
    daemon = start(redis.tls_url)
    works(kamailio, redis)
    redis.restart()
    works(kamailio, redis)
    calls = [Call() for _ in range(300)]
    for first in range(0, len(calls), 20):
        kamailio.events(*[call.branch_event() for call in calls[first:first + 20]])
    for call in calls:
        wait_until(lambda c=call: redis.do('EXISTS', c.key()), 10, 'the record')
    assert 'no answer in time' not in daemon.log()


@pytest.mark.parametrize('server, options, said', [
    ('expired', {}, 'its certificate has expired'),
    ('another', {}, 'its certificate is for another name: see redis_server_name'),
    ('good', {'redis_server_name': 'another.example'}, 'its certificate is for another name: see redis_server_name'),
    ('good', {'redis_ca_file': 'other-ca.crt'}, 'its certificate is signed by nobody who is trusted here: see redis_ca_file'),
    ('good', {'redis_ca_file': None}, 'its certificate is signed by nobody who is trusted here: see redis_ca_file'),
])
def test_what_is_wrong_with_its_certificate(tls, make_tls_redis, start, certificates, server, options, said):
    redis = make_tls_redis(certificates.expired() if server == 'expired' else server)
    if options.get('redis_ca_file'):
        options = {'redis_ca_file': certificates.path(options['redis_ca_file'])}
    daemon = start(redis.tls_url, **options)
    daemon.wait_log(f'trying again for ever: {said}')
    assert 'connected' not in daemon.log() and redis.transactions() == []


@pytest.mark.parametrize('name', ['redis.example', '127.0.0.1'])
def test_server_name(tls, make_tls_redis, start, name):
    start(make_tls_redis().tls_url, redis_server_name=name).wait_report(store='up')


def test_a_client_needs_a_certificate(tls, make_tls_redis, start, certificates, make_daemon, make_kamailio):
    redis = make_tls_redis(clients='yes')
    start(redis.tls_url).wait_log('see redis_cert_file')
    daemon = make_daemon(make_kamailio(2).start(), store=redis.tls_url, redis_ca_file=certificates.path('ca.crt'),
                         redis_cert_file=certificates.path('client.crt'), redis_key_file=certificates.path('client.key')).start()
    daemon.wait_report(store='up')


def test_new_files_need_no_restart(tls, tmp_path, make_tls_redis, start, certificates, kamailio):
    """A new connection reads those that have changed; and if they do not fit yet, it uses the ones before."""
    def put(name, source):
        (tmp_path / 'new').write_bytes(certificates.path(source).read_bytes())
        (tmp_path / 'new').chmod(0o600)
        (tmp_path / 'new').rename(tmp_path / name)
    redis = make_tls_redis(clients='yes')
    certificates.sign('renewed', 'DNS:kamsync')
    put('crt', 'client.crt')
    put('key', 'client.key')
    daemon = start(redis.tls_url, redis_cert_file=tmp_path / 'crt', redis_key_file=tmp_path / 'key')
    daemon.wait_report(store='up')
    put('crt', 'renewed.crt')
    redis.restart()
    daemon.wait_log(f"files of TLS have changed, and the ones before stay in use: redis_key_file: '{tmp_path}/key'")
    daemon.wait_log('(commands): connected', count=2)
    put('key', 'renewed.key')
    redis.restart()
    daemon.wait_log('files of TLS have changed, and are in use')
    works(kamailio, redis)
    assert daemon.log().count('files of TLS') == 2


def test_another_ca_needs_no_restart(tls, tmp_path, make_tls_redis, start, certificates, kamailio):
    redis, ca = make_tls_redis(), tmp_path / 'ca.crt'
    ca.write_bytes(certificates.path('other-ca.crt').read_bytes())
    daemon = start(redis.tls_url, redis_ca_file=ca)
    daemon.wait_log('signed by nobody who is trusted here')
    ca.write_bytes(certificates.path('ca.crt').read_bytes())
    works(kamailio, redis)


def test_no_tls_there(tls, make_tls_redis, start):
    """Redis' port without TLS; it may wait for the end of what it takes for a line."""
    redis = make_tls_redis()
    daemon = start(f'rediss://127.0.0.1:{redis.port}', redis_timeout_ms=300)
    wait_until(lambda: 'it speaks no TLS' in daemon.log() or 'no answer in time' in daemon.log(), 5, 'what is wrong')
    assert 'connected' not in daemon.log()


def test_without_tls_where_it_is_needed(make_tls_redis, start):
    redis = make_tls_redis()
    daemon = start(redis.tls_url.replace('rediss', 'redis'), redis_ca_file=None)
    daemon.wait_log('cannot connect')
    assert ': connected' not in daemon.log()


def test_sentinels_over_tls(tls, tmp_path, certificates, make_node):
    """All of them, and what they name."""
    watched = Watched(str(tmp_path), tls=certificates.server('good'))
    try:
        node = make_node(1, store=watched.url.replace('sentinel://', 'rediss+sentinel://'),
                         redis_ca_file=certificates.path('ca.crt'))
        works(node.kamailio, watched.master())
        works(node.kamailio, watched.failover())
    finally:
        node.daemon.stop()
        watched.stop()


def test_certificate_of_a_sentinel_is_checked(tls, tmp_path, certificates, make_daemon, kamailio):
    watched = Watched(str(tmp_path), tls=certificates.server('good'))
    try:
        daemon = make_daemon(kamailio, store=f'rediss+sentinel://{watched.url[len("sentinel://"):]}',
                             redis_ca_file=certificates.path('other-ca.crt')).start()
        daemon.wait_log('signed by nobody who is trusted here')
        assert 'connected' not in daemon.log()
        daemon.stop()
    finally:
        watched.stop()


@pytest.mark.parametrize('lines, said', [
    ('redis_ca_file = /nowhere/ca.crt', "redis_ca_file: '/nowhere/ca.crt': No such file"),
    ('redis_cert_file = {good.crt}', 'redis_cert_file and redis_key_file need each other'),
    ('redis_cert_file = {good.crt}\nredis_key_file = {client.key}', "redis_key_file: '"),
    ('redis_cert_file = {good.key}\nredis_key_file = {good.key}', "redis_cert_file: '"),
    ('redis_cert_file = {good.crt}\nredis_key_file = /nowhere/key', "redis_key_file: cannot read '/nowhere/key'"),
])
def test_check_reads_the_files(tls, tmp_path, certificates, lines, said):
    for name in ('good.crt', 'good.key', 'client.key'):
        lines = lines.replace(f'{{{name}}}', str(certificates.path(name)))
    path = tmp_path / 'kamsyncd.conf'
    path.write_text(f'store = rediss://h\n{lines}\n')
    run = check_settings(path)
    assert run.returncode == 1 and said in run.stderr, run.stderr


def test_options_of_tls_without_tls(tmp_path):
    path = tmp_path / 'kamsyncd.conf'
    path.write_text('store = redis://h\nredis_ca_file = /etc/ssl/certs/ca.crt\n')
    assert 'are for TLS: a store like rediss://redis.example.com' in check_settings(path).stderr


def test_without_tls_it_names_the_way_out(tmp_path):
    path = tmp_path / 'kamsyncd.conf'
    path.write_text('store = rediss://h\n')
    run = check_settings(path)
    if 'has no TLS' not in run.stderr:
        pytest.skip('this kamsyncd has TLS')
    assert run.returncode == 1 and 'Debian 13' in run.stderr and 'stunnel' in run.stderr


def stunnel_example():
    """As docs/operate.md has it."""
    with open(os.path.join(os.path.dirname(__file__), '..', '..', 'docs', 'operate.md')) as f:
        text = f.read()
    lines = text[text.index('    [redis]\n'):].splitlines()
    return [line.strip() for line in lines[:lines.index('')]]


def test_stunnel(tmp_path, make_tls_redis, start, certificates, kamailio):
    if not shutil.which('stunnel4'):
        pytest.skip('stunnel4 is not there')
    redis, port = make_tls_redis(), free_port()
    values = {'accept': f'127.0.0.1:{port}', 'connect': f'127.0.0.1:{redis.options["tls_port"]}',
              'CAfile': certificates.path('ca.crt'), 'checkHost': 'redis.example'}
    lines = [' = '.join([key, str(values.get(key, value))]) if value else key
             for key, _, value in (line.partition(' = ') for line in stunnel_example())]
    assert set(values) <= {line.split(' = ')[0] for line in lines}
    (tmp_path / 'stunnel.conf').write_text('\n'.join(['foreground = yes', 'pid =', *lines]) + '\n')
    stunnel = Process('stunnel', str(tmp_path))
    stunnel.launch(['stunnel4', tmp_path / 'stunnel.conf'])
    try:
        start(f'redis://127.0.0.1:{port}', redis_ca_file=None)
        works(kamailio, redis)
    finally:
        stunnel.kill()
