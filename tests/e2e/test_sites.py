"""Two sites of two nodes, 40 ms apart, and the store in one of them.

$KAMSYNC_SITES_TABLE names a file for the tables as Markdown (docs/sites.md): then all takes longer. $KAMSYNC_SEED repeats a
run.
"""
import os

import pytest

from lab import tables
from lab.accidents import LARGE
from lab.two_sites import Bed

TABLE = os.environ.get('KAMSYNC_SITES_TABLE')
SECONDS, COUNT = (30, 60) if TABLE else (3, 12)
HEAD = '| what happens | calls | as they should be | |\n|---|---|---|---|\n'
_rows = []


@pytest.fixture(scope='module')
def bed(seed):
    with Bed(seed) as one:
        yield one
        one.check()


def note(bed, *outcomes):
    """For the table; and whoever reads a failure."""
    for outcome in outcomes:
        _rows.append(outcome.row())
        print(outcome.row())
        for call, text in outcome.wrong.items():
            print(f'{call.call_id}: {text}\n{bed.lab.trace.show(call.call_id)}')
    assert not any(outcome.wrong for outcome in outcomes), [list(outcome.wrong.values()) for outcome in outcomes]


def test_random_packets(bed):
    note(bed, bed.random_packets(SECONDS))


@pytest.mark.parametrize('name', ['a', 'c'])
def test_node_dies(bed, name):
    """Its calls are taken over within its site, wherever the store is."""
    outcome = bed.node_dies(name, COUNT)
    note(bed, outcome)
    assert outcome.near == COUNT


def test_stray_comes_first(bed):
    """To the other site: that has a node of the orphan's site take it over, or takes it after half a second."""
    outcome = bed.node_dies('c', COUNT, strays='a')
    note(bed, outcome)
    assert outcome.near > COUNT / 2


def test_site_cut_off(bed):
    note(bed, *bed.cut_off(SECONDS, 2 * COUNT))


def test_table(bed, seed):
    """How far a CANCEL has to go; only for the table, since a busy machine is no measure."""
    if not TABLE:
        pytest.skip('only for the table')
    ways = [('a', 'a'), ('a', 'b'), ('a', 'c'), ('c', 'c'), ('c', 'd'), ('c', 'a')]
    at_once = [bed.stray_ms(*way) for way in ways]
    with Bed(seed, defines=LARGE) as large:
        looked_up = [large.stray_ms(*way) for way in ways]
        large.check()
    lines = [f'| {owner} | {at} | {a:.1f} | {b:.1f} |\n' for (owner, at), a, b in zip(ways, at_once, looked_up)]
    tables.write(HEAD + '\n'.join(_rows) + '\n', 'KAMSYNC_SITES_TABLE', '## Measured')
    tables.write('| owner | CANCEL at | given to all at once | by a lookup |\n|---|---|---|---|\n' + ''.join(lines),
                 'KAMSYNC_SITES_TABLE', '### From a CANCEL to its answer')
