"""kamsyncctl beside a kamsyncd that is away, refuses, hangs or talks nonsense, and what it asks again and again."""
import json
import os
import pathlib
import pty
import pwd
import re
import signal
import socket
import subprocess
import time

import pytest

from fake_control import (ANSWERS, CALL, COMMANDS, CTL, FakeControl, environment, fine, refused, run_ctl,
                          start_ctl, words_of)
from harness import SLOWER, wait_until


# A daemon that is not there, or does not behave

def test_no_daemon(tmp_path):
    path = tmp_path / 'none'
    refused(run_ctl('-s', path, 'status'), f'no kamsyncd at {path}: is it running', "'control'", '--socket PATH')
    refused(run_ctl('status', env={'KAMSYNC_SOCKET': str(path)}), path)
    path.write_text('')
    refused(run_ctl('-s', path, 'status'), 'no kamsyncd')


def test_socket_that_nobody_serves(make_control, tmp_path):
    daemon = make_control()
    os.link(daemon.path, tmp_path / 'left')
    daemon.stop()
    refused(run_ctl('-s', tmp_path / 'left', 'status'), 'no kamsyncd')


def test_option_is_stronger_than_the_environment(make_control):
    daemon = make_control()
    fine(run_ctl('-s', daemon.path, 'status', env={'KAMSYNC_SOCKET': '/nowhere'}))
    fine(run_ctl('status', env={'KAMSYNC_SOCKET': daemon.path}))


@pytest.mark.skipif(os.getuid() != 0, reason='needs another user')
@pytest.mark.parametrize('closed', ['socket', 'directory'])
def test_no_permission(closed):
    nobody = pwd.getpwnam('nobody')
    # pytest's own directories are closed to others
    directory = pathlib.Path(subprocess.check_output(['mktemp', '-d', '/tmp/ctl.XXXXXX'], text=True).strip())
    os.chmod(directory, 0o700 if closed == 'directory' else 0o755)
    daemon = FakeControl(directory / 's', ANSWERS).start()
    os.chmod(daemon.path, 0o660)
    try:
        result = subprocess.run(['setpriv', f'--reuid={nobody.pw_uid}', f'--regid={nobody.pw_gid}', '--clear-groups',
                                 *CTL, '-s', daemon.path, 'status'], capture_output=True, text=True,
                                env=environment(), check=False)
        if result.returncode == 127 or 'setpriv' in result.stderr:
            pytest.skip('the build directory is closed to others')
        refused(result, 'no permission', daemon.path, 'user root', 'group root')
    finally:
        daemon.stop()
        directory.rmdir()


def hold(connection, _):
    connection.settimeout(30)
    connection.recv(1)


def drip(connection, _):
    while True:
        connection.sendall(b' ')
        time.sleep(0.1)


@pytest.mark.parametrize('raw', [hold, drip])
def test_daemon_that_never_answers(ask, raw):
    begun = time.monotonic()
    refused(ask('status', raw=raw)[0], 'no answer within 3 s')
    assert 2.5 < time.monotonic() - begun < 5 * SLOWER


def test_full_backlog(tmp_path):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(tmp_path / 's'))
        s.listen(0)
        others = [socket.socket(socket.AF_UNIX) for _ in range(2)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(str(tmp_path / 's'))
        refused(run_ctl('-s', tmp_path / 's', 'status', timeout=8), 'takes no connection')
        for other in others:
            other.close()


@pytest.mark.parametrize('text', [b'', b'{"ok": tr', b'{"ok": true}'])
def test_daemon_that_closes_half_way(ask, text):
    refused(ask('status', raw=lambda c, _: c.sendall(text))[0], 'closed the connection')


@pytest.mark.parametrize('text', [b'\n', b'HTTP/1.1 400 Bad Request\r\n', b'[]\n', b'{}\n', b'{"ok": 1}\n', b'"ok"\n',
                                  b'{"ok": true}}\n', b'{"ok": true, "x": "\xff"}\n', b'[' * 100000 + b'\n',
                                  b'\x1b[2J\n'])
def test_daemon_that_speaks_something_else(ask, text):
    refused(ask('status', raw=lambda c, _: c.sendall(text))[0], 'is no kamsyncd')


def test_what_follows_the_line_is_ignored(ask):
    fine(ask('drain', raw=lambda c, _: c.sendall(b'{"ok": true}\nnonsense'))[0])


@pytest.mark.skipif(SLOWER > 1, reason='64 MB must come within 3 s')
def test_huge_answer(ask):
    def flood(connection, _):
        while True:
            connection.sendall(b' ' * 1048576)
    refused(ask('status', raw=flood)[0], 'over 64 MB')


@pytest.mark.parametrize('error, shown', [('the store is away: see the log', 'the store is away: see the log'),
                                          (None, 'did not say why'), ('', 'did not say why')])
@pytest.mark.parametrize('command', COMMANDS)
def test_daemon_that_refuses(ask, command, error, shown):
    result, _ = ask(*words_of(command), answers={command: {'ok': False, 'error': error}})
    refused(result, shown, status=2 if command == 'doctor' else 1)
    assert not result.stdout


def test_refusal_as_json(ask):
    result, _ = ask('drain', '--json', answers={'drain': {'ok': False, 'error': 'no'}})
    refused(result, 'kamsyncctl: no')
    assert json.loads(result.stdout) == {'ok': False, 'error': 'no'}


def test_full_disk(make_control):
    with open('/dev/full', 'wb') as full:
        ctl = start_ctl('-s', make_control().path, 'nodes', stdout=full)
        _, err = ctl.communicate(timeout=10 * SLOWER)
    assert ctl.returncode == 1 and b'cannot write' in err


# Again and again

class Lines:
    """What a running kamsyncctl has written to a file so far."""

    def __init__(self, path, *args):
        self.path = path
        with open(path, 'wb') as out, open(f'{path}.err', 'wb') as err:
            self.popen = start_ctl(*args, stdout=out, stderr=err)

    def text(self):
        return pathlib.Path(self.path).read_text()

    def errors(self):
        return pathlib.Path(f'{self.path}.err').read_text()

    def interrupt(self):
        self.popen.send_signal(signal.SIGINT)
        assert self.popen.wait(5) == 0


@pytest.fixture
def run_long(tmp_path):
    made = []

    def run(*args):
        made.append(Lines(str(tmp_path / f'out{len(made)}'), *args))
        return made[-1]
    yield run
    for lines in made:
        if lines.popen.poll() is None:
            lines.popen.kill()
            lines.popen.wait()


@pytest.mark.parametrize('watch', [['--watch', '0.1'], ['--watch=0.1']])
def test_watch_outside_of_a_terminal(make_control, run_long, watch):
    ctl = run_long('-s', make_control().path, 'calls', *watch)
    wait_until(lambda: ctl.text().count('2 calls\n') >= 3, 5, ctl.text)
    ctl.interrupt()
    assert '\x1b' not in ctl.text()
    assert re.match(r'kamsyncctl calls, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d, every 100 ms\nSTARTED ', ctl.text())
    assert '2 calls\n\nkamsyncctl calls, ' in ctl.text()


def test_watch_as_json(make_control, run_long):
    ctl = run_long('-s', make_control().path, 'calls', '--json', '--watch', '0.1')
    wait_until(lambda: ctl.text().count('\n') >= 3, 5, ctl.text)
    ctl.interrupt()
    assert all(json.loads(line)['total'] == 2 for line in ctl.text().splitlines())


def test_watch_on_a_terminal(make_control):
    daemon = make_control()
    screen, terminal = pty.openpty()
    subprocess.run(['stty', 'rows', '10', 'cols', '80'], stdin=terminal, check=True)
    ctl = start_ctl('-s', daemon.path, 'calls', '--watch', '0.1', stdin=terminal, stdout=terminal)
    seen = b''
    while seen.count(b'\x1b[H\x1b[2J') < 2:
        seen += os.read(screen, 65536)
    ctl.send_signal(signal.SIGINT)
    assert ctl.wait(5) == 0
    ctl.stderr.close()
    os.close(terminal)
    os.close(screen)
    assert seen.startswith(b'\x1b[H\x1b[2Jkamsyncctl calls, ')
    assert daemon.requests[0] == {'cmd': 'calls', 'limit': 6}


def test_watch_needs_a_daemon_at_the_start(tmp_path):
    refused(run_ctl('-s', tmp_path / 's', 'calls', '--watch'), 'no kamsyncd')
    refused(run_ctl('-s', tmp_path / 's', 'cdr', '-f'), 'no kamsyncd')


class Archive:
    """Answers `cdr` as a daemon does."""

    def __init__(self, count):
        self.ids = [f'{i}-0' for i in range(1, count + 1)]
        self.asked = []  # when

    def __call__(self, request):
        ids = self.ids
        self.asked.append(time.monotonic())
        if 'after' in request:
            ids = ids[ids.index(request['after']) + 1:][:request['count']]
        else:
            ids = ids[-request.get('count', 20):]
        return {'cdr': [{**CALL, 'id': i, 'call_id': f'call-{i}'} for i in ids]}


def call_ids(text):
    return re.findall(r'call-(\d+)-0', text)


def test_follow(make_control, run_long):
    archive = Archive(5)
    daemon = make_control({'cdr': archive})
    ctl = run_long('-s', daemon.path, 'cdr', '-n', '2', '-f')
    wait_until(lambda: call_ids(ctl.text()) == ['4', '5'], 5, ctl.text)
    archive.ids += ['6-0', '7-0']
    wait_until(lambda: call_ids(ctl.text()) == ['4', '5', '6', '7'], 5, ctl.text)
    wait_until(lambda: daemon.requests[-1].get('after') == '7-0', 5, 'to be asked what comes then')
    ctl.interrupt()
    assert ctl.text().count('ENDED') == 1 and len({line.index('call-') for line in ctl.text().splitlines()[1:]}) == 1


@pytest.mark.parametrize('count, seen', [('0', []), ('3', ['1'])])
def test_follow_from_the_end(make_control, run_long, count, seen):
    archive = Archive(1)
    daemon = make_control({'cdr': archive})
    ctl = run_long('-s', daemon.path, '--json', 'cdr', '-fn', count)
    wait_until(lambda: daemon.requests, 5, 'a request')
    archive.ids.append('2-0')
    wait_until(lambda: '2' in call_ids(ctl.text()), 5, ctl.text)
    ctl.interrupt()
    assert [json.loads(line)['id'][0] for line in ctl.text().splitlines()] == seen + ['2']


def test_follow_from_an_empty_archive(make_control, run_long):
    archive = Archive(0)
    daemon = make_control({'cdr': archive})
    ctl = run_long('-s', daemon.path, 'cdr', '-f')
    wait_until(lambda: daemon.requests, 5, 'a request')
    archive.ids.append('1-0')
    wait_until(lambda: call_ids(ctl.text()) == ['1'], 5, ctl.text)
    ctl.interrupt()


def test_follow_does_not_lag_behind(make_control, run_long):
    """Five answers as long as can be: it asks again at once, not after FOLLOW_MS (1 s), less than which it would never take then."""
    archive = Archive(1)
    daemon = make_control({'cdr': archive})
    ctl = run_long('-s', daemon.path, 'cdr', '-f')
    wait_until(lambda: daemon.requests, 5, 'a request')
    archive.ids += [f'{i}-0' for i in range(2, 5002)]
    asked = len(archive.asked)
    wait_until(lambda: len(call_ids(ctl.text())) == 5001, 20, lambda: f'{len(call_ids(ctl.text()))} of 5001')
    ctl.interrupt()
    at = archive.asked[asked:]
    pauses = [then - now for now, then in zip(at, at[1:5])]
    assert len(pauses) == 4 and min(pauses) < 1, pauses


def test_follow_survives_a_restart_of_the_daemon(make_control, run_long):
    archive = Archive(1)
    daemon = make_control({'cdr': archive})
    ctl = run_long('-s', daemon.path, 'cdr', '-f')
    wait_until(lambda: call_ids(ctl.text()) == ['1'], 5, ctl.text)
    daemon.stop()
    wait_until(lambda: 'no kamsyncd' in ctl.errors(), 5, ctl.errors)
    time.sleep(1.5)  # a second question in vain, of which nothing may be heard
    archive.ids.append('2-0')
    daemon.start()
    wait_until(lambda: call_ids(ctl.text()) == ['1', '2'], 5, ctl.text)
    ctl.interrupt()
    assert ctl.errors().count('\n') == 1


def test_cdr_without_follow_can_show_none(ask):
    assert call_ids(fine(ask('cdr', '-n', '0', answers={'cdr': Archive(3)})[0])) == []
