"""Every packet to a random node: with kamsync each call ends as it should; without it, on the same nodes with the same
choices, many do not.

    KAMSYNC_SEED=7          repeats a run; without it each run has a seed of its own, which it prints
    KAMSYNC_TABLE=FILE      writes the table there"""
import os
import secrets

import pytest

from lab.tables import write
from tools.random_table import run_both, side_by_side

pytestmark = pytest.mark.alone('100 calls a second, of which none may be sent twice; and its table is printed for people')

CALLS, RATE = 2000, 100


@pytest.fixture(scope='module')
def tables(pytestconfig):
    seed = os.environ.get('KAMSYNC_SEED') or secrets.token_hex(4)
    print(f'seed {seed}')
    with_, without = run_both(CALLS, RATE, seed)
    text = side_by_side(with_, without)
    capture = pytestconfig.pluginmanager.getplugin('capturemanager')
    with capture.global_and_fixture_disabled():  # people shall see it, whatever comes of the tests
        print(f'\n{text}')
    write(text + '\n', 'KAMSYNC_TABLE')
    return with_, without


def test_with_kamsync_every_call_ends_as_it_should(tables):
    """On both sides, and nothing was sent twice."""
    assert tables[0].ok, tables[0]


def test_without_kamsync_many_do_not(tables):
    """If this fails the lab does not steer, and the other test says nothing."""
    for row in tables[1].rows:
        assert row.calls == CALLS // 4
    ended_badly = {row.kind.name: len(set(row.not_ended + row.not_cleared)) for row in tables[1].rows}
    # three tries in 2 s, each goes to the right one of three nodes or not: (2/3)^3 of the CANCELs never do
    assert ended_badly['cancelled'] > CALLS // 4 // 5 and ended_badly['forked'] > 0, tables[1]
