#!/usr/bin/env python3
"""How each cost grows with the number of nodes: what they do when idle, a call, and the search after a death.

    nodes.py [--quick]

A kamsyncd each, and imitated Kamailios, which answer probes at once.
"""
import contextlib
import subprocess
import tempfile
import time

import measure
from growth import cost_per_call, per_second
from harness import Redis, wait_until
from lab.redis_tools import redis_tool
from measure import Report, Sample
from stream import Stream, frames, ringing

RECORDS = 20000
ONE = 1000000       # the first number of the calls that ring while little else is done
SETTLE_S = 3        # until all have read that none is idle
RIPE_S = 4          # after node_ttl_ms, when nodes that were never heard of count as dead, each looks through the store once
QUIET_S = 3         # the second round of a search begins 2 s after the first has ended


def commands(redis):
    """How often each command was executed."""
    text = subprocess.run([redis_tool('cli'), '-p', str(redis.port), 'info', 'commandstats'],
                          capture_output=True, text=True, check=True).stdout
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(':')
        if name.startswith('cmdstat_'):
            found[name[8:]] = int(rest.split('calls=')[1].split(',')[0])
    return found


def calls(found, *names):
    return sum(found.get(name, 0) for name in names or found)


@contextlib.contextmanager
def cluster(count):
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        redis = Redis(directory).start()
        stack.callback(redis.kill)
        streams = []
        for number in range(1, count + 1):
            streams.append(Stream(directory, redis.url, node=number))
            stack.callback(streams[-1].close)
        wait_until(lambda: all(s.daemon.report()['others'] == count - 1 for s in streams), 30, 'all know all', every=0.2)
        yield redis, streams


def growing(count, seconds, rounds):
    """A row: what so many nodes cost. One without any call would be probed more rarely."""
    with cluster(count) as (redis, streams):
        for number, stream in enumerate(streams):
            stream.pump(frames(ringing([ONE + number])))
        wait_until(lambda: all(s.probes for s in streams), 10, 'each probes', every=0.2)
        time.sleep(SETTLE_S)
        probes, before = sum(s.probes for s in streams), calls(commands(redis))
        idle = per_second(lambda: [measure.cpu(redis.popen.pid), *(s.cpu() for s in streams)], seconds)
        probes, sent = sum(s.probes for s in streams) - probes, calls(commands(redis)) - before
        kb = Sample(measure.rss(s.pid) / 1024 for s in streams)
        return [count, f'{probes / seconds / count:.1f}', f'{sent / seconds:.0f}', f'{idle[0]:.2f}', Sample(idle[1:]).text(2),
                kb.text(0), cost_per_call(streams[0], 0, rounds).text(0)]


def reads(found, count):
    """Records that were read, beats apart: each node reads its own record and those of all."""
    return calls(found, 'get') - calls(found, 'sadd') - count * calls(found, 'smembers')


def searched(redis, count):
    """Waits until no record is read any more. Seconds until the last one was."""
    begun = last = time.monotonic()
    known = reads(commands(redis), count)
    while time.monotonic() - last < QUIET_S:
        time.sleep(0.1)
        now = reads(commands(redis), count)
        if now > known + count:  # a beat under way
            known, last = now, time.monotonic()
    return last - begun


def searching(count, records):
    """A row: another node dies, and had nothing; so many calls ring at the first one."""
    with cluster(count) as (redis, streams):
        time.sleep(RIPE_S)
        searched(redis, count)  # those of kamsyncds that have just started
        streams[0].pump(frames(ringing(range(records))))
        time.sleep(1)
        before, pids = commands(redis), [redis.popen.pid, *(s.pid for s in streams[2:])]
        spent = [measure.cpu(pid) for pid in pids]
        streams[1].hang_up()
        seconds = searched(redis, count)
        after = commands(redis)
        spent = [1000 * (measure.cpu(pid) - was) for pid, was in zip(pids, spent)]
        scans = calls(after, 'scan') - calls(before, 'scan')
        return [count, records, reads(after, count) - reads(before, count), scans, f'{seconds:.1f}', f'{spent[0]:.0f}',
                Sample(spent[1:]).text(0)]


def main():
    quick = measure.options(__doc__).quick
    seconds, rounds = (3, 2) if quick else (6, 4)
    report = Report('Nodes')
    report.text('A kamsyncd each, and imitated Kamailios that answer probes; first with nothing but a call that rings at '
                'each, and then with 4000 calls at full speed through the first node:')
    report.table(['nodes', 'probes/s of each', 'Redis commands/s', 'Redis, ms of CPU per s', 'such a kamsyncd, ms of CPU per s',
                  'kB resident', 'kamsyncd, µs per call'],
                 [growing(count, seconds, rounds) for count in ((2, 16) if quick else (2, 4, 8, 16, 32, 64))])
    report.text('The search after a death, of a node that had nothing, while so many calls ring at another one:')
    report.table(['nodes', 'records', 'read by all survivors', 'SCANs', 'seconds', 'Redis, ms of CPU',
                  'kamsyncd of each survivor, ms of CPU'],
                 [searching(count, RECORDS // 4 if quick else RECORDS) for count in ((4, 20) if quick else (4, 16, 32, 64))])
    report.show()


if __name__ == '__main__':
    main()
