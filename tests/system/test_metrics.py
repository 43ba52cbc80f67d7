"""/metrics: Prometheus' format and naming rules, the right numbers, and the table of them in docs/metrics.md.

    /usr/bin/python3 -B tests/system/test_metrics.py --write
"""
import argparse
import base64
import json
import pathlib
import re
import shutil
import subprocess
import tempfile

import pytest

from fake_control import CTL
from fake_kamailio import FakeKamailio
from harness import REPO, Daemon, free_port, wait_until
from http_client import get, with_http
from sip import Call

PAGE = pathlib.Path(REPO, 'docs', 'metrics.md')
SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? (\S+)$')
LABELS = {'version', 'node', 'name', 'cluster', 'site', 'le'}


class Metrics:
    """One answer, read: help, types, and samples by their names with labels."""

    def __init__(self, port):
        answer = get(port, '/metrics')
        assert answer.code == 200 and answer.headers['Content-Type'] == 'text/plain; version=0.0.4; charset=utf-8'
        self.text = answer.body.decode('ascii')
        self.help = dict(re.findall(r'^# HELP (\S+) (.+)$', self.text, re.M))
        self.types = dict(re.findall(r'^# TYPE (\S+) (\w+)$', self.text, re.M))
        self.samples = {}
        for line in self.text.splitlines():
            if not line.startswith('#'):
                name, labels, value = SAMPLE.match(line).groups()
                assert (name, labels) not in self.samples, line
                self.samples[name, labels] = float(value)

    def __getitem__(self, name):
        return self.samples[f'kamsync_{name}', None]

    def buckets(self, name):
        """Upper bound to how many were at most that long."""
        found = {labels: value for (n, labels), value in self.samples.items() if n == f'kamsync_{name}_bucket'}
        return {float(labels[4:-1].replace('+Inf', 'inf')): value for labels, value in found.items()}


def table(metrics):
    """docs/metrics.md from its first table on."""
    rows = [f'| `{name}` | {kind} | {metrics.help[name]} |' for name, kind in metrics.types.items()]
    return '\n'.join(['| metric | type | what |', '|---|---|---|', *rows]) + '\n'


def head_of_page():
    return PAGE.read_text().split('| metric |')[0]


@pytest.fixture
def daemon(kamailio, make_daemon, redis):
    return with_http(make_daemon, kamailio, store=redis.url)


def test_page_is_current(daemon):
    assert PAGE.read_text() == head_of_page() + table(Metrics(daemon.port)), f'{__doc__} writes it'


@pytest.mark.skipif(not shutil.which('promtool'), reason='needs promtool')
def test_prometheus_finds_nothing_wrong(daemon):
    def lint(text):
        return subprocess.run(['promtool', 'check', 'metrics'], input=text, capture_output=True, text=True)
    text = Metrics(daemon.port).text
    out = lint(text)
    assert (out.returncode, out.stdout + out.stderr) == (0, '')
    assert lint(text.replace('_total', '_count')).returncode != 0, 'it looks'


def test_names(daemon):
    """Naming rules that promtool does not know: one prefix, _total for counters and nothing else."""
    metrics = Metrics(daemon.port)
    assert set(metrics.help) == set(metrics.types) and len(metrics.types) > 80
    for name, kind in metrics.types.items():
        assert name.startswith('kamsync_') and (kind == 'counter') == name.endswith('_total'), name
        assert kind != 'histogram' or name.endswith('_seconds'), name
    assert {re.sub('_(bucket|sum|count)$', '', name) if re.sub('_(bucket|sum|count)$', '', name) in metrics.types else name
            for name, _ in metrics.samples} == set(metrics.types)


def test_each_counter_is_there(daemon):
    """With the number and the words that kamsyncctl and docs/counters.md have."""
    metrics = Metrics(daemon.port)
    rows = re.findall(r'^\| `(\w+)` \| (.+) \|$', pathlib.Path(REPO, 'docs', 'counters.md').read_text(), re.M)
    assert len(rows) > 40
    for name, words in rows:
        assert metrics.types[f'kamsync_{name}_total'] == 'counter' and metrics.help[f'kamsync_{name}_total'] == words
    before = Metrics(daemon.port)
    counted = json.loads(subprocess.run([*CTL, '-s', daemon.control, '--json', 'status'], capture_output=True, check=True).stdout)['counters']
    after = Metrics(daemon.port)
    assert counted['frames_in'] > 0
    assert [n for n, value in counted.items() if not before[f'{n}_total'] <= value <= after[f'{n}_total']] == []


def test_states(kamailio, daemon, redis):
    def shown(**values):
        def true():
            metrics = Metrics(daemon.port)
            return all(metrics[name] == value for name, value in values.items())
        wait_until(true, 10, lambda: f'{values}: {Metrics(daemon.port).text}', every=0.05)
    shown(ready=1, drained=0, kamailio_connected=1, kamailio_up=1, store_up=1, nodes_up=0, calls=0, transactions=0)
    kamailio.events(Call().branch_event(), Call().branch_event())
    shown(calls=2, transactions=2, records_unwritten=0)
    metrics = Metrics(daemon.port)
    assert metrics['transactions_bytes'] > 1000 and metrics['calls_bytes'] > 100 and metrics['transactions_limit'] == 500000
    assert metrics['process_resident_memory_bytes'] > 1e6 and metrics['process_cpu_seconds_total'] > 0
    kamailio.events(Call().reply_event(200))  # of a transaction that comes too late
    shown(early_events=1)
    assert Metrics(daemon.port)['early_bytes'] > 0
    subprocess.run([*CTL, '-s', daemon.control, 'drain'], check=True, capture_output=True)
    shown(ready=0, drained=1)
    kamailio.stop()
    redis.kill()
    shown(kamailio_connected=0, kamailio_up=0, store_up=0)


def test_no_label_holds_what_a_caller_writes(kamailio, daemon):
    """The labels are these, whatever calls there are."""
    before = set(Metrics(daemon.port).samples)
    kamailio.events(*[Call(call_id=f'evil-{i}', display=f'evil"}} {i}\\').branch_event() for i in range(20)])
    wait_until(lambda: Metrics(daemon.port)['calls'] == 20, 10, 'the calls')
    metrics = Metrics(daemon.port)
    assert set(metrics.samples) == before and 'evil' not in metrics.text
    names = {name for _, labels in metrics.samples for name in re.findall(r'(\w+)="', labels or '')}
    assert names == LABELS


def test_name_of_the_node_is_escaped(kamailio, make_daemon):
    daemon = make_daemon(kamailio, http_listen=free_port())
    daemon.options |= {'name': 'a"b\\c', 'site': 'fra'}
    daemon.start().wait_report(kamailio='up')
    text = get(daemon.options['http_listen'], '/metrics').body.decode()
    assert r'kamsync_node_info{node="1",name="a\"b\\c",cluster="kamsync",site="fra"} 1' in text


def test_histograms_count_what_happens(make_kamailio, make_daemon, redis):
    """A stray that is handed over, a takeover after the owner's death, and Redis all the time."""
    kamailios = [make_kamailio(node).start() for node in (1, 2)]
    daemons = [with_http(make_daemon, k, store=redis.url, heartbeat_ms=200, node_ttl_ms=2000) for k in kamailios]
    kamailios[0].wait_frame('node', id=2, up=1)
    kamailios[1].wait_frame('node', id=1, up=1)
    call = Call()
    kamailios[0].events(call.branch_event(), call.reply_event(180))
    wait_until(lambda: redis.do('EXISTS', call.key()), 10, 'the record')
    kamailios[1].stray(call.cancel())
    kamailios[1].wait_sends(1)
    metrics = Metrics(daemons[1].port)
    assert metrics['handover_duration_seconds_count'] == metrics['verdict_owner_total'] == 1
    assert metrics['takeover_duration_seconds_count'] == 0
    assert metrics['store_round_trip_seconds_count'] > 3 and 0 < metrics['store_round_trip_seconds_sum'] < 10
    kamailios[0].stop()
    sent = wait_until(lambda: [f for f in kamailios[1].of_type('send') if b';why=takeover;' in decoded(f)], 20, 'the takeover')
    token = int(re.search(rb'-Branches: (\d+)', decoded(sent[0]))[1])
    kamailios[1].events({'t': 'taken', 'token': token, 'ok': 1})
    wait_until(lambda: Metrics(daemons[1].port)['takeovers_done_total'] == 1, 10, 'it is done')
    metrics = Metrics(daemons[1].port)
    assert metrics['takeover_duration_seconds_count'] == 1 and 0 < metrics['takeover_duration_seconds_sum'] < 20
    for name in ('handover_duration_seconds', 'takeover_duration_seconds', 'store_round_trip_seconds'):
        buckets = metrics.buckets(name)
        assert len(buckets) == 17 and list(buckets.values()) == sorted(buckets.values()), 'cumulative'
        assert buckets[float('inf')] == metrics[f'{name}_count']


def decoded(frame):
    return base64.b64decode(frame['msg'])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--write', action='store_true', help='into docs/metrics.md, instead of on the screen')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        daemon = Daemon(directory, FakeKamailio().port, http_listen=port).start()
        try:
            text = table(Metrics(port))
        finally:
            daemon.stop()
    if options.write:
        PAGE.write_text(head_of_page() + text)
    else:
        print(text, end='')


if __name__ == '__main__':
    main()
