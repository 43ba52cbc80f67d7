"""kamsyncctl cdr --export: each entry of the archive once, whatever becomes of the exporter; gaps are reported."""
import csv
import io
import json
import random
import signal
import threading
import time

import pytest

from fake_control import CALL, fine, refused, run_ctl, start_ctl
from harness import wait_until
from sip import Call

CALLS, KILLS = 1000, 60
GAP = 3  # exit status


class Archive:
    """Answers `cdr` as a daemon does, from a list of entries that a test changes."""

    gap = False  # said by those that are several

    def __init__(self, ids=()):
        self.rows = [row(i) for i in ids]

    def __call__(self, request):
        after = key(request['after'])
        return {'cdr': [r for r in self.rows if key(r['id']) > after][:request['count']], **({'gap': True} if self.gap else {})}

    def add(self, *ids):
        self.rows += map(row, ids)

    def trim(self, until):
        self.rows = [r for r in self.rows if key(r['id']) > key(until)]


def key(text):
    return tuple(map(int, text.split('-')))


def row(entry, **fields):
    return {**CALL, 'call_id': f'call-{entry}', 'id': entry, **fields}


def ids_of(path):
    text = path.read_text()
    assert not text or text.endswith('\n')
    if path.suffix == '.csv':
        return [line['id'] for line in csv.DictReader(io.StringIO(text))]
    return [json.loads(line)['id'] for line in text.splitlines()]


@pytest.fixture(params=['cdr.jsonl', 'cdr.csv'])
def out(request, tmp_path):
    return tmp_path / request.param


@pytest.fixture
def export(make_control, out):
    """The archive, and a function that exports it to its end."""
    archive = Archive()
    daemon = make_control({'cdr': archive})

    def run(**more):
        return run_ctl(*words(daemon.path, out), **more)
    return archive, run


def words(socket, out, *more):
    return ['-s', socket, 'cdr', '--export', out, *(['--csv'] if out.suffix == '.csv' else []), *more]


def test_ids_with_buckets(export, out):
    archive, run = export
    archive.add('5-0-0', '5-0-3', '5-1-2')
    fine(run())
    archive.add('5-1-3', '6-0-0', '6-0-255')
    fine(run())
    fine(run())
    assert ids_of(out) == ['5-0-0', '5-0-3', '5-1-2', '5-1-3', '6-0-0', '6-0-255']
    archive.trim('6-0-255')
    archive.add('6-1-0')
    fine(run())
    archive.gap = True
    archive.add('6-1-9')
    assert run().returncode == GAP and ids_of(out)[-2:] == ['6-1-0', '6-1-9']


@pytest.mark.parametrize('before, then', [('5-0', '6-0-0'), ('5-0-0', '6-0'), ('5-0', '5-0-7')])
def test_archive_of_another_layout(export, out, before, then):
    """What it has and what the file has are not in one order: some could be left out."""
    archive, run = export
    archive.add(before)
    fine(run())
    archive.rows.clear()
    archive.add(then)
    refused(run(), 'from another store', 'export to a new file', status=1)
    assert ids_of(out) == [before]


def test_goes_on_where_it_was(export, out):
    archive, run = export
    assert fine(run()) == '' and not out.exists(), 'nothing has ended yet'
    archive.add('5-0', '5-1', '7-0')
    fine(run())
    fine(run())
    archive.add('7-1', '18446744073709551615-18446744073709551615')
    fine(run())
    assert ids_of(out) == ['5-0', '5-1', '7-0', '7-1', '18446744073709551615-18446744073709551615']
    assert out.with_name(out.name + '.position').read_text() == '18446744073709551615-18446744073709551615 0\n'


def test_many_answers(export, out):
    archive, run = export
    archive.add(*(f'{i}-0' for i in range(1, 2500)))
    fine(run())
    assert len(ids_of(out)) == 2499


def test_fields(export, out):
    archive, run = export
    odd = {'caller': 'sip:"a,b"@x\r\n=1', 'call_id': {'base64': 'YQD/eg=='}, 'callee': 'müller\x7f\u2028', 'unknown': 1}
    archive.rows = [row('1-0', **odd)]
    fine(run())
    if out.suffix == '.csv':
        (line,) = csv.DictReader(io.StringIO(out.read_text()))
        assert line['caller'] == 'sip:"a,b"@x??=1' and line['callee'] == 'müller?\u2028' and line['call_id'] == '{"base64":"YQD/eg=="}'
        assert json.loads(line['vars']) == CALL['vars'] and line['duration_ms'] == '3723000' and line['untracked'] == ''
        assert len(out.read_bytes().splitlines()) == 2
    else:
        assert json.loads(out.read_text()) == archive.rows[0]


def test_rotated(export, out):
    """By its name alone: the position is beside it."""
    archive, run = export
    archive.add('1-0', '2-0')
    fine(run())
    out.rename(out.with_name('old'))
    archive.add('3-0')
    fine(run())
    assert ids_of(out) == ['3-0']


@pytest.mark.parametrize('lost', ['position', 'both'])
def test_without_a_position(export, out, lost):
    archive, run = export
    archive.add('1-0', '2-0')
    fine(run())
    out.with_name(out.name + '.position').unlink()
    if lost == 'both':
        out.unlink()
    archive.add('3-0')
    fine(run())
    assert ids_of(out) == ['1-0', '2-0', '3-0']


def test_line_without_its_end(export, out):
    archive, run = export
    archive.add('1-0', '2-0')
    fine(run())
    whole = out.read_bytes()
    for cut in range(1, len(whole), 37):
        out.write_bytes(whole[:-cut])
        out.with_name(out.name + '.position').unlink()
        fine(run())
        assert out.read_bytes() == whole, cut


def test_gap(export, out):
    archive, run = export
    archive.add('1000-0', '2000-0')
    fine(run())
    archive.add('3000-0', '4000-0')
    archive.trim('3000-0')
    result = run()
    refused(result, f'a gap in {out}', 'after 2000-0 and before 4000-0', '1970-01-01 00:00:02 to 1970-01-01 00:00:04', status=GAP)
    assert ids_of(out) == ['1000-0', '2000-0', '4000-0']
    assert out.with_name(out.name + '.position').read_text() == '4000-0 1\n'
    fine(run())


def test_trimmed_up_to_the_position(export, out):
    archive, run = export
    archive.add('1-0', '2-0')
    fine(run())
    archive.trim('1-0')
    archive.add('3-0')
    fine(run())
    assert ids_of(out) == ['1-0', '2-0', '3-0']


@pytest.mark.parametrize('text', ['', 'x', '1-0', '1 0', '-1-0 0'])
def test_odd_position(export, out, text):
    archive, run = export
    archive.add('1-0')
    out.with_name(out.name + '.position').write_text(text)
    refused(run(), 'is no position')
    assert not out.exists()


def test_odd_output(export, out):
    archive, run = export
    archive.add('1-0')
    for text in ('hello\n', '{"id":"1"}\n', 'a,b\n', '{}\n'):
        out.write_text(text)
        refused(run(), 'is no entry in this format')
        assert out.read_text() == text
    out.unlink()
    out.mkdir()
    refused(run(), 'Is a directory')


def test_full_disk(export, out):
    """Ends, so that somebody hears of it; nothing is lost."""
    archive, run = export
    archive.add('1-0', '2-0')
    refused(run(preexec_fn=lambda: limit_files(300)), 'File too large')
    fine(run())
    assert ids_of(out) == ['1-0', '2-0']


def limit_files(size):
    import resource
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def test_one_at_a_time(make_control, out):
    archive = Archive(['1-0'])
    daemon = make_control({'cdr': archive})
    first = start_ctl(*words(daemon.path, out, '-f'))
    wait_until(out.exists, 5, 'the output')
    refused(run_ctl(*words(daemon.path, out)), 'another kamsyncctl exports to it')
    first.send_signal(signal.SIGTERM)
    assert first.wait(5) == 0
    first.communicate()


def test_follows_through_a_restart(make_control, out):
    archive = Archive(['1-0'])
    daemon = make_control({'cdr': archive})
    ctl = start_ctl(*words(daemon.path, out, '-f'))
    wait_until(out.exists, 5, 'the output')
    daemon.stop()
    archive.add('2-0', '3-0')
    archive.trim('2-0')
    daemon.start()
    wait_until(lambda: ids_of(out) == ['1-0', '3-0'], 10, 'what ended meanwhile')
    ctl.send_signal(signal.SIGINT)
    assert ctl.wait(5) == GAP
    assert b'a gap in' in ctl.communicate()[1]


def end_calls(kamailio, count):
    for _ in range(count // 10):
        calls = [Call() for _ in range(10)]
        kamailio.events(*[event for call in calls for event in (call.branch_event(), call.reply_event(486))])


def archived(daemon):
    return [entry['id'] for entry in json.loads(fine(run_ctl('-s', daemon.control, '--json', 'cdr', '-n', '10000')))['cdr']]


@pytest.mark.parametrize('store', ['redis', 'memory'])
def test_killed_again_and_again(kamailio, make_daemon, make_redis, tmp_path, out, store):
    """kill -9 at any moment, amid calls that end: each of their entries is there once, in order, and no line is torn."""
    options = {'store': make_redis().url} if store == 'redis' else {}
    daemon = make_daemon(kamailio, control=tmp_path / 's.sock', **options)
    daemon.control = str(tmp_path / 's.sock')
    daemon.start().wait_report(kamailio='up', store='up')
    calls = threading.Thread(target=end_calls, args=(kamailio, CALLS))
    calls.start()
    chance = random.Random(store + out.name)
    for _ in range(KILLS):
        ctl = start_ctl(*words(daemon.control, out, '-f'))
        time.sleep(chance.uniform(0.002, 0.05))  # any moment
        ctl.kill()
        ctl.communicate()
    calls.join()
    wait_until(lambda: len(archived(daemon)) == CALLS, 20, 'all calls in the archive')
    fine(run_ctl(*words(daemon.control, out)))
    assert ids_of(out) == archived(daemon)
