"""All nodes are well, and the machine is busy: nobody may be taken for dead, and no transaction for an orphan."""
import os
import subprocess
import sys

import pytest

from lab.accidents import start
from lab.policies import at_random
from lab.seeds import new_seed
from lab.sipp import Caller

pytestmark = pytest.mark.alone('it keeps all cores busy')

SECONDS, RATE = 11, 12          # of calls; per second and kind
SHARE = 0.8
BUSY = '''
import os, sys, time
os.sched_setaffinity(0, [int(sys.argv[1])])
share = float(sys.argv[2])
while os.getppid() == int(sys.argv[3]):
    begin = time.process_time()
    while time.process_time() - begin < 0.02 * share:
        pass
    time.sleep(0.02 * (1 - share))
'''


class Load:
    """One process for each core that keeps it busy for that share of the time; they end with this one at the latest."""

    def __init__(self, share):
        self.cores = sorted(os.sched_getaffinity(0))
        self.share = share

    def __enter__(self):
        self.procs = [subprocess.Popen([sys.executable, '-c', BUSY, str(core), str(self.share), str(os.getpid())])
                      for core in self.cores]
        self.before = self._ticks()
        return self

    def __exit__(self, *_):
        for proc in self.procs:
            proc.kill()
            proc.wait()

    @staticmethod
    def _ticks():
        """(busy, all), of all cores since the start of the machine."""
        with open('/proc/stat') as file:
            ticks = [int(word) for word in file.readline().split()[1:9]]
        return sum(ticks) - ticks[3] - ticks[4], sum(ticks)

    def busy(self):
        """How busy the cores have been, 0 to 1."""
        (busy, total), (busy_before, before) = self._ticks(), self.before
        return (busy - busy_before) / (total - before)


@pytest.fixture
def loaded(lab):
    """A cluster that was started in peace, and then the load."""
    cluster = start(lab, defines={'KAMSYNC_CLAIM': None})
    with Load(SHARE) as load:
        yield cluster, load


def test_no_orphans_under_load(lab, loaded):
    cluster, load = loaded
    seed = new_seed()
    before = {name: node.counters() for name, node in cluster.node.items()}
    lab.steer(at_random(seed))
    callers = [Caller(lab, kind, calls=SECONDS * RATE, rate=RATE) for kind in ('call', 'cancel', 'rejected')]
    results = [caller.wait() for caller in callers]
    after = {name: node.counters() for name, node in cluster.node.items()}
    strays = sum(counters['verdict_owner'] + counters['verdict_acted'] for counters in after.values())
    print(f'KAMSYNC_SEED={seed}; the cores were {100 * load.busy():.0f} % busy; strays for another node: {strays}')
    assert load.busy() > SHARE - 0.05, 'that was no load'
    for name, counters in after.items():
        wrong = {what: counters[what] for what in ('takeovers', 'verdict_orphan', 'verdict_cut', 'hangs', 'txns_lost',
                                                   'takeovers_lost') if counters[what]}
        assert not wrong and counters['nodes_changed'] == before[name]['nodes_changed'], (name, wrong, cluster[name].log())
    for result in results:
        assert result.failed == 0, result
    assert strays > SECONDS * RATE, 'no strays, nothing tested'
