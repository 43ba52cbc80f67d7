#!/usr/bin/env python3
"""The highest rate of calls at which nothing is late or repeated; caller, gateway and Redis share the cores.

    highest.py [--quick | --full] [--variants plain,kamsync,…]

A machine's hiccup makes a rate look too high, and by one search each plain Kamailio differed from itself by 13 %. So all
variants take turns, at one rate each. A variant that could take its rate, at the second try at the latest, has a higher one
next time, else a lower one. The steps become small when they begin to go up and down, around the rate that is looked for. As many
turns as fit into 90 s, or with more variants four minutes.
"""
import time

import measure
from call import name_of
from measure import Report, Sample
from sites import Sites, result

VARIANTS = ['plain', 'plain-again', 'kamsync', 'kamsync+tlsf', 'floor', 'floor-records']
ALSO = ['floor-invite', 'ndb_redis', 'dialog', 'htable']
START, FIRST_STEP, LAST_STEP = 2000, 1.6, 1.03
STEP_S = 2
GOAL = 0.78
TRIES = 2


def can_take(site, rate):
    for _ in range(TRIES):
        seen = result(site.phones('try', int(rate * STEP_S), rate))
        if seen['done'] == seen['calls'] and not seen['late'] and not seen['repeats']:
            return True
    return False


class Search:
    """One variant's way to its highest rate: up or down by a step, and by a smaller one after each change of direction."""

    def __init__(self):
        self.rate, self.step, self.could, self.tried = START, FIRST_STEP, None, Sample()

    def turn(self, can):
        if self.could not in (None, can):
            self.step = max(self.step ** 0.5, LAST_STEP)
        self.could = can
        self.tried.append(self.rate)
        self.rate = self.rate * self.step if can else self.rate / self.step

    def found(self):
        """The rates of the second half, in which the steps are small."""
        return Sample(self.tried[len(self.tried) // 2:])


def main():
    options = measure.options(__doc__, ('--variants', '', 'which ones'))
    variants = VARIANTS[:3] if options.quick else VARIANTS + ALSO if options.full else VARIANTS
    variants = options.variants.split(',') if options.variants else variants
    searches = {variant: Search() for variant in variants}
    turns = 0
    with Sites(variants) as sites:
        end = time.monotonic() + (90 if options.quick else 900 if options.full else 240)
        while time.monotonic() < end:
            turns += 1
            for variant, search in searches.items():
                search.turn(can_take(sites[variant], search.rate))
    found = {variant: search.found() for variant, search in searches.items()}
    report = Report('The highest rate')
    report.text(f'At which nothing was late or repeated, caller, gateway and Redis on the same cores: the middle of the last '
                f'{len(found[variants[0]])} of {turns} rates, each tried for {STEP_S} s, and once more if it was too high '
                '(least to most).')
    report.table(['', 'of plain', 'calls per second'],
                 [[name_of(variant), f'{100 * rates.median / found["plain"].median:.0f} %', rates.text(0)]
                  for variant, rates in found.items()])
    if 'kamsync' in found:
        ratio = found['kamsync'].median / found['plain'].median
        report.text(f'Goal: at least {100 * GOAL:.0f} % of plain: {"reached" if ratio >= GOAL else "not reached"}.')
    report.show()


if __name__ == '__main__':
    main()
