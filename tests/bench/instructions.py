#!/usr/bin/env python3
"""Instructions of Kamailio's processes per ordinary call, under callgrind: the same on a busy machine, and it says where.

    instructions.py [--quick] [--calls 200] [--rate 10] [--functions 12] [--variants plain,floor,kamsync]

Each variant runs twice for the same time, with calls and without; the difference is theirs. "floor" is the least that any
script can do to report five events. The cluster has one node, whose tm repeats nothing (callgrind.cfg).
"""
import collections
import contextlib
import glob
import os
import re
import subprocess
import sys
import time

import measure
from measure import Report
from sites import QuietLab, Site, result

NODE = 'a'
START_S = 60    # how long a start may take
LAST_S = 8      # tm keeps a transaction for 5 s after its end
SIP = 'SIP processes'
ROLES = ((SIP, 'udp_rcv_loop'), ('evapi: to and from kamsyncd', 'evapi_run_dispatcher'),
         ('timer that sends the events', 'mq_head_fetch'))
OTHER = 'timers and the rest'


class CallgrindLab(QuietLab):
    """The Kamailio that gets the calls runs under callgrind."""

    def start(self, host, name, argv, env=None):
        if host != NODE or name != 'kamailio':
            return super().start(host, name, argv, env)
        proc = super().start(host, name, ['valgrind', '--tool=callgrind', '--trace-children=yes',
                                          f'--callgrind-out-file={self.directory}/callgrind.%p', *argv], env)
        wait = proc.wait_udp
        proc.wait_udp = lambda port: wait(port, START_S)
        return proc


class CallgrindSite(Site):
    lab_class = CallgrindLab
    nodes, modules = (NODE,), os.path.join(measure.HERE, 'callgrind.cfg')

    def counts(self):
        """Ends Kamailio: [{function: instructions}] of its processes."""
        kamailio = self.cluster[NODE].kamailio
        kamailio.stop(START_S)
        return [functions(path) for path in sorted(glob.glob(f'{self.lab.directory}/callgrind.*'))]


def functions(path):
    text = subprocess.run(['callgrind_annotate', '--threshold=100', path], capture_output=True, text=True, check=True).stdout
    found = collections.Counter()
    for number, name in re.findall(r'^ *([\d,]+) \([ \d.]+%\)  \S*?:(.*?)(?: \[.*)?$', text, re.M):
        found[name.split("'")[0]] += int(number.replace(',', ''))
    return found


def role(process):
    return next((name for name, function in ROLES if function in process), OTHER)


def run(variant, calls, rate, seconds):
    """{role: {function: instructions}} of one life of Kamailio, and what the phones saw."""
    seen = {'repeats': 0, 'done': 0}
    found = collections.defaultdict(collections.Counter)
    with contextlib.closing(CallgrindSite(variant)) as site:
        begun = time.monotonic()
        if calls:
            seen = result(site.phones('call', calls, rate))
        time.sleep(max(0, begun + seconds - time.monotonic()))
        for process in site.counts():
            found[role(process)].update(process)
    return found, seen


def per_call(variant, calls, rate):
    """The same, per call."""
    seconds = calls / rate + LAST_S
    idle, _ = run(variant, 0, rate, seconds)
    busy, seen = run(variant, calls, rate, seconds)
    cost = {}
    for name, found in busy.items():
        found = collections.Counter(found)
        found.subtract(idle.get(name, {}))
        cost[name] = collections.Counter({function: n / calls for function, n in found.items()})
    return cost, seen


def of_sip_processes(variant, few=10, many=50, rate=5):
    """Of one call, by the difference between two lives, which run at the same time."""
    with contextlib.ExitStack() as stack:
        lives = {calls: stack.enter_context(contextlib.closing(CallgrindSite(variant))) for calls in (few, many)}
        phones = {calls: site.phones('call', calls, rate * calls / many) for calls, site in lives.items()}
        for calls, proc in phones.items():
            if result(proc)['done'] != calls:
                raise RuntimeError(f'not all of {calls} calls came to their end')
        counts = [sum(sum(found.values()) for found in site.counts() if role(found) == SIP) for site in lives.values()]
    return (counts[1] - counts[0]) / (many - few)


def main():
    options = measure.options(__doc__, ('--calls', 200, 'per variant'), ('--rate', 10, 'calls per second'),
                              ('--functions', 14, 'how many are shown'), ('--variants', 'plain,floor,kamsync', 'which ones'))
    calls = 100 if options.quick else options.calls
    costs = {variant: per_call(variant, calls, options.rate) for variant in options.variants.split(',')}
    report = Report("Instructions of Kamailio's processes")
    base = sum(sum(found.values()) for found in costs['plain'][0].values())
    report.text(f'Thousands per ordinary call, of the node that has it; {calls} calls, {options.rate} per second, under callgrind.')
    roles = [name for name, _ in ROLES] + [OTHER]
    report.table(['', *roles, 'together', 'of plain', 'repeated'],
                 [[variant, *(f'{sum(cost.get(name, {}).values()) / 1000:.0f}' for name in roles),
                   f'{sum(sum(found.values()) for found in cost.values()) / 1000:.0f}',
                   f'{100 * sum(sum(found.values()) for found in cost.values()) / base - 100:+.1f} %', seen['repeats']]
                  for variant, (cost, seen) in costs.items()])
    for variant, (cost, _) in costs.items():
        if variant == 'kamsync':
            more = sum(cost.values(), collections.Counter())
            more.subtract(sum(costs['plain'][0].values(), collections.Counter()))
            report.text(f'What {variant} does more of than plain Kamailio, in thousands per call:')
            report.table(['function', 'more'], [[name, f'{n / 1000:.1f}'] for name, n in more.most_common(options.functions)])
    report.show()


if __name__ == '__main__':
    sys.exit(main())
