"""A short soak: calls, flaps, kills and faults of Redis at random, and all comes back to where it began. $KAMSYNC_SEED repeats a
run; `./dev soak` goes on for as long as told."""

import pytest

from lab.seeds import new_seed
from tools import soak

pytestmark = pytest.mark.one_redis('what becomes of it')

CALLS_S, ROW_S = 26, 1


def test_soak():
    seed = new_seed()
    well, text = soak.run(CALLS_S, seed, ROW_S)
    print(text)
    assert well, text
