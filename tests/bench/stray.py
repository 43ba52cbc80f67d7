#!/usr/bin/env python3
"""What a CANCEL costs that reaches the wrong node: its way to the gateway, and CPU per call.

    stray.py [--quick | --full] [--rate 50]

Rounds alternate between right node and wrong node in the same cluster, and plain Kamailio (right node) twice. The floor is
the least that a script can do (stray_floor.cfg).
"""
import time

import measure
from measure import Report, Sample
from sites import Sites, result, spent

# what reaches the wrong node: (what the phones do, whether they mark what is to go there)
NOTHING, CANCEL, BOTH = ('cancel', False), ('cancel', True), ('cancel-ack', True)
ROWS = [('plain', NOTHING, 'plain Kamailio, right node'), ('plain', NOTHING, 'the same again (A/A)'),
        ('kamsync', NOTHING, 'kamsync, right node'), ('kamsync', CANCEL, 'kamsync, wrong node'),
        ('kamsync-three', NOTHING, 'kamsync with three nodes, right node'),
        ('kamsync-three', BOTH, 'the same, CANCEL and ACK at a wrong node'),
        ('stray-floor', NOTHING, 'floor, right node'), ('stray-floor', CANCEL, 'floor, wrong node: sent on, and nothing else'),
        ('stray-floor-proof', NOTHING, 'floor with proof, right node'),
        ('stray-floor-proof', CANCEL, 'floor with proof, wrong node'),
        ('stray-floor-believed', NOTHING, 'floor with proof, source and time, right node'),
        ('stray-floor-believed', CANCEL, 'the same, wrong node: no copy is taken twice')]


def one_round(sites, variant, astray, calls, rate, idle):
    site = sites[variant]
    before, begun = site.cpu(), time.monotonic()
    kind, marked = astray
    seen = result(site.phones(kind, calls, rate, marked))
    took, after = time.monotonic() - begun, site.cpu()
    cpu = sum(after[name] - before[name] - idle[variant][name] * took for name in ('kamailio', 'kamsyncd'))
    return seen, 1e6 * cpu / calls


def added(times, row, to, what):
    """By how much a row of a round differs from another one of the same round."""
    return Sample(one - other for one, other in zip(times[row][what], times[to][what])).text(3)


def main():
    options = measure.options(__doc__, ('--rate', 50, 'calls per second'))
    calls, rounds = (100, 3) if options.quick else (400, 10) if options.full else (200, 10)
    times = [{'p50': Sample(), 'p99': Sample(), 'cpu': Sample(), 'lost': 0, 'n': 0} for _ in ROWS]
    with Sites(list(dict.fromkeys(variant for variant, _, _ in ROWS))) as sites:
        before = sites.cpu()
        time.sleep(3)
        idle = {variant: {name: value / 3 for name, value in names.items()}
                for variant, names in spent(before, sites.cpu()).items()}
        for _ in range(rounds):
            for (variant, astray, _), row in zip(ROWS, times):
                seen, cpu = one_round(sites, variant, astray, calls, options.rate, idle)
                row['p50'].append(seen['cancel_ms']['p50'])
                row['p99'].append(seen['cancel_ms']['p99'])
                row['cpu'].append(cpu)
                row['lost'] += seen['calls'] - seen['done'] + seen['late']
                row['n'] += seen['cancel_ms']['n']
    report = Report('A CANCEL at the wrong node')
    report.text(f'From the caller to the gateway, and CPU per call (INVITE, 180, CANCEL, 487) of both nodes with kamsyncd; '
                f'{rounds} rounds of {calls} calls, median (least to most) of the rounds.')
    report.table(['', 'CANCELs', 'p50, ms', 'p99, ms', 'CPU, µs', 'CPU of plain', 'late or lost'],
                 [[name, row['n'], row['p50'].text(3), row['p99'].text(3), row['cpu'].text(0),
                   row['cpu'].against(times[0]['cpu']).percent(), row['lost']] for (_, _, name), row in zip(ROWS, times)])
    noise = added(times, 1, 0, 'p50')
    report.text(f'The wrong node adds {added(times, 3, 2, "p50")} ms at p50 and {added(times, 3, 2, "p99")} ms at p99; plain '
                f'against itself differs by {noise} ms at p50. The floor adds {added(times, 7, 6, "p50")} ms at p50, '
                f'{added(times, 9, 8, "p50")} ms with a proof, and {added(times, 11, 10, "p50")} ms with what the owner needs to '
                f'answer the caller and to take no copy twice. With three nodes, CANCEL and ACK both astray take '
                f'{times[5]["cpu"].against(times[4]["cpu"]).text(2)} times the CPU of a call with none.')
    report.show()


if __name__ == '__main__':
    main()
