"""Redis' programs: Valkey has the same under its own name. KAMSYNC_STORE=valkey prefers that."""
import os
import shutil

MAKERS = os.environ.get('KAMSYNC_STORE', 'redis valkey').split()


def redis_tool(tool):
    """The program by its last word: server, cli, benchmark."""
    programs = [f'{maker}-{tool}' for maker in MAKERS]
    return next(filter(shutil.which, programs), programs[0])
