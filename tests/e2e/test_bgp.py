"""A node fails in some way, and a router that speaks BGP sends calls to the others: how soon, and what became of the calls.

Its kamsync-announce waits less than usual, to save time. $KAMSYNC_BGP_TABLE names a file for the table as Markdown
(docs/bgp.md): then it waits as usual, and there are more failures. $KAMSYNC_SEED repeats a run.
"""
import os
import shutil
import subprocess

import pytest

from lab import bgp, tables
from lab.bgp import EXAMPLES, FAILURES, Bed
from lab.proc import each, wait_until

TABLE = os.environ.get('KAMSYNC_BGP_TABLE')
QUICK = {} if TABLE else {'RISE': 1, 'SLOW': 2, 'SILENT': 3}
# With a look every 0.5 s, 1 s until it gives up, and a busy machine.
WITHIN_S = {'drain': 4, 'kamailio killed': 4, 'kamailio hangs': 6, 'host': 4, 'host without BFD': 14,
            'overload': 11, 'kamsyncd killed': 14, 'kamsyncd hangs': 14 if TABLE else 7}
_outcomes = {}

needs_bird = pytest.mark.skipif(not (shutil.which('bird') and shutil.which('curl')), reason='needs bird (bird2) and curl')


@pytest.fixture(scope='module', autouse=True)
def table():
    yield
    if _outcomes:
        text = bgp.table(_outcomes)
        print(f'\n{text}')
        tables.write(text, 'KAMSYNC_BGP_TABLE')


@pytest.fixture(scope='module')
def beds(seed):
    """One for all failures with the same settings of BGP."""
    made = {}

    def bed(bfd=True):
        if bfd not in made:
            made[bfd] = Bed(seed, bfd, **QUICK).__enter__()
        return made[bfd]
    yield bed
    for one in made.values():
        one.__exit__(None, None, None)


@needs_bird
@pytest.mark.parametrize('name', FAILURES)
def test_failure(name, beds, seed):
    failure = FAILURES[name]
    if failure.long and not TABLE:
        pytest.skip('only for the table')
    bed = beds(failure.bfd)
    outcome = _outcomes[name] = bed.run(failure)
    print(f'KAMSYNC_SEED={seed}\n{outcome.row()}')
    for call, text in outcome.wrong.items():
        print(f'{call.call_id}: {text}\n{bed.lab.trace.show(call.call_id)}')
    assert (outcome.moved_s is not None) == failure.moves
    assert failure.why in outcome.why
    assert outcome.moved_s is None or outcome.moved_s < WITHIN_S[name]
    assert outcome.before['cancel'] and outcome.before['caller'] and outcome.new
    assert not outcome.wrong, list(outcome.wrong.values())


@needs_bird
def test_last_resort(beds):
    """While no node is well, all get calls."""
    bed = beds()
    for command, said in (('drain', 'down'), ('undrain', 'up')):
        for node in bed.cluster.node.values():
            node.ask(command)
        wait_until(lambda said=said: each(bed.decided().values(), lambda line: line.startswith(said)), 10, said)
        bed.wait_announced(*bed.cluster.nodes)
        bed.callers.call(f'last-{command}@lab', 'talk').wait(200)


CHECKS = {'bird': ('bird', '-p', '-c', 'bird.conf'), 'frr': ('vtysh', '-C', '-f', 'frr.conf'),
          'exabgp': ('exabgp', '--test', 'exabgp.conf'), 'keepalived': ('keepalived', '-t', '-f', 'keepalived.conf')}


@pytest.mark.parametrize('name', CHECKS)
def test_example(name):
    """Each program takes its own; that one of them says no to a mistake is tried, too."""
    program, *args, example = CHECKS[name]
    if not shutil.which(program):
        pytest.skip(f'needs {name}')
    done = subprocess.run([program, *args, f'{EXAMPLES}/{example}'], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
