"""What a soak takes, over time: a graph as text, and the verdict whether all came back to where it began."""
import os
import re
from statistics import median

TITLE = ('   time  accidents  calls/s   live  transactions  keys in Redis              Redis kB  files  a  b  c   memory, MiB: '
         'a     b     c')
KEYS_EACH, ROWS = 25, 40
GROWN_SHARE, GROWN_KB = 0.05, 256     # of resident memory, from the second to the last quarter
REDIS_MORE_KB = 512                   # its buffers for clients; a record has a kilobyte and more
# AddressSanitizer keeps what is freed for a while, so that its use is noticed: not 256 MiB of it here. It looks for leaks by itself,
# at the daemon's end.
SANITIZER = 'quarantine_size_mb=1:thread_local_quarantine_size_kb=64'
SANITIZED_SHARE = 0.3


class Sample:
    """At one moment; what cannot be asked in this moment is None."""

    def __init__(self, soak, at, calls_per_s):
        self.at, self.calls_per_s = at, calls_per_s
        self.pids = {name: node.kamsyncd.pid for name, node in soak.cluster.node.items()}
        self.rss = {name: _rss(pid) for name, pid in self.pids.items()}
        self.files = {name: open_files(pid) for name, pid in self.pids.items()}
        self.transactions, self.known = _asked(soak.cluster, 'txns'), _asked(soak.cluster, 'calls')
        self.live, self.accidents = soak.live(), soak.accidents.count.total()
        self.keys, self.redis_kb = _redis(soak)

    def row(self):
        keys = '#' * round((self.keys or 0) / KEYS_EACH)
        files = ' '.join(_text(count, '2') for count in self.files.values())
        rss = ' '.join(_text(kb and kb / 1024, '5.1f') for kb in self.rss.values())
        return (f'{int(self.at) // 60:4}:{int(self.at) % 60:02} {self.accidents:10} {self.calls_per_s:8.1f} {self.live:6} '
                f'{_text(self.transactions, "13")}  {_text(self.keys, "4")} {keys:22} {_text(self.redis_kb, "7")}         {files}'
                f'                {rss}')


def _text(value, form):
    return '-'.rjust(int(form.split('.')[0])) if value is None else format(value, form)


def _rss(pid):
    try:
        with open(f'/proc/{pid}/status') as file:
            return int(re.search(r'VmRSS:\s+(\d+)', file.read())[1])
    except (OSError, TypeError):
        return None


def open_files(pid):
    try:
        return len(os.listdir(f'/proc/{pid}/fd'))
    except OSError:
        return None


def _asked(cluster, name):
    try:
        return sum(node.ask('status')[name] for node in cluster.node.values())
    except (OSError, ValueError, KeyError):
        return None


def _redis(soak):
    try:
        info = dict(re.findall(r'(\w+):(\d+)\r', soak.redis.do('INFO', 'memory', timeout=1)))
        # what a former replica keeps for replicas of its own is no data
        return len(soak.keys()), (int(info['used_memory']) - int(info['mem_replication_backlog'])) // 1024
    except OSError:
        return None, None


class Graph:
    def __init__(self):
        self.samples = []

    def add(self, sample):
        self.samples.append(sample)
        return sample.row()

    def text(self):
        """At most ROWS of them, the first and the last included."""
        step = max(1, -(-len(self.samples) // ROWS))
        rows = [*self.samples[:-1:step], self.samples[-1]]
        return '\n'.join([TITLE, *(sample.row() for sample in rows)])

    # --- what came back

    def lives(self, name, length):
        """[(median of the second quarter, of the last), …] of each process that lived in both."""
        quarters = {}
        for sample in self.samples:
            quarters.setdefault((sample.pids[name], min(3, int(4 * sample.at / length))), []).append(sample.rss[name])
        found = []
        for pid in {pid for pid, _ in quarters}:
            values = [[kb for kb in quarters.get((pid, quarter), ()) if kb] for quarter in (1, 3)]
            if all(values):
                found.append(tuple(median(each) for each in values))
        return found

    def grown(self, length, sanitized):
        """[(what, is it well, text)] about resident memory in so many seconds of calls. A first quarter is for warming up: malloc keeps the most that
        was ever in use. What grows after that grows without end."""
        share = SANITIZED_SHARE if sanitized else GROWN_SHARE
        found = []
        for name in self.samples[-1].pids:
            for second, last in self.lives(name, length):
                well = last <= second * (1 + share) + GROWN_KB
                found.append((f'memory of kamsyncd {name}', well,
                              f'{second / 1024:.2f} MiB in the second quarter, {last / 1024:.2f} in the last'))
        return found
