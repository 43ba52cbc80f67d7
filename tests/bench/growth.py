#!/usr/bin/env python3
"""How each cost grows: with what is live, and with the call rate; with the number of nodes: nodes.py.

    growth.py [--quick | --full]
"""
import contextlib
import tempfile
import time

import measure
from harness import Redis
from measure import Report, Sample
from stream import Stream, frames, ordinary, ringing
import call

CALLS = 4000
SEARCH_S = 8        # a new kamsyncd looks through the store once, for what its Kamailio may have had before


def per_second(meter, seconds):
    before = meter()
    time.sleep(seconds)
    return [1000 * (after - one) / seconds for one, after in zip(before, meter())]


def cost_per_call(stream, first, rounds):
    costs = Sample()
    for number in range(rounds):
        start = first + number * CALLS
        packed = frames(ordinary(range(start, start + CALLS)))
        before = stream.cpu()
        stream.pump(packed)
        costs.append(1e6 * (stream.cpu() - before) / CALLS)
    return costs


def with_live(count, seconds, rounds):
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        redis = Redis(directory).start()
        stack.callback(redis.kill)
        stream = Stream(directory, redis.url)
        stack.callback(stream.close)
        if count:
            stream.pump(frames(ringing(range(10_000_000, 10_000_000 + count))))
        time.sleep(SEARCH_S)
        idle = per_second(lambda: [stream.cpu()], seconds)[0]
        return [count, f'{idle:.2f}', f'{1000 * idle / count:.2f}' if count else '-',
                cost_per_call(stream, 0, rounds).text(0)]


def with_rate(rate, rounds, seconds):
    costs, _ = call.at_starts(['plain', 'kamsync', 'floor'], rate, rounds, seconds)
    plain, mine = costs['plain']['kamailio'], costs['kamsync']
    shares = [cost.against(plain).percent() for variant in ('kamsync', 'floor')
              for cost in (costs[variant]['kamailio'], call.together(costs[variant], 'kamailio', 'kamsyncd'))]
    return [rate, plain.text(0), mine['kamailio'].text(0), mine['kamsyncd'].text(0), mine['redis'].text(0), *shares]


def main():
    options = measure.options(__doc__)
    quick = options.quick
    seconds, rounds = (3, 2) if quick else (6, 4)
    report = Report('Growth')
    report.text('With live (ringing) transactions in one kamsyncd:')
    report.table(['live', 'idle, ms of CPU per s', 'µs per s and transaction', 'kamsyncd, µs per call'],
                 [with_live(n, seconds, rounds) for n in ((0, 10000) if quick else (0, 1000, 10000, 100000))])
    report.text('With calls per second, real Kamailios; µs per call, and all over plain Kamailio. The floor is the least over '
                'evapi: five empty events, five SETs.')
    report.table(['calls per second', 'plain Kamailio', 'Kamailio with kamsync', 'kamsyncd', 'Redis', 'Kamailio',
                  'with kamsyncd', 'floor: Kamailio', 'floor: with its daemon'],
                 [with_rate(rate, rounds, seconds) for rate in ((50, 200) if quick else (50, 100, 200, 400, 600))])
    report.show()


if __name__ == '__main__':
    main()
