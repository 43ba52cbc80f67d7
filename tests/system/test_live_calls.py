"""Many live calls: kamsyncctl finds those that ring, and nobody has to wait for it.

    /usr/bin/python3 -B test_live_calls.py --calls 100000
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile
import threading
import time

from fake_control import CTL
from fake_kamailio import FakeKamailio
from harness import Daemon, Redis, wait_until
from sip import Call

BATCH = 40            # events in a frame
RINGING_EVERY = 10    # of ten calls one rings, the others talk
WINDOW = 16           # frames that kamsyncd has not acknowledged, as the script keeps it


class Node:
    def __init__(self, number, directory, redis):
        self.kamailio = FakeKamailio(number).start()
        self.daemon = Daemon(directory, self.kamailio.port, name=f'k{number}', store=redis.url, lookup_ms=0)
        self.daemon.options['control'] = self.daemon.control
        self.daemon.start()
        self.kamailio.wait_hello()
        self.daemon.wait_report(kamailio='up', store='up')

    def report(self, calls):
        for start in range(0, calls, BATCH):
            events = []
            for number in range(start, min(start + BATCH, calls)):
                call = Call()
                codes = [180] if number % RINGING_EVERY == 0 else [180, 200]
                events += [call.branch_event(), *[call.reply_event(code) for code in codes]]
            self.kamailio.events(*events)
            wait_until(self.has_credit, 30, 'kamsyncd reads')

    def has_credit(self):
        acks = self.kamailio.of_type('ack')
        return self.kamailio.n - (acks[-1]['events'] if acks else 0) < WINDOW

    def ctl(self, *words):
        """kamsyncctl's answer, and the seconds it took."""
        begun = time.monotonic()
        out = subprocess.run([*CTL, '-s', self.daemon.control, '--json', *words], capture_output=True, check=True)
        return json.loads(out.stdout), time.monotonic() - begun

    def ringing(self):
        """An answer of both nodes: on a busy machine one may be late, and the answer says so."""
        return wait_until(lambda: (got := self.ctl('calls', '--state', 'ringing', '--limit', '50')) and not got[0]['silent'] and got,
                          30, 'an answer of both nodes')

    def stop(self):
        self.daemon.stop()
        self.kamailio.stop()


class Lookups(threading.Thread):
    """CANCELs that nobody owns, one after the other: how long kamsyncd needs for each."""

    def __init__(self, kamailio):
        super().__init__(daemon=True)
        self.kamailio, self.going, self.took = kamailio, True, []

    def run(self):
        while self.going:
            sends = len(self.kamailio.of_type('send'))
            begun = self.kamailio.stray(Call().cancel())
            wait_until(lambda: len(self.kamailio.of_type('send')) > sends, 5, 'the verdict', every=0.0005)
            self.took.append(time.monotonic() - begun)

    def stop(self):
        self.going = False
        self.join()
        return [1000 * seconds for seconds in self.took]


def measure(directory, calls):
    """Two nodes with half of the calls each."""
    redis = Redis(directory).start()
    nodes = [Node(number, directory, redis) for number in (1, 2)]
    try:
        nodes[0].kamailio.wait_frame('node', id=2, up=1)
        for node in nodes:
            node.report(calls // 2)
        for node in nodes:
            node.daemon.wait_report(timeout=60, unwritten=0)
        lookups = Lookups(nodes[0].kamailio)
        lookups.start()
        wait_until(lambda: len(lookups.took) >= 20, 20, 'lookups before')
        before = len(lookups.took)
        answers = [nodes[0].ringing() for _ in range(20)]
        took = lookups.stop()
        return answers, took[:before], took[before:], [node.daemon.memory_kb() for node in nodes]
    finally:
        for node in nodes:
            node.stop()
        redis.kill()


def check(answers, calls):
    for answer, _ in answers:
        assert answer['total'] == calls // RINGING_EVERY
        assert len(answer['calls']) == 50
        assert all(call['state'] == 'ringing' for call in answer['calls'])


def test_calls_that_ring(tmp_path):
    answers, *_ = measure(str(tmp_path), 4000)
    check(answers, 4000)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--calls', type=int, default=100000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        answers, before, meanwhile, memory = measure(directory, options.calls)
        check(answers, options.calls)
        took = sorted(1000 * seconds for _, seconds in answers)
        print(f'{options.calls} live calls on two nodes, {answers[0][0]["total"]} of them ring')
        print(f'kamsyncctl calls --state ringing: median {statistics.median(took):.0f} ms, longest {took[-1]:.0f} ms')
        print(f'a lookup at that node: median {statistics.median(before):.1f} ms, longest {max(before):.1f} ms before; '
              f'meanwhile median {statistics.median(meanwhile):.1f} ms, longest {max(meanwhile):.1f} ms')
        print(f'memory of kamsyncd: {max(memory) / 1024:.0f} MiB for {options.calls // 2} calls each')


if __name__ == '__main__':
    main()
