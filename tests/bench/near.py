#!/usr/bin/env python3
"""The way of a CANCEL at the wrong node whose store is far away, with and without a near replica (store_near).

    near.py [--quick | --full] [--rate 20]

kamsyncd is asked about each CANCEL (KAMSYNC_ALL_MAX 0), as in a cluster of more nodes. The replica runs beside the nodes and
follows the store, without the delay; ordinary calls run at the right node, in the same clusters.
"""
import measure
from measure import Report, Sample
from sites import Sites, result

FAR_MS = (1, 20, 50, 100)


def variants(ms):
    return [f'kamsync-asked@{ms}', f'kamsync-near@{ms}']


def figures(sites, name, calls, rate):
    """ms: INVITE to 180 of an ordinary call; a CANCEL's way to the gateway from the right node, and from the wrong one."""
    site = sites[name]
    plain = result(site.phones('call', calls, rate))
    right, wrong = (result(site.phones('cancel', calls, rate, at_wrong)) for at_wrong in (False, True))
    return [plain['setup_ms']['p50'], right['cancel_ms']['p50'], wrong['cancel_ms']['p50'], wrong['cancel_ms']['p99'],
            wrong['calls'] - wrong['done'] + wrong['late']]


def main():
    options = measure.options(__doc__, ('--rate', 20, 'calls per second'))
    calls, rounds = (40, 2) if options.quick else (200, 5) if options.full else (100, 3)
    rows = []
    for ms in FAR_MS:
        with Sites(variants(ms)) as sites:
            for name in variants(ms):
                found = list(zip(*(figures(sites, name, calls, options.rate) for _ in range(rounds))))
                counted = sites[name].cluster['b'].counters()
                rows.append([f'{ms} ms', 'with' if 'near' in name else 'without',
                             *[Sample(column).text(2) for column in found[:-1]], sum(found[-1]),
                             f'{counted["near_found"]} of {counted["near_lookups"]}' if 'near' in name else '-'])
    report = Report('A store far away')
    report.text(f'A CANCEL at the wrong node of a cluster that asks kamsyncd first, without and with a near replica; ms, {rounds} '
                f'rounds of {calls} calls at {options.rate}/s, median (least to most) of the rounds.')
    report.table(['Redis is away by', 'near replica', 'ordinary call: INVITE to 180, p50', 'CANCEL at the right node, p50',
                  'at the wrong node, p50', 'p99', 'late or lost', 'lookups that the replica answered'], rows)
    report.show()


if __name__ == '__main__':
    main()
