"""A short soak: see soak.py. $KAMSYNC_SEED repeats it."""
import os
import secrets

import soak


def test_soak():
    text = soak.run(25, int(os.environ.get('KAMSYNC_SEED') or secrets.randbelow(1 << 31)))
    assert not text, text
