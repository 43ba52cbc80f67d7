"""The unit in a real systemd, with all of its sandbox: kamsyncd does its work in it."""
import pathlib
import re
import signal
import subprocess

import pytest

import systemd
from fake_control import CTL
from harness import free_port, wait_until
from http_client import get
from sip import Call

WHY_NOT = systemd.why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT)


@pytest.fixture
def make_service(tmp_path):
    made = []

    def make(kamailio, **options):
        made.append(systemd.Service(tmp_path, kamailio.port, **options))
        return made[-1].start()
    yield make
    for service in made:
        print(service.tail(), service.systemd.tail())
        service.end()


def test_works_in_its_sandbox(kamailio, redis, make_service):
    port = free_port()
    service = make_service(kamailio, store=redis.url, http_listen=port)
    kamailio.wait_hello()
    wait_until(lambda: service.show('ActiveState') == 'active', 5, 'READY=1 to be heard')
    call = Call()
    kamailio.events(call.branch_event())
    wait_until(lambda: redis.do('EXISTS', call.key()), 5, 'the record')
    status = service.process()
    assert re.search(r'^NoNewPrivs:\t1$', status, re.M) and re.search(r'^Seccomp:\t2$', status, re.M)
    assert set(re.findall(r'^Cap(?:Inh|Prm|Eff|Bnd|Amb):\t(\w+)$', status, re.M)) == {'0' * 16}
    for command in ('status', 'nodes', 'calls', 'cdr'):
        subprocess.run([*CTL, '-s', service.control, command], check=True, capture_output=True)
        assert get(port, f'/v1/{command}').code == get(port, '/metrics').code == 200


def test_reload_losses_and_end(kamailio, redis, make_service):
    service = make_service(kamailio, store=redis.url)
    service.wait_report(kamailio='up', store='up')
    service.systemctl('reload', 'kamsyncd')
    service.wait_log('settings reloaded')
    redis.restart()
    kamailio.restart()
    service.wait_report(kamailio='up', store='up')
    service.systemctl('stop', 'kamsyncd')
    assert (service.show('Result'), service.show('ExecMainStatus'), service.show('NRestarts')) == ('success', '0', '0')
    assert 'stopped' in service.log()


def test_state_is_kept(kamailio, make_service):
    service = make_service(kamailio, store='memory://', state_file='/var/lib/kamsync/state')
    kamailio.wait_hello()
    kamailio.events(Call().branch_event())
    wait_until(pathlib.Path(f'{service.root}/var/lib/kamsync/state').exists, 5, 'the state file')
    service.systemctl('restart', 'kamsyncd')
    kamailio.wait_hello(count=2)
    service.wait_report(transactions=1)


def test_hangs_and_is_started_again(kamailio, make_service):
    service = make_service(kamailio)
    kamailio.wait_hello()
    service.signal(signal.SIGSTOP)
    kamailio.wait_hello(count=2)
    wait_until(lambda: service.show('ActiveState') == 'active', 5, 'READY=1 to be heard')
    assert service.show('NRestarts') == '1'
