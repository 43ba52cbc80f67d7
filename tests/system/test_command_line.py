"""What kamsyncd says before it runs: help, version, and what is wrong with the settings."""
import os
import pathlib
import pwd
import re

import pytest

from harness import REPO, SECRET, check_settings, known_options, run_kamsyncd

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason='needs root, to give it up')


def options_in_the_code():
    text = (pathlib.Path(REPO) / 'daemon' / 'config.c').read_text()
    table = text[text.index('options[] = {'):text.index('#define OPTION_COUNT')]
    return re.findall(r'(?:TEXT\(|NUMBER\(|\{")\s*(\w+)', table)


@pytest.fixture
def check(tmp_path):
    """Writes a settings file and lets kamsyncd check it."""
    def run(text, *user):
        path = tmp_path / 'kamsyncd.conf'
        path.write_text(text)
        return check_settings(path, *user)
    return run


@pytest.fixture
def secret_line(tmp_path):
    (tmp_path / 'secret').write_text(SECRET + '\n')
    (tmp_path / 'secret').chmod(0o400)
    return f'secret_file = {tmp_path}/secret\n'


def refused(result, *words):
    """Exit status 1, one line on stderr, and these words in it."""
    assert result.returncode == 1, result
    assert len(result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert str(word) in result.stderr


def test_help_names_every_option():
    result = run_kamsyncd('--help')
    assert result.returncode == 0 and not result.stderr
    assert known_options() == options_in_the_code()
    assert {'kamailio', 'store', 'secret_file', 'lookup_ms', 'tx_max_s'} <= set(known_options())


def test_version():
    result = run_kamsyncd('--version')
    assert result.returncode == 0 and re.fullmatch(r'kamsyncd \d+\.\d+\.\d+\n', result.stdout)


@pytest.mark.parametrize('args', [['--nonsense'], ['-x'], ['-c'], ['surplus'], ['--user', 'root']])
def test_bad_command_line(args):
    result = run_kamsyncd(*args)
    assert result.returncode == 2 and 'kamsyncd --help' in result.stderr


@pytest.mark.parametrize('text', [
    '',
    '# only a comment\n',
    'kamailio = 127.0.0.1:9000\nlog_level = debug\n',
    '[kamsync]\nkamailio = [::1]:9000\n',
    'lookup_ms = 0\nstore_wait_ms = 290\ntx_ttl_s = 86400\n',
])
def test_good_settings(check, text):
    result = check(text)
    assert result.returncode == 0, result
    assert 'kamsyncd.conf: good' in result.stdout and not result.stderr


@pytest.mark.parametrize('url', ['redis://127.0.0.1', 'redis://127.0.0.1:6380', 'redis://[::1]:6379/15',
                                 'redis://redis.example/0'])
def test_good_store(check, secret_line, url):
    assert check(f'{secret_line}store = {url}\n').returncode == 0


@pytest.mark.parametrize('url', ['redis:/127.0.0.1', 'redis://', 'http://127.0.0.1', 'redis://h:0', 'redis://h:65536',
                                 'redis://h:port', 'redis://h/x', 'redis://h/-1', 'redis://h:1/2/3', 'memory', ''])
def test_bad_store(check, secret_line, url):
    refused(check(f'{secret_line}store = {url}\n'), 'kamsyncd.conf', ': store: ')


@pytest.mark.parametrize('address', ['localhost:8448', '127.0.0.1', '127.0.0.1:0', '127.0.0.1:65536', '::1:8448',
                                     '127.0.0.1:84x', ''])
def test_bad_kamailio(check, address):
    refused(check(f'kamailio = {address}\n'), 'kamsyncd.conf', 'kamailio', f"'{address}'")


@pytest.mark.parametrize('option, value', [
    ('lookup_ms', '281'), ('lookup_ms', '-1'), ('node_ttl_ms', 'soon'), ('store_wait_ms', '9'),
    ('tx_ttl_s', '300s'), ('done_ttl_s', ''), ('heartbeat_ms', '99999999999999999999'), ('tx_max_s', '1e3'),
    ('redis_timeout_ms', '99')])
def test_bad_number(check, option, value):
    refused(check(f'{option} = {value}\n'), 'kamsyncd.conf', option, f"'{value}'", 'whole number from')


def test_ttl_must_be_twice_the_heartbeat(check):
    refused(check('heartbeat_ms = 1000\nnode_ttl_ms = 1999\n'), 'node_ttl_ms', 'heartbeat_ms')


@pytest.mark.parametrize('text, words', [
    ('no_such = 1\n', ["'no_such'", '--help']),
    ('[other]\nname = x\n', ['[other]']),
    ('log_level = loud\n', ['log_level', "'loud'"]),
    ('name = x\nwhat is this\n', ['line 2']),
])
def test_bad_lines(check, text, words):
    refused(check(text), 'kamsyncd.conf', *words)


def test_missing_file(tmp_path):
    path = tmp_path / 'none.conf'
    refused(check_settings(path), path, 'No such file')
    refused(run_kamsyncd('-c', path), path, 'No such file')


def test_directory_is_no_file(tmp_path):
    refused(check_settings(tmp_path), tmp_path, 'directory')


def test_redis_needs_a_secret(check):
    refused(check('store = redis://127.0.0.1\n'), 'secret_file')


@pytest.mark.parametrize('secret', ['', 'fifteen-letters', 'has a blank in the middle', 'x' * 257,
                                    'ünprintäble-sécret'])
def test_bad_secret(check, tmp_path, secret):
    path = tmp_path / 'bad'
    path.write_text(secret + '\n')
    path.chmod(0o400)
    refused(check(f'secret_file = {path}\n'), 'secret_file', path)


def test_longest_secret(check, tmp_path):
    (tmp_path / 'long').write_text('x' * 256 + '\r\n')
    (tmp_path / 'long').chmod(0o400)
    assert check(f'secret_file = {tmp_path}/long\n').returncode == 0


@pytest.mark.parametrize('option', ['secret_file', 'old_secret_file', 'redis_password_file'])
def test_a_secret_that_all_may_read(check, tmp_path, option):
    """Neither --check nor the start takes it."""
    path = tmp_path / 'open'
    path.write_text(SECRET + '\n')
    path.chmod(0o644)
    refused(check(f'{option} = {path}\n'), option, path, 'open to all users')


@pytest.mark.parametrize('option', ['secret_file', 'old_secret_file', 'redis_password_file'])
def test_unreadable_secret(check, option):
    refused(check(f'{option} = /nowhere/secret\n'), option, '/nowhere/secret', 'No such file')


def open_way_to(path):
    """Others may enter each folder on the way to it, so that the file's own mode decides."""
    for folder in list(path.parents)[:-2]:
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o011)


@needs_root
def test_a_secret_that_only_root_can_read(check, tmp_path, secret_line):
    """Root can read it, the service cannot; once the file is its own, it can."""
    open_way_to(tmp_path / 'secret')
    assert check(secret_line).returncode == 0
    refused(check(secret_line, 'nobody'), 'secret_file', tmp_path / 'secret', 'Permission denied')
    os.chown(tmp_path / 'secret', pwd.getpwnam('nobody').pw_uid, -1)
    result = check(secret_line, 'nobody')
    assert result.returncode == 0 and 'good, read as user nobody' in result.stdout


def test_check_as_nobody_known(check):
    refused(check('', 'no-such-user'), "'no-such-user'")


@pytest.mark.skipif(os.geteuid() == 0, reason='root may')
def test_only_root_checks_as_another(check):
    refused(check('', 'root'), "'root'", 'not permitted')


def test_settings_are_checked_before_the_start(tmp_path):
    path = tmp_path / 'bad.conf'
    path.write_text('lookup_ms = many\n')
    refused(run_kamsyncd('-c', path), path, 'lookup_ms')
