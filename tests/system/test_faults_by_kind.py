"""Calls at two nodes go on while Redis fails, for each kind of store: what is answered, written again, and in the archive.

By itself it runs one fault. $KAMSYNC_STORE_FAULTS_TABLE names a file (docs/faults.md) for the table of all: the kinds that can run
here get their columns, others keep what they have.
"""
import os
import re
import time

import pytest

from conftest import wait_met
from harness import SLOWER, RedisError
from lab import tables
from store_faults import FAULTS, KINDS
from test_failover import Traffic, judged
from test_store_faults import of_kind
from test_tls import certificates, tls  # noqa: F401

BEFORE_S, AWAY_S, AFTER_S = 1, 2, 1
END_AFTER_S = 0.3     # of its CANCEL, a call ends
BACK_S = 3
HEADING = '## By kind of store'
COLUMNS = {'single': 'one Redis', 'sentinel': 'behind Sentinels', 'tls': 'over TLS', 'cluster': 'Cluster'}
TABLE = 'KAMSYNC_STORE_FAULTS_TABLE'
CHOSEN = [(kind, fault) for kind in KINDS for fault in FAULTS] if os.environ.get(TABLE) else [('single', '`CLIENT KILL`')]
_cells, _lines = {}, {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    head = ['fault', 'the log', *COLUMNS.values()]
    old = tables.rows_below(HEADING, TABLE)
    rows = []
    for fault in FAULTS:
        before = old.get(fault, ['–'] * (len(head) - 1))
        cells = [_cells.get((kind, fault), before[i]) for i, kind in enumerate(COLUMNS, 1)]
        rows.append([fault, _lines.get(fault, before[0]), *cells])
    text = '\n'.join(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *rows]) + '\n'
    print('\n' + text)
    tables.write(text, TABLE, HEADING)


class Calls(Traffic):
    """Those of the failovers, which end, too."""

    def __init__(self, nodes):
        super().__init__(nodes)
        self.ending, self.ended = [], {}

    def stray(self, entry):
        super().stray(entry)
        self.ending.append((entry[0] + END_AFTER_S, entry[1]))

    def step(self, now):
        super().step(now)
        self.end(now)

    def end(self, now):
        while self.ending and self.ending[0][0] <= now:
            call = self.ending.pop(0)[1]
            call.at.kamailio.events(call.reply_event(487))
            self.ended[call] = now

    def living(self):
        """Whose record must be there."""
        return [call for call in self.calls if call not in self.ended]


class Run:
    """One fault under calls."""

    def __init__(self, store, nodes, fault):
        self.store, self.nodes, self.fault = store, nodes, FAULTS[fault]
        self.traffic = Calls(nodes)
        self.harmed = self.mended = self.back = self.missed = None

    def for_a_while(self, seconds):
        begun = time.monotonic()
        self.traffic.run(lambda now: now > begun + seconds, 0)

    def go(self):
        self.fault.prepare(self.store)
        self.for_a_while(BEFORE_S)
        self.harmed = time.monotonic()
        with self.fault.harm(self.store, self.nodes):
            self.for_a_while(AWAY_S)
        self.mended, known = time.monotonic(), self.traffic.living()
        self.missed = self.missing(known)
        self.traffic.run(lambda now: self.is_back(known), AFTER_S)
        self.traffic.end(float('inf'))

    def is_back(self, known):
        if self.missing([call for call in known if call not in self.traffic.ended]) == 0:
            self.back = time.monotonic() - self.mended
        return self.back is not None or time.monotonic() > self.mended + 20

    def missing(self, calls):
        try:
            return len(calls) - self.store.count(calls)
        except (OSError, RedisError, StopIteration):
            return len(calls)

    def entries(self):
        """How many calls that must be in the archive are there, once each."""
        since = self.harmed if self.fault.loses else 0
        want = [call.call_id for call, at in self.traffic.ended.items() if at > since]
        found = {}
        for _, pairs in sum(self.store.archives(), []):
            call_id = dict(zip(pairs[::2], pairs[1::2]))[b'call_id']
            found[call_id] = found.get(call_id, 0) + 1
        return len([call_id for call_id in want if found.get(call_id) == 1]), len(want)

    def wait_entries(self):
        deadline = time.monotonic() + 10 * SLOWER
        while len(set(self.entries())) > 1 and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.entries()

    def line(self):
        """As the operator reads it, without time and address."""
        if not self.fault.says:
            return '–'
        log = ''.join(node.daemon.log() for node in self.nodes)
        found = next(line for line in log.splitlines() if re.search(self.fault.says, line))
        text = re.sub(r'redis \S+ \(', 'redis … (', found.split(' ', 1)[1].split(' ', 1)[1].strip())
        said, arrow, advice = text.partition(' -> ')
        return f'`{said if len(said) < 100 else said[:80] + "…"}{arrow}{advice}`'


@pytest.fixture
def store(request, tmp_path):
    made = of_kind(request, str(tmp_path), down_ms=1000)
    yield made
    made.stop()


@pytest.mark.parametrize('store, fault', CHOSEN, indirect=['store'])
def test_calls_go_on(request, store, fault, make_node):
    nodes = [make_node(i, store=store.url, heartbeat_ms=1000, node_ttl_ms=3000, **store.options) for i in (1, 2)]
    wait_met(*nodes)
    run = Run(store, nodes, fault)
    run.go()
    counts, (right, all_) = judged(run.traffic), run.wait_entries()
    kind = request.node.callspec.params['store']
    back = f'{run.back:.1f} s' if run.back is not None else '**never**'
    _cells[kind, fault] = (f'{len(run.traffic.calls)} calls; CANCELs: {", ".join(f"{n} {what}" for what, n in counts.items())}; '
                           f'{run.missed} records missed, back in {back}; archive {right} of {all_}')
    print(_cells[kind, fault])
    if kind == 'single':
        _lines[fault] = run.line()
    assert counts['wrong'] == 0 and counts['looked up'] > 0
    assert run.back is not None and run.back < BACK_S * SLOWER
    assert all_ > 0 and (right == all_ or FAULTS[fault].evicts)
    for node in nodes:
        assert node.daemon.report()['takeovers'] == 0
        node.daemon.stop()
