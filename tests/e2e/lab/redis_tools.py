"""Redis' programs: Valkey has the same under its own name."""
import shutil


def redis_tool(tool):
    """The program by its last word: server, cli, benchmark."""
    return next(filter(shutil.which, (f'redis-{tool}', f'valkey-{tool}')), f'redis-{tool}')
