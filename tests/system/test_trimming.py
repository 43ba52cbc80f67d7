"""The commands of docs/cdr.md that trim the archive: they never outrun the consumer."""
import pathlib
import random
import re
import shutil
import subprocess

import pytest

from harness import REPO

STREAM, GROUP = 'kamsync:cdr', 'billing'
ENTRIES = 100
needs_cli = pytest.mark.skipif(not shutil.which('redis-cli'), reason='needs redis-cli')


def commands():
    """The lines of the section Trimming."""
    section = pathlib.Path(REPO, 'docs', 'cdr.md').read_text().split('\n## Trimming\n')[1]
    return '\n'.join(re.findall(r'^ {7}(.*)$', section, re.M))


def ids(redis):
    return [entry[0] for entry in redis.do('XRANGE', STREAM, '-', '+')]


def trim(redis):
    script = f'redis-cli() {{ command redis-cli -p {redis.port} "$@"; }}\n{commands()}'
    subprocess.run(['bash', '-euc', script], check=True, capture_output=True)


def read(redis, count):
    answer = redis.do('XREADGROUP', 'GROUP', GROUP, 'worker', 'COUNT', count, 'STREAMS', STREAM, '>')
    return [entry[0] for entry in answer[0][1]] if answer else []


@needs_cli
@pytest.mark.parametrize('seed', range(3))
def test_nothing_is_trimmed_that_is_not_acknowledged(redis, seed):
    """Read and acknowledged in any order; another group does not matter, but comes first in the list."""
    chance = random.Random(seed)
    redis.do('XGROUP', 'CREATE', STREAM, GROUP, '0', 'MKSTREAM')
    redis.do('XGROUP', 'CREATE', STREAM, 'audit', '$')
    everything = [redis.do('XADD', STREAM, f'{i}-0', 'call_id', f'c{i}') for i in range(1, ENTRIES + 1)]
    pending, done = [], set()
    while len(done) < ENTRIES:
        pending += read(redis, chance.randint(1, 40))
        for entry in chance.sample(pending, chance.randint(0, len(pending))):
            redis.do('XACK', STREAM, GROUP, entry)
            pending.remove(entry)
            done.add(entry)
        trim(redis)
        left = ids(redis)
        assert set(everything) - done <= set(left)
        assert not pending or left[0] == min(pending, key=lambda e: int(e.split(b'-')[0])), 'and all before it is trimmed'
    assert ids(redis) == everything[-1:]
