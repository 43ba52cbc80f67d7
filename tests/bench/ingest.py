#!/usr/bin/env python3
"""Events per second through one kamsyncd into Redis, against redis-benchmark with the same command and payload.

    ingest.py [--quick | --full]

In each round: redis-benchmark, kamsyncd, kamsyncd with a store in its own memory, redis-benchmark again (A/A).
"""
import re
import subprocess
import tempfile
import time

import measure
from harness import Redis
from lab.redis_tools import redis_tool
from measure import Report, Sample
from stream import Stream, frames, ordinary, reinvites, ringing

PIPELINE = 32


class Ingest:
    def __init__(self, directory, count):
        self.count, self.number = count, 0
        self.redis = Redis(directory).start()
        self.stream = Stream(directory, self.redis.url)
        self.alone = Stream(directory, 'memory://', node=2)

    def close(self):
        for it in (self.stream, self.alone):
            it.close()
        self.redis.kill()

    def numbers(self):
        first, self.number = self.number, self.number + self.count
        return range(first, self.number)

    def run(self, make, stream):
        """Events, puts and call writes per second, and µs of kamsyncd's CPU per event."""
        events = make(self.numbers())
        packed = frames(events)
        before, cpu = stream.counters(), stream.cpu()
        took = stream.pump(packed)
        cpu, after = stream.cpu() - cpu, stream.counters()
        return {'events': len(events) / took, 'puts': (after['puts'] - before['puts']) / took,
                'calls': (after['call_writes'] - before['call_writes']) / took, 'cpu': 1e6 * cpu / len(events)}

    def benchmark(self, *command, count=None):
        """Requests per second."""
        argv = [redis_tool('benchmark'), '-p', self.redis.port, '-P', PIPELINE, '-c', 1, '-r', 1000000,
                '-n', count or 2 * self.count, '-q', *command]
        out = subprocess.run([str(word) for word in argv], capture_output=True, check=True).stdout
        return float(re.findall(rb'([\d.]+) requests per second', out)[-1])

    def commands(self):
        """The SET of a transaction's record and that of a call's, with a number for redis-benchmark to vary."""
        self.stream.pump(frames(ringing([9999999])))
        key = next(k for k in self.redis.do('KEYS', 'kamsync:tx:*9999999*'))
        record = self.redis.do('GET', key).decode()
        key = next(k for k in self.redis.do('KEYS', 'kamsync:call:*9999999*'))
        call = self.redis.do('GET', key).decode()
        return (['SET', 'bench:tx:__rand_int__', record, 'PX', 300000],
                ['SET', 'bench:call:__rand_int__', call, 'NX', 'GET', 'PX', 46800000]), len(record)


def main():
    options = measure.options(__doc__)
    count, rounds = (5000, 3) if options.quick else (20000, 5) if options.full else (10000, 4)
    kinds = [('re-INVITE: one SET each', reinvites), ('new call: two SETs, then 180', ringing),
             ('ordinary call: 5 events', ordinary)]
    bench = {name: Sample() for name in ('set', 'set-again', 'call')}
    runs = {name: {'redis': [], 'memory': []} for name, _ in kinds}
    with tempfile.TemporaryDirectory() as directory:
        ingest = Ingest(directory, count)
        try:
            (set_command, call_command), size = ingest.commands()
            for _ in range(rounds):
                bench['set'].append(ingest.benchmark(*set_command))
                bench['call'].append(ingest.benchmark(*call_command))
                for name, make in kinds:
                    runs[name]['redis'].append(ingest.run(make, ingest.stream))
                    runs[name]['memory'].append(ingest.run(make, ingest.alone))
                bench['set-again'].append(ingest.benchmark(*set_command))
                ingest.redis.do('FLUSHALL')
                time.sleep(0.2)
        finally:
            ingest.close()
    show(count, rounds, size, bench, runs)


def sample(runs, name):
    return Sample(run[name] for run in runs)


def share_of_redis(run, bench):
    """What redis-benchmark would need for the same commands, of the time that kamsyncd needed."""
    return Sample(one['puts'] / s + one['calls'] / c for one, s, c in zip(run, bench['set'], bench['call']))


def show(count, rounds, size, bench, runs):
    report = Report('Ingest')
    report.text(f'{count} transactions at a time through one kamsyncd, at most 32 frames unacknowledged, until Redis has '
                f'acknowledged all; redis-benchmark with the same commands (a record of {size} bytes), one connection, '
                f'pipelined by {PIPELINE}; {rounds} rounds, median (least to most).')
    report.table(['redis-benchmark', 'per second'],
                 [['SET of a record', bench['set'].text(0)], ['SET of a call', bench['call'].text(0)],
                  ['SET, the last of the round to the first (A/A)', bench['set-again'].against(bench['set']).percent()]])
    rows = []
    for name, run in runs.items():
        redis, memory = run['redis'], run['memory']
        rows.append([name, sample(redis, 'events').text(0), sample(redis, 'puts').text(0), sample(redis, 'calls').text(0),
                     share_of_redis(redis, bench).text(2), sample(redis, 'cpu').text(1), sample(memory, 'events').text(0),
                     sample(memory, 'cpu').text(1)])
    report.table(['', 'events/s', 'of transactions/s', 'of calls/s', "of redis-benchmark's rate", 'kamsyncd µs per event',
                  'events/s with memory://', 'µs per event'], rows)
    report.show()


if __name__ == '__main__':
    main()
