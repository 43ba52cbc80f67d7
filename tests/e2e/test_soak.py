"""A short soak: calls, flaps, kills and faults of Redis at random, and all comes back to where it began. $KAMSYNC_SEED repeats a
run; `./dev soak` goes on for as long as told."""

from lab.seeds import new_seed
from tools import soak

CALLS_S, ROW_S = 26, 1


def test_soak():
    seed = new_seed()
    well, text = soak.run(CALLS_S, seed, ROW_S)
    print(text)
    assert well, text
