"""The log as JSON, whose lines a caller can neither forge nor make too long; and with priorities for the journal."""
import json
import os
import re
import subprocess

import pytest

from harness import COMMAND, SANITIZERS, wait_until
from sip import Call

LINES_MAX, LINE_BYTES = 200, 4096


def lines_of(daemon):
    """Each whole line as an object; one that is none fails the test."""
    return [json.loads(line) for line in daemon.log().split('\n')[:-1]]


def about_strays(daemon):
    return [line for line in lines_of(daemon) if 'verdict' in line]


def test_fields(two_nodes, tmp_path):
    a, b = two_nodes
    b.daemon.reload(log_format='json')
    b.daemon.wait_log('"text":"settings reloaded"')
    call = a.report_call(180)
    b.kamailio.stray(call.cancel())
    b.kamailio.wait_sends(1)
    b.daemon.wait_log('"verdict"')
    line = json.loads(next(line for line in b.daemon.log().splitlines() if '"verdict"' in line))
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z', line.pop('time'))
    text = line.pop('text')
    assert line == {'level': 'info', 'name': b.daemon.options['name'], 'node': 2, 'call_id': call.call_id.decode(), 'verdict': 'owner',
                    'owner': 1}
    assert text.startswith('stray CANCEL verdict=owner owner=1 ') and text.endswith(f' call-id={call.call_id.decode()}')
    b.daemon.reload(log_format='text')
    b.daemon.wait_log(' info  settings reloaded')


@pytest.mark.parametrize('call_id', ['"},{"level":"error","x":"', '\\', 'q"' * 500, '\x7f\x01\x1f', 'a\u2028b\u00e9', '{' * 60000],
                         ids=['quotes', 'backslash', 'long', 'control', 'unicode', 'huge'])
def test_hostile_call_ids(kamailio, make_daemon, call_id):
    daemon = make_daemon(kamailio, log_format='json', lookup_ms=0).start()
    kamailio.wait_hello()
    kamailio.stray(Call(call_id=call_id).cancel())
    kamailio.stray(Call(call_id='after').cancel())
    daemon.wait_log('"call_id":"after"')
    seen = lines_of(daemon)
    assert all(line['level'] != 'error' and 'x' not in line for line in seen) and seen
    assert max(map(len, daemon.log().splitlines())) < LINE_BYTES
    if len(call_id) < 49000:
        assert len(about_strays(daemon)) == 2
        shown = ''.join(c if ' ' < c <= '~' else '?' * len(c.encode()) for c in call_id)
        assert about_strays(daemon)[0]['call_id'] == shown[:199]


def test_lines_a_second(kamailio, make_daemon):
    daemon = make_daemon(kamailio, log_format='json', lookup_ms=0).start()
    kamailio.wait_hello()
    for _ in range(3 * LINES_MAX):
        kamailio.stray(Call().cancel())

    def held():
        return sum(int(m[1]) for line in lines_of(daemon) if (m := re.match(r'(\d+) lines more', line['text'])))
    wait_until(lambda: held() and len(about_strays(daemon)) + held() == 3 * LINES_MAX, 20, 'each line is written or counted')
    assert len(about_strays(daemon)) < 3 * LINES_MAX


def run_with_stderr(daemon, stderr, **env):
    daemon.write_config()
    daemon.popen = subprocess.Popen([*COMMAND, '-c', daemon.conf_path], stdin=subprocess.DEVNULL, stderr=stderr,
                                    env={**SANITIZERS, **os.environ, **env})


@pytest.mark.parametrize('form', ['text', 'json'])
def test_priorities_for_the_journal(make_kamailio, make_daemon, form):
    """Only if standard error is the journal itself, as JOURNAL_STREAM says: not when it was sent elsewhere."""
    kamailio = make_kamailio()
    daemon = make_daemon(kamailio, log_format=form)
    with open(daemon.log_path, 'ab') as log:
        at = os.fstat(log.fileno())
        run_with_stderr(daemon, log, JOURNAL_STREAM=f'{at.st_dev}:{at.st_ino}')
    daemon.wait_log('started')
    daemon.wait_log('trying again for ever')
    start = {'text': r'20\d\d-', 'json': r'\{"time":'}[form]
    for line in daemon.log().splitlines():
        level = re.match(rf'<(\d)>{start}', line)
        assert level and level[1] == ('4' if 'trying again' in line else '6'), line
    daemon.stop()
    with open(daemon.log_path, 'wb') as log:
        run_with_stderr(daemon, log, JOURNAL_STREAM=f'{at.st_dev}:{at.st_ino + 1}')
    daemon.wait_log('started')
    assert not re.search(r'^<', daemon.log(), re.M)
