#!/usr/bin/python3
"""Ten times the changes that Redis can take: what becomes of memory, of records, and of the time to recover.

    ./dev bench overload [--seconds N] [--txns-max N]

A real kamsyncd with a fake Kamailio and a real Redis behind a proxy that carries BYTES_PER_S: some hundred records a
second. Calls come ten times as fast as that, and each changes four times.
"""
import argparse
import os
import socket
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
for folder in ('system', 'e2e'):
    sys.path.append(os.path.join(HERE, '..', folder))

from fake_kamailio import FakeKamailio  # noqa: E402
from harness import Daemon, Redis, free_port, wait_until  # noqa: E402
from lab.redis_proxy import Proxy  # noqa: E402
from sip import Call  # noqa: E402

BYTES_PER_S = 400_000   # with some 1.2 kB for each change: about 330 changes a second
CALLS_PER_S = 1000      # each rings, then is answered: with its call's record four writes, if none merge
BATCH = 20
WINDOW = 16


class Run:
    def __init__(self, directory, seconds, txns_max=500000):
        self.redis = Redis(directory).start()
        port = free_port()
        self.proxy = Proxy(lambda: socket.create_server(('127.0.0.1', port)),
                           lambda: socket.create_connection(('127.0.0.1', self.redis.port)))
        self.kamailio = FakeKamailio(1).start()
        self.daemon = Daemon(directory, self.kamailio.port, store=f'redis://127.0.0.1:{port}', txns_max=txns_max,
                             redis_timeout_ms=3000).start()
        self.calls, self.rows, self.last = [], [], None
        try:
            self.kamailio.wait_hello()
            self.daemon.wait_report(kamailio='up', store='up')
            self.load(seconds)
            self.recover()
        finally:
            self.daemon.stop()
            self.kamailio.stop()
            self.proxy.stop()
            self.redis.kill()

    def unread(self):
        """Frames that kamsyncd has not acknowledged."""
        acks = self.kamailio.of_type('ack')
        return self.kamailio.n - (acks[-1]['events'] if acks else 0)

    def has_credit(self):
        return self.unread() < WINDOW

    def load(self, seconds):
        self.proxy.bytes_per_s = BYTES_PER_S
        self.begin, noted = time.monotonic(), 0
        while (now := time.monotonic() - self.begin) < seconds:
            if now >= noted:
                self.note()
                noted += 1
            self.ring([Call() for _ in range(BATCH)])
            # a pace: so many calls a second
            time.sleep(max(0, self.begin + len(self.calls) / CALLS_PER_S - time.monotonic()))
        self.note()

    def ring(self, calls):
        self.calls += calls
        self.kamailio.events(*[event for call in calls for event in (call.branch_event(), call.reply_event(180))])
        wait_until(self.has_credit, 30, 'kamsyncd reads')

    def note(self):
        report = self.daemon.report()
        self.rows.append((time.monotonic() - self.begin, len(self.calls), report['transactions'], report['unwritten'],
                          report['puts'] + report['call_writes'], report['txns_shed'], self.daemon.memory_kb()))

    def recover(self):
        """Redis is quick again: all that lives is written, without a word to anyone."""
        self.proxy.ok()
        since = time.monotonic()
        wait_until(lambda: self.unread() == 0, 30, 'kamsyncd has read all')
        self.tracked = len(self.calls) - self.daemon.report()['txns_shed']
        wait_until(lambda: len(self.redis.transactions()) >= self.tracked, 60,
                   lambda: f'{len(self.redis.transactions())} of {self.tracked} records', every=0.05)
        self.daemon.wait_report(timeout=60, unwritten=0)
        self.recovered = time.monotonic() - since
        self.note()

    def show(self):
        print(f'{"s":>6} {"calls":>7} {"tracked":>8} {"unwritten":>9} {"writes":>8} {"shed":>7} {"MiB":>5}')
        for seconds, calls, txns, unwritten, writes, shed, kb in self.rows:
            print(f'{seconds:6.1f} {calls:7} {txns:8} {unwritten:9} {writes:8} {shed:7} {kb // 1024:5}')
        print(f'recovered {self.recovered:.1f} s after Redis was quick again: {self.tracked} records')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--seconds', type=float, default=20)
    parser.add_argument('--txns-max', type=int, default=10000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        Run(directory, options.seconds, options.txns_max).show()


if __name__ == '__main__':
    main()
