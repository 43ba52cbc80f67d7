"""ready_file and draining: what is left behind, what cannot be written, what a restart must not forget."""
import contextlib
import os
import signal
import subprocess
import time

import pytest

from fake_control import CTL
from harness import free_port, wait_until

LOG_READY, LOG_NOT_READY = 'this node is ready for new calls', 'this node is not ready for new calls'


def test_stale_file_goes_while_kamailio_is_away(tmp_path, make_kamailio, make_daemon):
    ready = tmp_path / 'ready'
    ready.touch()
    daemon = make_daemon(make_kamailio(), ready_file=ready).start()    # no Kamailio listens
    wait_until(lambda: not ready.exists(), 5, 'the file of an earlier kamsyncd goes')
    daemon.stop()


def test_what_a_crash_leaves_behind(tmp_path, make_kamailio, make_daemon):
    ready, kamailio = tmp_path / 'ready', make_kamailio().start()
    daemon = make_daemon(kamailio, ready_file=ready).start()
    wait_until(ready.exists, 5, 'ready')
    daemon.kill()
    kamailio.stop()
    assert ready.exists()
    daemon.start()
    wait_until(lambda: not ready.exists(), 5, 'the file goes: nobody answers')


def test_creation_is_tried_again(tmp_path, kamailio, make_daemon):
    place = tmp_path / 'later'
    daemon = make_daemon(kamailio, ready_file=place / 'ready').start()
    daemon.wait_log(f"ready_file '{place}/ready': No such file or directory")
    kamailio.wait_hello()
    daemon.wait_report(kamailio='up')
    assert LOG_READY not in daemon.log(), 'nobody can know that'
    place.mkdir()
    wait_until((place / 'ready').exists, 5, 'the file')
    daemon.wait_log(LOG_READY)
    assert daemon.log().count(f"'{place}/ready'") == 1, 'the failure is said once'


@pytest.mark.skipif(not os.path.exists('/sys/kernel'), reason='no sysfs, where even root creates no file')
def test_reason_is_the_one_of_the_creation(kamailio, make_daemon):
    daemon = make_daemon(kamailio, ready_file='/sys/kernel/ready').start()
    daemon.wait_log("ready_file '/sys/kernel/ready': Permission denied")


def test_file_that_somebody_removed_comes_back(tmp_path, kamailio, make_daemon):
    ready = tmp_path / 'ready'
    make_daemon(kamailio, ready_file=ready).start()
    wait_until(ready.exists, 5, 'ready')
    ready.unlink()
    wait_until(ready.exists, 5, 'it is there again')


def test_time_of_the_file_is_refreshed(tmp_path, kamailio, make_daemon):
    """So that a file whose kamsyncd hangs can be told: only its time shows that."""
    ready = tmp_path / 'ready'
    make_daemon(kamailio, ready_file=ready).start()
    wait_until(ready.exists, 5, 'ready')
    os.utime(ready, (0, 0))
    wait_until(lambda: time.time() - ready.stat().st_mtime < 60, 5, 'a new time')


def test_just_back_does_not_last(kamailio, make_daemon, tmp_path):
    """Redis is away: calls go on without it."""
    ready = tmp_path / 'ready'
    daemon = make_daemon(kamailio, ready_file=ready, store=f'redis://127.0.0.1:{free_port()}').start()
    daemon.wait_report(kamailio='up', store='down')
    assert not ready.exists()
    wait_until(ready.exists, 8, 'ready')


def test_store_that_goes_away_while_it_is_read(kamailio, make_daemon, redis, tmp_path):
    """It took the connection and gave no answer."""
    ready = tmp_path / 'ready'
    redis.signal(signal.SIGSTOP)
    daemon = make_daemon(kamailio, ready_file=ready, store=redis.url).start()
    daemon.wait_report(kamailio='up')
    redis.kill()
    daemon.wait_report(store='down')
    assert not ready.exists()
    wait_until(ready.exists, 8, 'ready')


def put_folder(path):
    """In place of the file; False when kamsyncd was faster and has made it again."""
    path.unlink()
    with contextlib.suppress(FileExistsError):
        path.mkdir()
    return path.is_dir()


def test_removal_is_tried_again(tmp_path, kamailio, make_daemon):
    """A directory in its place, say: it cannot be removed, and the log does not say that it was."""
    ready = tmp_path / 'ready'
    daemon = make_daemon(kamailio, ready_file=ready).start()
    wait_until(ready.exists, 5, 'ready')
    daemon.wait_log(LOG_READY)
    wait_until(lambda: put_folder(ready), 5, 'a folder in its place')
    daemon.signal(signal.SIGUSR2)
    daemon.wait_log(f"ready_file '{ready}': ")
    assert LOG_NOT_READY not in daemon.log()
    ready.rmdir()
    daemon.wait_log(LOG_NOT_READY)


@pytest.mark.parametrize('end', ['stop', 'kill'])
@pytest.mark.parametrize('with_file', [True, False], ids=['ready_file', 'control'])
def test_drained_outlives_a_restart(tmp_path, kamailio, make_daemon, end, with_file):
    ready, control = tmp_path / 'ready', tmp_path / 'control.sock'
    daemon = make_daemon(kamailio, control=control, **({'ready_file': ready} if with_file else {})).start()
    kamailio.wait_hello()

    def ctl(command):
        return subprocess.run([*CTL, '-s', control, command], check=True, capture_output=True, text=True).stdout

    ctl('drain')
    getattr(daemon, end)()
    daemon.start()
    daemon.wait_report(kamailio='up', drained='yes')
    assert not ready.exists()
    ctl('undrain')
    assert not [f for f in os.listdir(tmp_path) if f.endswith('.drained')]
    wait_until(lambda: ready.exists() == with_file, 5, 'ready again')
    getattr(daemon, end)()
    daemon.start().wait_report(kamailio='up', drained='no')


def test_drained_that_cannot_be_kept_is_said(tmp_path, kamailio, make_daemon):
    place = tmp_path / 'gone'
    daemon = make_daemon(kamailio, ready_file=place / 'ready').start()
    daemon.signal(signal.SIGUSR2)
    daemon.wait_log('a restart will not know that this node is drained')
    daemon.wait_report(drained='yes')


def test_reload_keeps_the_files(tmp_path, kamailio, make_daemon):
    ready = tmp_path / 'ready'
    daemon = make_daemon(kamailio, ready_file=ready).start()
    wait_until(ready.exists, 5, 'ready')
    daemon.reload(log_level='debug')
    daemon.wait_log('settings reloaded')
    daemon.signal(signal.SIGUSR2)
    wait_until(lambda: not ready.exists(), 5, 'drained')
