"""Calls at two nodes go on while another Redis becomes the master, in six ways: what is answered, what is written again.

By itself it runs one way. $KAMSYNC_FAILOVER_TABLE names a file for the table of all as Markdown (docs/failover.md).
"""
import os
import random
import re
import signal
import time
from datetime import datetime

import pytest

from conftest import wait_met
from harness import SLOWER, wait_until
from lab import tables
from sentinel import NAME, Watched
from sip import Call, open_handover

EVERY_S = 0.01              # a call: 100 a second, at random nodes
STRAY_AFTER_S = 0.5         # its CANCEL reaches the other node
BEFORE_S, AFTER_S = 1, 2    # of traffic, around the failover
REWRITTEN_S = 2.0           # what the new master has missed
_rows = {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    head = ['accident', 'calls', 'time without writes', 'CANCELs at the other node: looked up, given to all, wrong',
            'records that the new master had missed', 'all there again']
    text = '\n'.join(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *_rows.values()]) + '\n'
    print('\n' + text)
    tables.write(text, 'KAMSYNC_FAILOVER_TABLE')


class Traffic:
    """Calls that ring, each at one of the nodes, and half a second later its CANCEL at the other one."""

    def __init__(self, nodes):
        self.nodes, self.calls, self.random = nodes, [], random.Random(int(os.environ.get('KAMSYNC_SEED', '1')))
        self.due = []

    def run(self, done, after=AFTER_S):
        """Until done() and then for a while."""
        end = None
        while end is None or time.monotonic() < end:
            begun = time.monotonic()
            self.step(begun)
            if end is None and done(begun):
                end = begun + after
            time.sleep(max(0, begun + EVERY_S - time.monotonic()))  # a pace, not a wait
        while self.due:
            self.stray(self.due.pop(0))

    def step(self, now):
        call = Call()
        call.at = self.random.choice(self.nodes)
        call.at.kamailio.events(call.branch_event(), call.reply_event(180))
        self.calls.append(call)
        self.due.append((now + STRAY_AFTER_S, call))
        while self.due[0][0] <= now:
            self.stray(self.due.pop(0))

    def stray(self, entry):
        other = next(node for node in self.nodes if node is not entry[1].at)
        other.kamailio.stray(entry[1].cancel())

    def answers(self):
        """What each CANCEL was given, by its Call-ID: {(why, to whom, by whom, when it came there)}"""
        found = {}
        for node in self.nodes:
            for frame in node.kamailio.of_type('send'):
                fields, message = open_handover(frame)
                call_id = re.search(rb'Call-ID: (\S+)', message).group(1)
                came = fields['at'].split('-')[0]  # which all copies of one have
                found.setdefault(call_id, set()).add((fields['why'], frame['to'], node.kamailio.sip, came))
        return found

    def judge(self, answers):
        """looked up, given to all, wrong. One that was given to all, since a kamsyncd had not answered yet, may be looked up
        nevertheless, or given to all again: its owner acts on one copy (docs/strays.md)."""
        counts = {'looked up': 0, 'given to all': 0, 'wrong': 0}
        for call in self.calls:
            got = answers.get(call.call_id, set())
            to_owner = [why == 'owner' and to == call.at.kamailio.sip for why, to, _, _ in got]
            to_all = [why == 'unavailable' and to == by for why, to, by, _ in got]
            if sum(to_owner) + sum(to_all) != len(got) or max(sum(to_owner), sum(to_all)) != 1:
                counts['wrong'] += 1
                print('wrong:', call.call_id, got)
            else:
                counts['given to all' if any(to_all) else 'looked up'] += 1
        return counts


def command(w):
    def begun():
        return w.sentinels[0].do('SENTINEL', 'failover', NAME) == b'OK'
    wait_until(begun, 5, 'a failover to begin')


def kill(w):
    w.master().kill()


def stop(w):
    w.master().signal(signal.SIGSTOP)


ACCIDENTS = {  # what comes a second before, what happens, and then
    'killed': (None, kill, None),
    'by command': (None, command, None),
    'stands still (SIGSTOP)': (None, stop, None),
    'killed, and back, empty, when there is another': (None, kill, lambda run: run.old.start()),
    'killed, with one dead Sentinel': (lambda w: w.sentinels[0].kill(), kill, None),
    'killed, the replica 1 s behind': (lambda w: w.cut_replica(), kill, None),
}
CHOSEN = ACCIDENTS if os.environ.get('KAMSYNC_FAILOVER_TABLE') else list(ACCIDENTS)[:1]


def stamp(line):
    return datetime.fromisoformat(line.split(' ')[0].replace('Z', '+00:00')).timestamp()


def connected_at(daemon, port):
    """None: not yet."""
    return next((stamp(line) for line in daemon.log().splitlines() if f':{port} (commands): connected' in line), None)


class Run:
    """One accident under calls. Times are those of the log: seconds since 1970."""

    def __init__(self, watched, nodes, accident):
        self.watched, self.nodes, self.traffic = watched, nodes, Traffic(nodes)
        self.before, self.accident, self.after = ACCIDENTS[accident]
        self.old, self.new = watched.master(), None
        self.prepared = self.begun = self.connected = self.back = None
        self.missed, self.known = 0, []

    def go(self):
        start = time.monotonic()

        def done(now):
            if not self.prepared and now > start + BEFORE_S:
                self.prepared = now
                if self.before:
                    self.before(self.watched)
            if self.prepared and not self.begun and now > self.prepared + BEFORE_S:
                self.begun = time.time()
                self.accident(self.watched)
            if self.begun:
                self.look()
            return self.back is not None
        self.traffic.run(done)

    def look(self):
        """How far it is."""
        master = self.watched.master()
        if not self.new and master is not self.old and self.watched.is_master(master):
            self.new = master
            self.missed = self.missing(self.traffic.calls)
            if self.after:
                self.after(self)
        if self.new and not self.connected and all(connected_at(node.daemon, self.new.port) for node in self.nodes):
            self.connected = max(connected_at(node.daemon, self.new.port) for node in self.nodes)
            self.known = list(self.traffic.calls)
        if self.connected and not self.back and not self.missing(self.known):
            self.back = time.time()

    def missing(self, calls):
        return len(calls) - self.new.do('EXISTS', *[call.key() for call in calls])

    def row(self, name, counts):
        return [name, str(len(self.traffic.calls)), f'{self.connected - self.begun:.1f} s',
                ', '.join(str(n) for n in counts.values()), str(self.missed), f'{self.back - self.connected:.2f} s']

    def check(self, counts):
        assert counts['wrong'] == 0 and counts['looked up'] > 0
        assert self.missing(self.traffic.calls) == 0
        assert self.back - self.connected < REWRITTEN_S * SLOWER
        for node in self.nodes:
            assert node.daemon.report()['takeovers'] == 0
        if self.old.running and self.after:
            self.check_old()

    def check_old(self):
        """Back and told of nothing: nobody has written to it."""
        transactions = self.old.transactions()
        assert self.old.do('ROLE')[0] != b'master' or transactions == []


def judged(traffic):
    """As soon as each CANCEL has been given somewhere."""
    wait_until(lambda: len(traffic.answers()) == len(traffic.calls), 5, 'all CANCELs to be answered', every=0.1)
    return traffic.judge(traffic.answers())


def under_calls(run_class, store, accident, make_node, rows):
    """Puts its row among these. The store, which the caller has made for it, is stopped."""
    try:
        nodes = [make_node(i, store=store.url, heartbeat_ms=1000, node_ttl_ms=3000) for i in (1, 2)]
        wait_met(*nodes)
        run = run_class(store, nodes, accident)
        run.go()
        counts = judged(run.traffic)
        rows[accident] = run.row(accident, counts)
        run.check(counts)
        for node in nodes:
            node.daemon.stop()
    finally:
        store.stop()


@pytest.mark.parametrize('accident', CHOSEN)
def test_failover_under_calls(accident, tmp_path, make_node):
    under_calls(Run, Watched(str(tmp_path)), accident, make_node, _rows)
