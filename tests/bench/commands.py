#!/usr/bin/env python3
"""Redis' part of an ordinary call, by Redis' own counts; and its CPU, with that of kamsyncd, for calls at a rate.

    commands.py [--calls 1000] [--rate 200]
"""
import tempfile

import measure
from measure import Report, Sample
from redis_budget import Bench

ROUNDS = 3


def shown(commands):
    """'set, 2 evalsha, …': the dearest first."""
    dearest = sorted(commands.items(), key=lambda item: -item[1][1])
    return ', '.join(name if round(calls) == 1 else f'{calls:.0f} {name}' for name, (calls, _) in dearest)


def in_steps(report, directory, calls):
    report.text(f'Step by step, {calls} calls; what scripts call is among the commands, and its time in that of the scripts.')
    with Bench(directory, calls) as bench:
        outcome = bench.run()
    report.table(['', 'commands', 'µs of all scripts', 'bytes to Redis'],
                 [[step, shown(commands) or '-', f'{commands.get("evalsha", (0, 0))[1]:.0f}', f'{size:.0f}']
                  for step, (commands, size) in outcome.items()])


def at_rate(report, directory, calls, rate):
    rounds = []
    for _ in range(ROUNDS):
        with Bench(directory, calls) as bench:
            rounds.append(bench.pace(rate))
    redis, kamsyncd = map(Sample, zip(*rounds))
    report.text(f'CPU for each of {calls} calls, {rate} per second, in frames as Kamailio sends them: Redis {redis.text(0)} µs, '
                f'kamsyncd {kamsyncd.text(0)} µs.')


def main():
    options = measure.options(__doc__, ('--calls', 1000, 'how many'), ('--rate', 200, 'calls per second'))
    report = Report("Redis' part")
    with tempfile.TemporaryDirectory() as directory:
        in_steps(report, directory, options.calls)
        at_rate(report, directory, options.calls, options.rate)
    report.show()


if __name__ == '__main__':
    main()
