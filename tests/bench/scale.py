#!/usr/bin/env python3
"""What a cluster of 3 to 64 nodes takes for 10,000 calls a second: from the unit costs in docs/performance.md. No measuring.

    scale.py [--rate CALLS_PER_S] [--rings S] [--talks S]

Each line of the table is a formula below; docs/scale.md says what follows from it.
"""
import math
import os
import re

import measure
from measure import Report

NODES = (3, 8, 16, 32, 64)
PAGE = os.path.join(measure.REPO, 'docs', 'performance.md')
BUSY = 0.5             # so much of a core a Redis is to use, so that a replica or a search finds room
KEPT_S = 32            # the record of a transaction that has ended stays so long
COMMANDS, KB = 7, 4.7  # of an ordinary call: commands.py
PROBES_MAX, PROBE_S = 15, 0.5          # peers.c
SEARCHERS_ALL, SEARCHERS = 16, 4       # sites.c
TAKEOVERS_MAX, TAKEOVER_S = 64, 0.1    # of a node at a time, and so long each at most (ownership.md, the pace)
# µs for each record that is read and each name that is looked through, by the second table of "Nodes", its rows of 16 and 64
# nodes: 500 names to a SCAN, and beats taken off.
REDIS_US, KAMSYNCD_US = (12.8, 0.44), (22, 1.1)


class Costs:
    """The tables of docs/performance.md."""

    def __init__(self):
        with open(PAGE) as file:
            self.page = file.read()

    def rows(self, part):
        """The cells of each row of that part, as their first numbers; the first cell as it is."""
        text = self.page.split(f'<!-- {part}: ')[1].split(f'<!-- end of {part} -->')[0]
        for line in text.splitlines():
            cells = [cell.strip() for cell in line.strip('|').split('|')]
            if line.startswith('|') and not line.startswith('|-'):
                yield cells[0], [float(found[0]) if (found := re.search(r'-?\d+(\.\d+)?', cell)) else None for cell in cells]

    def table(self, part, head, column):
        """{first cell: number of that column} of the first table whose head begins so."""
        inside, found = False, {}
        for name, cells in self.rows(part):
            if cells[0] is None:
                inside = name == head and not found
            elif inside and len(cells) > column:
                found[int(cells[0])] = cells[column]
        return found

    def live(self, what):
        """Bytes of each, with 100,000 of them: kamsyncd's, Redis'."""
        return [(cells[2], cells[4]) for name, cells in self.rows('memory') if name == what][-1]


def nearest(table, key):
    """The value of the highest key that is not above this one, or of the lowest."""
    return table[max([known for known in table if known <= key], default=min(table))]


def turns(nodes):
    return math.ceil((nodes - 1) / PROBES_MAX)


def probes(nodes):
    """A second, of each node (peers.c)."""
    return (nodes - 1) / (turns(nodes) * PROBE_S)


def beats(nodes):
    """Redis commands a second: each reads its own record, writes it, and reads all (redis.c)."""
    return nodes * (5 + nodes)


def masters(costs, nodes, rate):
    """How many, each half busy, and the µs of Redis per call. The fewer calls a second a connection has, the dearer each is:
    the bench has two connections."""
    for count in range(1, 1000):
        each = nearest(costs, 2 * rate / nodes / count)
        if count * BUSY >= rate * each / 1e6:
            return count, each
    return None


def records_read(nodes, records):
    """By all survivors of a death (search.c, sites.c): one reads each, and later all the others, or four."""
    survivors = nodes - 1
    return records * (1 + (survivors if survivors <= SEARCHERS_ALL else SEARCHERS))


def search_s(nodes, records, names, count):
    """Seconds of CPU that a search takes, in two rounds: of each master, of each survivor's kamsyncd."""
    survivors, read = nodes - 1, records_read(nodes, records)
    redis = read * REDIS_US[0] + 2 * survivors * names * REDIS_US[1]
    kamsyncd = read / survivors * KAMSYNCD_US[0] + 2 * names * KAMSYNCD_US[1]
    return redis / count / 1e6, kamsyncd / 1e6


def column(costs, nodes, a):
    rings, talks = a.rate * a.rings, a.rate * a.talks
    records = rings + a.rate * KEPT_S
    names = records + rings + talks  # of the calls, too
    count, redis_us = masters(costs.table('growth', 'calls per second', 4), nodes, a.rate)
    transaction, call = costs.live('ringing transaction with its call'), costs.live('answered call')
    kamsyncd_us = nearest(costs.table('growth', 'calls per second', 3), 2 * a.rate / nodes)
    kb = nearest(costs.table('nodes', 'nodes', 5), nodes)
    orphans = rings / nodes / (nodes - 1)
    redis_s, kamsyncd_s = search_s(nodes, records, names, count)
    return {
        'calls/s of each node': f'{a.rate / nodes:.0f}',
        'probes/s of each node': f'{probes(nodes):.0f}',
        'probes/s in all (if each asked all: 2n(n-1))': f'{nodes * probes(nodes):.0f} ({2 * nodes * (nodes - 1)})',
        'Redis commands/s for beats: n(5+n)': f'{beats(nodes)}',
        'the same measured, with a call at each; Redis, ms of CPU per s':
            f'{nearest(costs.table("nodes", "nodes", 2), nodes):.0f}; {nearest(costs.table("nodes", "nodes", 3), nodes):.1f}',
        'such a kamsyncd, ms of CPU per s, measured': f'{nearest(costs.table("nodes", "nodes", 4), nodes):.2f}',
        'kamsyncd, of one core': f'{a.rate / nodes * kamsyncd_us / 1e4:.0f} % ({kamsyncd_us:.0f} µs a call)',
        'kamsyncd, MB: ringing and answered calls':
            f'{(kb * 1e3 + (rings * transaction[0] + talks * call[0]) / nodes) / 1e6:.0f}',
        'Redis in all, GB': f'{(rings * transaction[1] + talks * call[1] + a.rate * KEPT_S * transaction[1]) / 1e9:.1f}',
        f'Redis commands/s for calls: {COMMANDS} each': f'{a.rate * COMMANDS}',
        f'MB/s to Redis: {KB} kB each': f'{a.rate * KB / 1e3:.0f}',
        'masters needed, each half busy': f'{count} ({redis_us:.0f} µs a call)',
        'a barrier: messages': f'{2 * (nodes - 1)}',
        'a death: calls that ring there': f'{rings / nodes:.0f}',
        'taken over by each survivor': f'{orphans:.0f}',
        'at most, s: 64 at a time, 0.1 s each': f'{math.ceil(orphans / TAKEOVERS_MAX) * TAKEOVER_S:.1f}',
        'names that each survivor looks through, twice, millions': f'{names / 1e6:.1f}',
        'records that all survivors read, millions': f'{records_read(nodes, records) / 1e6:.1f}',
        'the search, s of CPU: of each master; of each survivor': f'{redis_s:.0f}; {kamsyncd_s:.0f}',
    }


def main():
    a = measure.options(__doc__, ('--rate', 10000, 'calls per second in all'), ('--rings', 10, 'seconds that a call rings'),
                        ('--talks', 120, 'seconds that it goes on then'))
    costs, report = Costs(), Report('Table')
    columns = [column(costs, nodes, a) for nodes in NODES]
    report.text(f'{a.rate:,} calls a second in all; each rings {a.rings} s and then goes on for {a.talks} s.')
    report.table(['nodes', *map(str, NODES)], [[name, *(each[name] for each in columns)] for name in columns[0]])
    report.show()


if __name__ == '__main__':
    main()
