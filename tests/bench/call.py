#!/usr/bin/env python3
"""What an ordinary call costs: INVITE, 180, 200, ACK, BYE.

    call.py [--quick | --full] [--rate 200] [--rtt 1,5,20] [--variants plain,kamsync,…] [--before FOLDER]

All variants of a table carry the same load at the same time, so they meet the same disturbances; each round is one
stretch of that time. What the processes use without calls is shown; what they use while one call goes on, and nothing
happens, is subtracted: a node without any call would be probed more rarely. All start anew
every two rounds: a Kamailio's cost per call differs by some 10 % from start to start, as its allocator finds its memory.
--before measures another checkout beside this one, built in its build/: what has a change cost or saved?
"""
import os
import statistics
import time

import measure
from measure import Report, Sample
from sites import PARTS, Sites, result, spent

QUICK = ['plain', 'plain-again', 'kamsync']
VARIANTS = [*QUICK, 'kamsync+tlsf', 'floor-records', 'floor', 'floor-invite']
INSTEAD = ['plain', 'ndb_redis', 'dialog', 'htable']
BEFORE = 'kamsync-before'
NAMES = {'plain': 'plain Kamailio', 'plain-again': 'plain Kamailio again (A/A)', 'kamsync': 'with kamsync',
         'ndb_redis': 'the same writes by ndb_redis', 'dialog': 'dialog over DMQ', 'htable': 'htable over DMQ',
         BEFORE: 'with kamsync as it was',
         'floor-records': 'the least for the same events and records',
         'floor': 'the least over evapi: five empty events, five SETs',
         'floor-invite': 'the INVITE alone over evapi: one empty event, one SET'}
SETTLE_S = 7    # tm keeps a transaction for 5 s after its end: only then what comes and what goes are even
REST_S = 5      # after a start or a call, until nothing happens: its timer rests for long after 3 s without events
UNUSED_S = 4    # of measuring then
UNUSED = {'idle': 'idle node, ms per s', 'waiting': 'node with one call that goes on, ms per s'}
ROUNDS_PER_START = 2
NODES = 2
# at most so many % over plain Kamailio
GOALS = {'CPU in Kamailio, over plain': (25, 'kamailio'), 'with kamsyncd': (40, 'kamailio', 'kamsyncd'),
         'with Redis': (60, 'kamailio', 'kamsyncd', 'redis')}
IDLE_GOAL = 3
LEAST = 'floor-records'


def name_of(variant):
    name, _, ms = variant.partition('@')
    name, _, allocator = name.partition('+')
    return NAMES[name] + (f', Redis {ms} ms away' if ms else '') + (f', Kamailio with -x {allocator}' if allocator else '')


def at_rest(sites):
    """{variant: {part: CPU in seconds per second}} while nothing happens."""
    time.sleep(REST_S)
    before = sites.cpu()
    time.sleep(UNUSED_S)
    return {variant: {name: value / UNUSED_S for name, value in names.items()}
            for variant, names in spent(before, sites.cpu()).items()}


def at_fixed_rate(sites, rate, rounds, seconds):
    """{variant: {part: Sample of µs per call, ('idle' or 'waiting', part): Sample of ms per s of a node}}, where a part may be
    'kamailio', all of it; and what the phones saw."""
    idle = at_rest(sites)
    for phones in [site.phones('stay', 1, 1) for site in sites.site.values()]:
        result(phones)
    waiting = at_rest(sites)
    calls = int(rate * (SETTLE_S + rounds * seconds + 2))
    phones = {variant: site.phones('call', calls, rate) for variant, site in sites.site.items()}
    time.sleep(SETTLE_S)
    costs = {variant: {name: Sample() for name in names} for variant, names in idle.items()}
    for _ in range(rounds):
        before, begun = sites.cpu(), time.monotonic()
        time.sleep(seconds)
        used, took = spent(before, sites.cpu()), time.monotonic() - begun
        for variant, names in used.items():
            for name, value in names.items():
                costs[variant][name].append(1e6 * (value / took - waiting[variant][name]) / rate)
    for name, found in (('idle', idle), ('waiting', waiting)):
        for variant, parts in found.items():
            costs[variant] |= {(name, part): Sample([1000 * value / NODES]) for part, value in parts.items()}
    return costs, {variant: result(proc) for variant, proc in phones.items()}


def at_starts(variants, rate, rounds, seconds):
    """The same, over as many starts as that takes: what the phones saw is a list of them."""
    costs = {variant: {} for variant in variants}
    seen = {variant: [] for variant in variants}
    for _ in range(-(-rounds // ROUNDS_PER_START)):
        with Sites(variants) as sites:
            more, found = at_fixed_rate(sites, rate, ROUNDS_PER_START, seconds)
        for variant in variants:
            costs[variant] = {name: Sample(costs[variant].get(name, []) + sample) for name, sample in more[variant].items()}
            seen[variant].append(found[variant])
    return costs, seen


def together(cost, *names):
    return Sample(map(sum, zip(*(cost[name] for name in names))))


def show_costs(report, costs, results, base='plain'):
    rows = []
    for variant, cost in costs.items():
        seen, plain = results[variant], costs[base]['kamailio']
        p50, p99 = (statistics.median(life['setup_ms'][name] for life in seen) for name in ('p50', 'p99'))
        rows.append([name_of(variant), cost['kamailio'].against(plain).percent(),
                     together(cost, 'kamailio', 'kamsyncd').against(plain).percent(),
                     together(cost, 'kamailio', 'kamsyncd', 'redis').against(plain).percent(), f'{p50:.2f} / {p99:.1f}',
                     ' / '.join(str(sum(n)) for n in zip(*((life['calls'] - life['done'], life['late'], life['repeats'])
                                                           for life in seen)))])
    report.table(['CPU over plain', 'Kamailio', 'with kamsyncd', 'with Redis', 'INVITE to 180, ms: p50 / p99',
                  'lost / late / repeated'], rows)
    show_parts(report, costs)


def show_parts(report, costs):
    columns = ['Kamailio', *(part.replace('redis', 'Redis') for part in PARTS)]
    report.table(['µs per call', *columns],
                 [[name_of(variant), *(cost[part].text(0) for part in ('kamailio', *PARTS))] for variant, cost in costs.items()])
    for name, title in UNUSED.items():
        report.table([title, *columns],
                     [[name_of(variant), *(f'{cost[name, part].median:.1f}' for part in ('kamailio', *PARTS))]
                      for variant, cost in costs.items()])


def show_goals(report, costs):
    """Beside what kamsync takes, what any script and daemon have to, and what it took before, if that was measured."""
    others = [variant for variant in (LEAST, BEFORE) if variant in costs]

    def row(goal, limit, show, value):
        mine = value(costs['kamsync'])
        return [goal, show(limit), show(mine), *(show(value(costs[variant])) for variant in others),
                'reached' if mine <= limit else 'not reached']

    def over_plain(*names):
        return lambda cost: 100 * (together(cost, *names).against(costs['plain']['kamailio']).median - 1)
    rows = [row(goal, limit, lambda value: f'{value:+.0f} %', over_plain(*names)) for goal, (limit, *names) in GOALS.items()]
    rows.append(row('idle node, ms of CPU per s: Kamailio and kamsyncd', IDLE_GOAL, lambda value: f'{value:.1f}',
                    lambda cost: together(cost, ('idle', 'kamailio'), ('idle', 'kamsyncd')).median))
    report.table(['goal', 'at most', 'kamsync', *(NAMES[variant] for variant in others), ''], rows)


def main():
    options = measure.options(__doc__, ('--rate', 200, 'calls per second to each variant'),
                              ('--rtt', '', 'round trips to Redis in ms'), ('--variants', '', 'which ones'),
                              ('--before', '', 'another checkout to measure beside this one'))
    quick, full = options.quick, options.full
    groups = [options.variants.split(',')] if options.variants else [QUICK] if quick else [VARIANTS, INSTEAD]
    if options.before:
        os.environ['KAMSYNC_BEFORE'] = options.before
        groups[0] = [*groups[0], BEFORE]
    rounds, seconds = (4, 5) if quick else (16, 6) if full else (8, 6)
    report = Report('An ordinary call')
    report.text(f'CPU per call over that of plain Kamailio: {rounds} rounds of {seconds} s with {options.rate} calls per second '
                f'each, all of a table at once, started anew every {ROUNDS_PER_START} rounds; median (least to most).')
    for variants in groups:
        costs, seen = at_starts(variants, options.rate, rounds, seconds)
        if 'kamsync' in costs and options.rate == 200:
            show_goals(report, costs)
        show_costs(report, costs, seen)
    for ms in (options.rtt or ('' if quick else '5,20')).split(','):
        if ms in ('', '0'):
            continue
        far = ['plain', f'kamsync@{ms}', f'ndb_redis@{ms}']
        report.text(f'Redis {ms} ms away (a delaying proxy between; its CPU is not counted):')
        show_costs(report, *at_starts(far, options.rate, max(2, rounds // 2), seconds))
    report.show()


if __name__ == '__main__':
    main()
