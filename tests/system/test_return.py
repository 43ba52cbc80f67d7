"""Redis comes back empty, and kamsyncd writes all that lives again: how long does that take, and how much memory?

    /usr/bin/python3 -B test_return.py --records 100000

Half of the records are transactions of calls that ring, and the other half those calls.
"""
import argparse
import os
import tempfile
import time

from fake_kamailio import FakeKamailio
from harness import Daemon, Redis, RedisError, wait_until
from sip import Call

BATCH = 40      # events in a frame
WINDOW = 16     # frames that kamsyncd has not acknowledged, as the script keeps it
AWAY_S = 2.0    # longer than half of node_ttl_ms: claims are looked at before anything is written


class Node:
    def __init__(self, directory, redis):
        self.kamailio, self.redis = FakeKamailio(1).start(), redis
        self.daemon = Daemon(directory, self.kamailio.port, store=redis.url).start()
        self.kamailio.wait_hello()
        self.daemon.wait_report(kamailio='up', store='up')

    def has_credit(self):
        acks = self.kamailio.of_type('ack')
        return self.kamailio.n - (acks[-1]['events'] if acks else 0) < WINDOW

    def ring(self, calls):
        for start in range(0, calls, BATCH):
            events = []
            for _ in range(start, min(start + BATCH, calls)):
                call = Call()
                events += [call.branch_event(), call.reply_event(180)]
            self.kamailio.events(*events)
            wait_until(self.has_credit, 30, 'kamsyncd reads')

    def written(self):
        """Both sorts of records: names that Redis holds, without its nodes' own."""
        try:
            return self.redis.do('DBSIZE') - self.redis.do('EXISTS', 'kamsync:nodes', 'kamsync:node:1', 'kamsync:layout')
        except (OSError, RedisError):
            return 0

    def stop(self):
        self.daemon.stop()
        self.kamailio.stop()


class Measured:
    """What became of one outage."""

    def __init__(self, directory, records):
        self.redis = redis = Redis(directory).start()
        node = Node(directory, redis)
        try:
            node.ring(records // 2)
            wait_until(lambda: node.written() >= records, 60, lambda: f'all written: {node.written()}', every=0.05)
            self.before_kb = node.daemon.memory_kb()
            self.away(node)
            since = time.monotonic()
            self.steps = []
            wait_until(lambda: self.note(node, since) >= records, 60,
                       lambda: f'all back: {node.written()} of {records}', every=0.02)
            self.took = time.monotonic() - since
            report = node.daemon.report()
            self.writes = report['puts'] + report['call_writes']
            self.after_kb = node.daemon.memory_kb()
        finally:
            node.stop()
            redis.kill()

    def away(self, node):
        """A pace, not a wait for anything: calls ring on while Redis is away, and nothing piles up."""
        self.redis.kill()
        node.daemon.wait_report(store='down')
        end = time.monotonic() + AWAY_S
        self.away_kb = 0
        while time.monotonic() < end:
            self.away_kb = max(self.away_kb, node.daemon.memory_kb())
            time.sleep(0.1)
        self.redis.start()

    def note(self, node, since):
        self.steps.append((time.monotonic() - since, node.written()))
        return self.steps[-1][1]


def test_all_that_lives_comes_back(tmp_path):
    """Once each, and with no more memory than before."""
    measured = Measured(str(tmp_path), 4000)
    print(f'4000 records back in {measured.took:.2f} s')
    # written at the beginning, as far as events came in several turns more than once, and again after the return
    assert measured.writes <= 4 * 4000, measured.writes
    assert measured.away_kb < measured.before_kb + 20000
    assert measured.after_kb < measured.before_kb + 40000


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--records', type=int, default=100000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        measured = Measured(directory, options.records)
    print(f'{options.records} live records; kamsyncd: {measured.before_kb // 1024} MiB before, {measured.away_kb // 1024} '
          f'MiB while Redis was away, {measured.after_kb // 1024} MiB afterwards')
    for seconds, records in measured.steps[::max(1, len(measured.steps) // 12)]:
        print(f'  {seconds:5.2f} s {records:7}')
    print(f'all back {measured.took:.2f} s after Redis answered ({os.cpu_count()} cores for all)')


if __name__ == '__main__':
    main()
