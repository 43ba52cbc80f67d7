#!/usr/bin/python3
"""Calls for as long as told, and accidents at random: is everything back where it began, and was any call wrong?

    ./dev soak --minutes 30 --seed 7
    ./dev soak --minutes 30 --write         # and keep what it prints as docs/soak.md

The routes flap, a Kamailio or a kamsyncd is killed and started again, Redis comes back empty, is paused, sleeps, is full, becomes a
replica, or is cut off from a node: see soak_accidents.py, which also says which calls an accident excuses. A row is printed now
and then, at the end a graph over time and the verdict. Exit status 1 if it is not good.
"""
import argparse
import datetime
import os
import secrets
import sys
import time
from collections import Counter

if not __package__:  # run as a program
    sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))

from lab.cluster import KAMSYNCD, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.redis_faults import Redis
from lab.traffic import Traffic, answer_or_ring, archive_complaint
from tools.soak_accidents import SPARED, Accidents
from tools.soak_graph import GROWN_KB, GROWN_SHARE, REDIS_MORE_KB, SANITIZER, TITLE, Graph, Sample, open_files

RATE = 10
POLL_S = 1.0               # how often the archive is read
PAUSE_S = (1.0, 4.0)       # from one accident's end to the next
LATER_S = 20               # a call that ended so long ago is looked at
SHORT = {'tx_ttl_s': 10, 'done_ttl_s': 5, 'ended_ttl_s': 32, 'tx_max_s': 60, 'call_max_s': 60, 'cdr_max': 1000}
BACK_S = SHORT['ended_ttl_s'] + 8        # until all records are gone that no accident excuses
EXCUSED_S = SHORT['call_max_s'] + BACK_S + 5     # and these too: their end was lost, and is concluded
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../../docs/soak.md')

PROSE = """# A soak

Calls and accidents at random, three nodes, every packet to a node chosen at random. Written by `{command}` on {day}.

* *Accidents*: the routes flap; a Kamailio, a kamsyncd, a Redis is killed with -9; Redis is paused, sleeps, is full, becomes a
  replica, is cut off from a node. What they excuse, and by which rule, stands in `tests/e2e/tools/soak_accidents.py`.
* *Memory* is resident memory. malloc keeps what was once in use, and the ring of decisions for `kamsyncctl trace` has to be filled
  once; so the first quarter is for warming up, and the last quarter is compared with the second (at most {share} and {more} kB
  more), for each process that lived so long. The kamsyncd of node a is never killed.
* *Records* are Redis' keys, but for those of the nodes and the archive. Times to live are short here ({settings}); at the end of
  the run all must be gone.

```
{text}
```
"""


class Soak:
    def __init__(self, lab, seed, callees, caller, **settings):
        self.lab, self.redis = lab, Redis(lab, password=None).start()
        self.cluster = Cluster(lab, redis=False, log_level=0, shared_mb=128, **{**SHORT, **settings})
        self.traffic = Traffic(self.cluster, seed, caller, callees, RATE)
        self.accidents, self.graph = Accidents(self), Graph()
        self.entries, self.archive_from, self.checked, self.repeated = {}, '-', 0, 0
        self.wrong, self.excused = {}, {}
        self.touched = set()    # calls of which a message was in a process that was killed; most go well all the same

    # --- the run

    def run(self, seconds, every):
        """Calls and accidents for that long; a row every so many seconds."""
        self.begin, self.every, self.next_row, self.next_poll, self.begun = time.monotonic(), every, every, 0.0, 0
        print(TITLE, flush=True)
        self.first = self.sample()
        self.traffic.start()
        while self.age() < seconds:
            self.go_on(self.traffic.random.uniform(*PAUSE_S))
            self.accidents.next()
        self.go_on(2)
        self.traffic.going = False
        self.ran = self.age()

    def age(self):
        return time.monotonic() - self.begin

    def go_on(self, seconds):
        """Time passes, in which the archive is read, and a row printed now and then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.age() >= self.next_poll:
                self.next_poll = self.age() + POLL_S
                self.read_archive()
            if self.age() >= self.next_row:
                self.next_row = self.age() + self.every
                self.judge()
                self.sample()
            time.sleep(0.05)       # a pace

    def sample(self):
        begun, self.begun = self.begun, len(self.traffic.calls)
        now, since = self.age(), self.graph.samples[-1].at if self.graph.samples else -1.0
        sample = Sample(self, now, (self.begun - begun) / (now - since))
        print(self.graph.add(sample), flush=True)
        return sample

    def live(self):
        return sum(not self.traffic.ended(call) for call in self.traffic.calls[self.checked:])

    def keys(self):
        """Names of records in Redis; those of nodes, the archive and the layout stay."""
        names = self.redis.do('KEYS', 'kamsync:*', timeout=1)
        return [name for name in names if not name.startswith(('kamsync:node', 'kamsync:cdr', 'kamsync:layout'))]

    # --- what became of the calls

    def read_archive(self):
        """What is new in it. What Redis loses is not lost here."""
        try:
            found = self.redis.do('XRANGE', 'kamsync:cdr', self.archive_from, '+', timeout=1)
        except OSError:
            return
        for number, pairs in found:
            self.archive_from = f'({number}'
            entry = dict(zip(pairs[::2], pairs[1::2]))
            self.entries.setdefault(entry['call_id'], []).append(entry)

    def judge(self, last=False):
        """Of those that ended a while ago; at the end, of all."""
        done = []
        for call in self.traffic.calls[self.checked:]:
            if not last and (not self.traffic.ended(call) or time.monotonic() - call.ending.began < LATER_S):
                break
            self.judge_one(call)
            done.append(call.call_id)
        self.checked += len(done)
        self.lab.trace.forget(done)

    def judge_one(self, call):
        if self.accidents.excuse(call.call_id, of_archive=True):
            self.touched.add(call.call_id)
        seen = self.traffic.complaint(call)
        text = seen or archive_complaint(call, self.entries.pop(call.call_id, []))
        self.repeated += len(self.lab.trace.repeated(call.call_id))
        if not text:
            return
        name = self.accidents.excuse(call.call_id, of_archive=not seen)
        if name:
            self.excused[call.call_id] = f'{text} ({name})'
        else:
            self.wrong[call.call_id] = text
        print(f'{"excused" if name else "WRONG"}: {call.call_id}: {text}\n  begun {self.accidents.before(call.began)}\n'
              f'{self.lab.trace.show(call.call_id)}\n{self.logged(call.call_id)}', flush=True)

    def logged(self, call_id):
        lines = [f'  {name}: {line}' for name, node in self.cluster.node.items()
                 for line in node.kamsyncd.log().splitlines() if f'call-id={call_id}' in line]
        try:
            lines += [f'  {line}' for line in self.cluster[SPARED].ask('trace', call_id=call_id)['trace']]
        except (OSError, ValueError, KeyError) as error:
            lines.append(f'  no trace: {error!r}')
        return '\n'.join(lines)

    # --- what is left

    def finish(self):
        """All calls end, all records expire. [(what, is it well, text)]"""
        self.traffic.settle()
        patience = time.monotonic() + BACK_S
        self.wait(lambda: not self.left(), BACK_S)
        self.read_archive()
        self.judge(last=True)
        if self.excused and self.ran > EXCUSED_S:    # else they are counted
            self.wait(lambda: not self.left(), patience + EXCUSED_S - time.monotonic())
        left = self.left()
        self.redis.do('DEL', 'kamsync:cdr')
        self.wait(self.files_closed, 5)         # that of the question above is closed in a moment
        return [*self.verdict_calls(), *self.verdict_left(left, self.sample())]

    def wait(self, condition, seconds):
        """With rows meanwhile; whether it came is asked afterwards."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not condition():
            self.go_on(1)

    def files_closed(self):
        return all(open_files(node.kamsyncd.pid) == self.first.files[name] for name, node in self.cluster.node.items())

    def left(self):
        """Records, and what kamsyncd knows of transactions and calls."""
        found = [f'{name}: {count} {what}' for name, node in self.cluster.node.items()
                 for what in ('txns', 'calls') if (count := node.ask('status')[what])]
        return found + self.keys()

    def verdict_calls(self):
        kinds = Counter(text.rsplit(' (', 1)[1][:-1] for text in self.excused.values())
        excused = ', '.join(f'{count}: {kind}' for kind, count in kinds.items())
        return [('calls', not self.wrong, f'{len(self.traffic.calls)}, of which {len(self.wrong)} went wrong; and '
                 f'{len(self.excused)} by a message in a process that was killed{" (" if excused else ""}{excused}'
                 f'{")" if excused else ""}')]

    def verdict_left(self, left, last):
        sanitized = 'sanitized' in KAMSYNCD
        # the call went well, but the reply that ended a transaction of it may have been lost: that lasts for tx_max_s
        excused = [name for name in left if any(f'{{{call_id}}}' in name for call_id in self.touched)]
        text = f'; those of excused calls: {len(excused)}' if excused else ''
        others = [name for name in left if name not in excused]
        counts = [name for name in others if name.endswith((' txns', ' calls'))]
        if excused and sum(int(name.split()[1]) for name in counts) <= 2 * len(excused):
            others = [name for name in others if name not in counts]
        return [('records', not others, f'{self.first.keys} before, {len(left)} after{text} {" ".join(others[:5])}'),
                ('open files', last.files == self.first.files,
                 f'{counted(self.first.files)} before, {counted(last.files)} after'),
                ('memory of Redis', last.redis_kb <= self.first.redis_kb + REDIS_MORE_KB,
                 f'{self.first.redis_kb} kB before, {last.redis_kb} after, without the archive'),
                *self.graph.grown(self.ran, sanitized)]


def counted(each):
    return ' '.join(f'{name}={number}' for name, number in each.items())


def report(soak, seed, verdict):
    """All that is worth keeping."""
    accidents = ', '.join(f'{name} {count}' for name, count in sorted(soak.accidents.count.items()))
    excused = [f'{call_id}: {text}' for call_id, text in soak.excused.items()]
    lines = [f'{"ok " if well else "BAD"} {what}: {text}' for what, well, text in verdict]
    return '\n'.join([f'seed {seed}, {soak.ran:.0f} s of calls', '', soak.graph.text(), '',
                      f'accidents: {accidents}', f'retransmissions: {soak.repeated}', *excused, *lines])


def run(seconds, seed, every, **settings):
    """(is all well, the report)"""
    print(f'seed {seed}', flush=True)
    os.environ.setdefault('ASAN_OPTIONS', SANITIZER)
    with Lab() as lab:
        with Callees(lab, ports=(5060,), on_invite=answer_or_ring) as callees, Caller(lab) as caller:
            soak = Soak(lab, seed, callees, caller, **settings)
            soak.run(seconds, every)
            verdict = soak.finish()
            for phone in (callees, caller):
                phone.check()
            lab.check()
            soak.cluster.stop()
            well = all(good for _, good, _ in verdict)
            lab.keep_logs = not well
            if not well:
                print(f'the logs are kept in {lab.directory}')
            return well, report(soak, seed, verdict)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n', maxsplit=1)[0])
    parser.add_argument('--minutes', type=float, default=15)
    parser.add_argument('--seed', type=int, default=secrets.randbelow(1 << 31))
    parser.add_argument('--write', action='store_true', help='write docs/soak.md')
    options = parser.parse_args()
    well, text = run(60 * options.minutes, options.seed, max(2, 60 * options.minutes / 120))
    print(f'\n{text}')
    if options.write:
        write(options, text)
    return 0 if well else 1


def write(options, text):
    command = f'./dev soak --minutes {options.minutes:g} --seed {options.seed} --write'
    day = datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d')
    settings = ', '.join(f'`{name} = {value}`' for name, value in SHORT.items())
    with open(PAGE, 'w') as file:
        file.write(PROSE.format(command=command, day=day, text=text, settings=settings, share=f'{GROWN_SHARE:.0%}',
                                more=GROWN_KB))


if __name__ == '__main__':
    sys.exit(main())
