"""kamsyncd as a service: what it tells systemd, its unit's sandbox, and its work without any privilege."""
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

from fake_control import CTL
from harness import COMMAND, KAMSYNCD, free_port, wait_until
from http_client import get
from sip import Call

UNIT = pathlib.Path(KAMSYNCD).with_name('kamsyncd.service')
NOBODY = 65534
EXPOSURE_MAX = 2.0    # of 10, as systemd-analyze counts
needs_analyze = pytest.mark.skipif(not shutil.which('systemd-analyze'), reason='needs systemd-analyze')
UNPRIVILEGED = ['setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups', '--no-new-privs',
                '--bounding-set=-all', '--inh-caps=-all']


@pytest.fixture
def supervisor(tmp_path, monkeypatch):
    """A NOTIFY_SOCKET, and what came there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / 'notify'))
        sock.setblocking(False)
        monkeypatch.setenv('NOTIFY_SOCKET', str(tmp_path / 'notify'))
        heard = []

        def hear():
            try:
                while True:
                    heard.append(sock.recv(4096).decode())
            except BlockingIOError:
                return heard
        yield hear


def test_ready_watchdog_and_end(supervisor, monkeypatch, kamailio, make_daemon):
    monkeypatch.setenv('WATCHDOG_USEC', '300000')
    daemon = make_daemon(kamailio).start()
    wait_until(lambda: 'READY=1' in supervisor(), 5, 'READY')
    wait_until(lambda: supervisor().count('WATCHDOG=1') >= 3, 10, 'the watchdog is fed')
    assert supervisor().count('READY=1') == 1 and 'STOPPING=1' not in supervisor()
    daemon.stop()
    assert supervisor()[-1] == 'STOPPING=1'


def test_no_watchdog_unless_wanted(supervisor, kamailio, make_daemon):
    daemon = make_daemon(kamailio).start()
    kamailio.wait_hello()
    daemon.stop()
    assert supervisor() == ['READY=1', 'STOPPING=1']


@needs_analyze
def test_unit_is_understood(tmp_path):
    """Every line of it: what systemd does not know it only warns of. The program need not be installed for that."""
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r'(?m)^ExecStart=\S+', f'ExecStart={KAMSYNCD}', UNIT.read_text()))
    out = subprocess.run(['systemd-analyze', 'verify', '--man=no', unit], capture_output=True, text=True)
    assert (out.returncode, out.stdout + out.stderr) == (0, '')


@needs_analyze
def test_sandbox_of_the_unit():
    out = subprocess.run(['systemd-analyze', 'security', '--offline=true', '--no-pager', UNIT],
                         capture_output=True, text=True)
    found = re.search(r'Overall exposure level for \S+: ([\d.]+)', out.stdout)
    assert found, out
    assert float(found[1]) <= EXPOSURE_MAX, out.stdout


def test_works_without_any_privilege(tmp_path, kamailio, make_daemon, redis):
    """As nobody, without a single capability: the records, kamsyncctl, and no way back."""
    if os.geteuid() != 0:
        pytest.skip('needs root, to give it up')
    place = tmp_path / 'nobody'
    place.mkdir()
    daemon = make_daemon(kamailio, store=redis.url, control=f'{place}/control.sock', ready_file=f'{place}/ready',
                         keys_file=f'{place}/keys')
    daemon.write_config()
    for path in (place, daemon.conf_path, daemon.secret_path):
        os.chown(path, NOBODY, NOBODY)
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    daemon.launch([*UNPRIVILEGED, *COMMAND, '-c', daemon.conf_path])
    kamailio.wait_hello()
    call = Call()
    kamailio.events(call.branch_event())
    wait_until(lambda: redis.do('EXISTS', call.key()), 10, 'the record')
    status = pathlib.Path(f'/proc/{daemon.popen.pid}/status').read_text()
    assert re.search(rf'^Uid:\t{NOBODY}\t{NOBODY}', status, re.M) and re.search(r'^NoNewPrivs:\t1$', status, re.M)
    assert set(re.findall(r'^Cap(?:Inh|Prm|Eff|Bnd|Amb):\t(\w+)$', status, re.M)) == {'0' * 16}
    out = subprocess.run([*CTL, '-s', f'{place}/control.sock', 'status'], capture_output=True, text=True)
    assert out.returncode == 0 and 'kamailio    up' in out.stdout
    wait_until((place / 'ready').exists, 5, 'ready')
    assert (place / 'keys').stat().st_mode & 0o777 == 0o640 and sorted(f.name for f in place.iterdir()) == [
        'control.sock', 'keys', 'ready']


def threads(daemon):
    return len(os.listdir(f'/proc/{daemon.popen.pid}/task'))


def test_one_thread(tmp_path, make_kamailio, make_daemon, make_redis):
    """Whatever it does: libuv's pool is never woken (names are looked up there, so the addresses are numbers)."""
    kamailio, redis = make_kamailio().start(), make_redis()
    port = free_port()
    daemon = make_daemon(kamailio, store=redis.url, control=tmp_path / 'c.sock', ready_file=tmp_path / 'ready',
                         http_listen=port).start()
    daemon.wait_report(kamailio='up', store='up')
    call = Call()
    kamailio.events(call.branch_event(), call.reply_event(180))
    wait_until(lambda: redis.do('EXISTS', call.key()), 10, 'the record')
    kamailio.stray(Call().cancel())
    kamailio.wait_sends(1)
    for command in ('status', 'nodes', 'calls', 'cdr'):
        subprocess.run([*CTL, '-s', tmp_path / 'c.sock', command], check=True, capture_output=True)
        assert get(port, f'/v1/{command}').code == get(port, '/metrics').code == 200
    daemon.reload(log_level='debug')
    daemon.wait_log('settings reloaded')
    redis.restart()
    kamailio.restart()
    kamailio.wait_hello(count=2)
    daemon.wait_report(kamailio='up', store='up')
    assert threads(daemon) == 1


def test_one_thread_with_a_state_file(tmp_path, make_kamailio, make_daemon):
    kamailio = make_kamailio().start()
    daemon = make_daemon(kamailio, store='memory://', state_file=tmp_path / 'state').start()
    kamailio.wait_hello()
    kamailio.events(Call().branch_event())
    wait_until((tmp_path / 'state').exists, 5, 'the state file')
    assert threads(daemon) == 1
