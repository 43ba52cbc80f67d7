"""The seed of a run that goes by chance."""
import os
import secrets


def new_seed():
    """$KAMSYNC_SEED, which repeats a run, or one of its own; printed."""
    seed = int(os.environ.get('KAMSYNC_SEED') or secrets.randbelow(1 << 31))
    print(f'KAMSYNC_SEED={seed}')
    return seed
