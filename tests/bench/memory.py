#!/usr/bin/env python3
"""Bytes per live transaction and per live call, in kamsyncd and in Redis.

    memory.py [--quick | --full]

A fresh kamsyncd and Redis for each row. Calls are fed in portions, so that few of their transactions, which stay for 5 s
after the 200, stand beside them.
"""
import tempfile
import time

import measure
from harness import Redis, wait_until
from measure import Report
from stream import Stream, frames, invite, reinvites, ringing, talking

PORTION = 20000


def used_by(redis):
    info = redis.do('INFO', 'memory').decode()
    return int(next(line.split(':')[1] for line in info.split('\r\n') if line.startswith('used_memory:')))


def feed(stream, make, count):
    for start in range(0, count, PORTION):
        stream.pump(frames(make(range(start, min(start + PORTION, count)))))
        if make is talking:
            wait_until(lambda: stream.daemon.report()['transactions'] == 0, 30, 'transactions gone', every=0.2)


def one(make, count):
    with tempfile.TemporaryDirectory() as directory:
        redis = Redis(directory).start()
        stream = Stream(directory, redis.url, txns_max=10000000)
        try:
            time.sleep(0.5)
            daemon, store = measure.rss(stream.pid), used_by(redis)
            feed(stream, make, count)
            if make is not talking:
                assert stream.daemon.report()['transactions'] == count
            daemon, store = measure.rss(stream.pid) - daemon, used_by(redis) - store
            return daemon / count, store / count
        finally:
            stream.close()
            redis.kill()


def main():
    options = measure.options(__doc__)
    counts = [10000] if options.quick else [10000, 100000, 1000000] if options.full else [10000, 100000]
    report = Report('Memory')
    size = len(invite(100000))
    rows = []
    for count in counts:
        for name, make in (('transaction of a re-INVITE', reinvites), ('ringing transaction with its call', ringing),
                           ('answered call', talking)):
            daemon, store = one(make, count)
            rows.append([name, count, f'{daemon:.0f}', '-' if make is talking else f'{daemon - size:.0f}', f'{store:.0f}'])
    report.text(f'Growth of resident memory (kamsyncd) and of used_memory (Redis), by their number. The stored INVITE has '
                f'{size} bytes. Resident memory of an answered call includes what one portion of {PORTION} transactions '
                'leaves behind in malloc, used_memory the records of transactions, which stay 32 s.')
    report.table(['', 'live', 'kamsyncd, bytes each', 'beyond the request', 'Redis, bytes each'], rows)
    report.show()


if __name__ == '__main__':
    main()
