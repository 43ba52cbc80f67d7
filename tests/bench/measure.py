"""What every part shares: CPU of processes, medians with their spread, and tables.

All figures are ratios of things measured at the same time, since machines differ and change; beside them stands the noise:
the same thing measured against itself (A/A).
"""
import argparse
import datetime
import os
import re
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(REPO, 'build')
PLATFORM = os.environ.get('KAMSYNC_PLATFORM')    # where tests/platform.sh runs it
os.environ.setdefault('KAMSYNCD', os.path.join(BUILD, 'daemon', 'kamsyncd'))
for folder in ('e2e', 'system'):
    sys.path.insert(0, os.path.join(REPO, 'tests', folder))
from lab.redis_tools import redis_tool  # noqa: E402

TICK = os.sysconf('SC_CLK_TCK')


def tool(name):
    """A program of this folder, as built."""
    return os.path.join(BUILD, 'tests', 'bench', f'bench-{name}')


# --- CPU ---

def family(pid):
    """The process and all its descendants."""
    pids, todo = [], [pid]
    while todo:
        pid = todo.pop()
        pids.append(pid)
        for task in _tasks(pid):
            try:
                with open(f'/proc/{pid}/task/{task}/children') as file:
                    todo += map(int, file.read().split())
            except OSError:
                pass
    return pids


def _tasks(pid):
    try:
        return os.listdir(f'/proc/{pid}/task')
    except OSError:
        return []


def cpu(pid):
    """Seconds of CPU that the process has used: by the scheduler's count, in ns, where /proc/<pid>/stat has ticks of 10 ms.
    Both say the same (the kernel scales utime and stime so that their sum is the former)."""
    total = 0.0
    for task in _tasks(pid):
        try:
            with open(f'/proc/{pid}/task/{task}/schedstat') as file:
                total += int(file.read().split()[0]) / 1e9
        except (OSError, IndexError):
            with open(f'/proc/{pid}/task/{task}/stat') as file:
                words = file.read().rsplit(')', 1)[1].split()
            total += (int(words[11]) + int(words[12])) / TICK
    return total


def cpu_of(pids):
    return sum(cpu(pid) for pid in pids)


def rss(pid):
    """Bytes in memory."""
    with open(f'/proc/{pid}/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


# --- figures ---

class Sample(list):
    """The same figure from several rounds."""

    @property
    def median(self):
        return statistics.median(self) if self else float('nan')

    def _spread(self, show, unit, to):
        """The median, and how far the rounds lie apart."""
        if not self:
            return '-'
        text = f'{show(self.median)}{unit}'
        if len(self) > 1:
            text += f' ({show(min(self))}{to}{show(max(self))})'
        return text

    def text(self, digits=2, unit=''):
        return self._spread(lambda value: f'{value:.{digits}f}', unit, '–')

    def against(self, base):
        """The ratio to another sample, round by round."""
        return Sample(mine / other for mine, other in zip(self, base) if other)

    def percent(self):
        """A ratio as a change: '+12.3 % (+11.0 to +13.1)'."""
        return self._spread(lambda ratio: f'{100 * (ratio - 1):+.1f}', ' %', ' to ')


class Report:
    """Lines for people, in Markdown."""

    def __init__(self, title):
        self.lines = [f'## {title}' + (f' on {PLATFORM}' if PLATFORM else ''), '']

    def text(self, line):
        self.lines += [line, '']

    def table(self, head, rows):
        self.lines.append('| ' + ' | '.join(head) + ' |')
        self.lines.append('|' + '---|' * len(head))
        self.lines += ['| ' + ' | '.join(str(cell) for cell in row) + ' |' for row in rows]
        self.lines.append('')

    def show(self):
        print('\n'.join(self.lines), flush=True)


def options(doc, *more):
    """The command line that all parts have."""
    parser = argparse.ArgumentParser(description=doc.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='few and short rounds')
    parser.add_argument('--full', action='store_true', help='many rounds, and what takes long')
    for name, default, text in more:
        parser.add_argument(name, type=type(default), default=default, help=text)
    return parser.parse_args()


def machine():
    """Where it was measured."""
    with open('/proc/cpuinfo') as file:
        model = next((line.split(':')[1].strip() for line in file if line.startswith('model name')), 'unknown CPU')
    commit = subprocess.run(['git', '-C', REPO, 'describe', '--always', '--dirty'], capture_output=True, text=True)
    kamailio = subprocess.run(['kamailio', '-v'], capture_output=True, text=True).stdout.split('\n')[0]
    redis = subprocess.run([redis_tool('server'), '-v'], capture_output=True, text=True).stdout
    redis = ' '.join([redis.split()[0], *re.findall(r' (v=\S+)', redis)])
    return (f'{datetime.date.today()}, commit {commit.stdout.strip()}; {len(os.sched_getaffinity(0))} cores of {model}, '
            f'Linux {os.uname().release}; {kamailio}; {redis}; load {os.getloadavg()[0]:.1f} at the start')
