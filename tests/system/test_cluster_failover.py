"""Calls at two nodes go on while a Redis Cluster changes: what is answered, what is written again.

By itself it runs one way. $KAMSYNC_CLUSTER_TABLE names a file for the table of all as Markdown (docs/failover.md).
"""
import os
import signal
import time

import pytest

from harness import SLOWER, wait_until
from lab import tables
from redis_cluster import BUCKETS, RedisCluster
from test_failover import BEFORE_S, REWRITTEN_S, Traffic, stamp, under_calls

AWAY_S = 2          # until a master without a replica is started again
MOVED_SLOTS = 100
_rows = {}


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    head = ['accident', 'calls', 'time without writes to its slots', 'CANCELs at the other node: looked up, given to all, wrong',
            'records that were missing then', 'all there again']
    text = '\n'.join(f'| {" | ".join(row)} |' for row in [head, ['---'] * len(head), *_rows.values()]) + '\n'
    print('\n' + text)
    tables.write(text, 'KAMSYNC_CLUSTER_TABLE')


def kill(run):
    run.cluster.masters[0].kill()


def stop(run):
    run.cluster.masters[0].signal(signal.SIGSTOP)


def restart(run):
    """Empty. At once the others would not even notice that it was away."""
    if time.time() > run.begun + AWAY_S and not run.cluster.masters[0].running:
        run.cluster.masters[0].start()
    return run.cluster.masters[0].is_well()


def promoted(run):
    return run.cluster.replicas[0].is_master()


def command(run):
    run.cluster.replicas[0].do('CLUSTER', 'FAILOVER')


def begin_moves(run):
    run.to = run.to or run.cluster.masters[1]
    run.slots = [slot for slot in BUCKETS if run.cluster.owner(slot) is not run.to][:MOVED_SLOTS]


def add(run):
    run.to = run.cluster.add_master()
    begin_moves(run)


def move_one(run):
    """A slot, its keys one by one."""
    run.cluster.move(run.slots.pop(), run.to)
    return not run.slots


ACCIDENTS = {  # what happens, and what goes on until it has happened; with replicas or without
    'a master is killed': (kill, promoted, True),
    'a master stands still (SIGSTOP)': (stop, promoted, True),
    'CLUSTER FAILOVER': (command, promoted, True),
    'a master without a replica is killed, and back, empty, after 2 s': (kill, restart, False),
    f'{MOVED_SLOTS} slots move to another master': (begin_moves, move_one, False),
    f'a master is added, and gets {MOVED_SLOTS} slots': (add, move_one, False),
}
CHOSEN = ACCIDENTS if os.environ.get('KAMSYNC_CLUSTER_TABLE') else list(ACCIDENTS)[:1]


class Run:
    """One accident under calls. Times are those of the log: seconds since 1970."""

    def __init__(self, cluster, nodes, accident):
        self.cluster, self.nodes, self.traffic = cluster, nodes, Traffic(nodes)
        self.begin, self.happened = ACCIDENTS[accident][:2]
        self.slots, self.to = [], None
        self.begun = self.over = self.back = None
        self.missed, self.known = 0, []

    def go(self):
        start = time.monotonic()

        def done(now):
            if not self.begun and now > start + BEFORE_S:
                self.begun = time.time()
                self.begin(self)
            elif self.begun:
                self.look()
            return self.back is not None
        self.traffic.run(done)

    def look(self):
        """How far it is."""
        if not self.over and self.happened(self) and self.served():
            self.over = time.time()
            self.known = list(self.traffic.calls)
            self.missed = self.missing(self.known)
        if self.over and not self.back and not self.missing(self.known):
            self.back = time.time()

    def served(self):
        """Each node has all masters that it needs: as often as it lost one, it found one."""
        return all(node.daemon.log().count('nobody serves') == node.daemon.log().count('all slots are served') - 1
                   for node in self.nodes)

    def without(self):
        """How long a node had no master for some slots, or one that was dead."""
        return max(self.without_at(node.daemon.log().splitlines()) for node in self.nodes)

    def without_at(self, log):
        begins = [stamp(line) for line in log if 'nobody serves' in line]
        ends = [stamp(line) for line in log if 'all slots are served' in line][1:]
        if begins and self.begin in (kill, stop):
            begins[0] = self.begun
        return sum(end - begin for begin, end in zip(begins, ends))

    def missing(self, calls):
        return len({call.key(True).encode() for call in calls} - set(self.cluster.keys('kamsync:*:tx:*')))

    def row(self, name, counts):
        return [name, str(len(self.traffic.calls)), f'{self.without():.1f} s', ', '.join(str(n) for n in counts.values()),
                str(self.missed), f'{self.back - self.over:.2f} s']

    def check(self, counts):
        assert counts['wrong'] == 0 and counts['looked up'] > 0
        wait_until(lambda: not self.missing(self.traffic.calls), 5, 'all records', every=0.05)
        assert self.back - self.over < (REWRITTEN_S + 1) * SLOWER
        for node in self.nodes:
            assert node.daemon.report()['takeovers'] == 0


@pytest.mark.parametrize('accident', CHOSEN)
def test_cluster_under_calls(accident, tmp_path, make_node):
    under_calls(Run, RedisCluster(str(tmp_path), replicas=ACCIDENTS[accident][2]), accident, make_node, _rows)
