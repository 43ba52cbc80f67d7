"""Redis' programs: Valkey has the same under its own name. KAMSYNC_STORE=valkey prefers that; with `cluster` or
`valkey-cluster` the lab's store is a Redis Cluster (store.py)."""
import os
import shutil

WORDS = os.environ.get('KAMSYNC_STORE', '').split('-')
MAKERS = [word for word in WORDS if word in ('redis', 'valkey')] or ['redis', 'valkey']
MASTERS = 3 if 'cluster' in WORDS else 1


def redis_tool(tool):
    """The program by its last word: server, cli, benchmark."""
    programs = [f'{maker}-{tool}' for maker in MAKERS]
    return next(filter(shutil.which, programs), programs[0])
