#!/usr/bin/env python3
"""Instructions of Kamailio's processes per ordinary call, under callgrind: the same on a busy machine, and it says where.

    instructions.py [--quick] [--calls 200] [--rate 10] [--functions 12] [--variants plain,kamsync,plain+tlsf,…]

Each variant lives twice at the same time, with few calls and with many; the difference is theirs. "floor-records" is the least
that any script can do for the same events and records. How long Kamailio's usual allocator searches differs from start to start,
by a third of what kamsync takes; "+tlsf" does not search. The cluster has one node, whose tm repeats nothing (callgrind.cfg).
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
from call import name_of
from measure import Report
from sites import QuietLab, Site, result

NODE = 'a'
START_S = 60    # how long a start may take
LAST_S = 8      # tm keeps a transaction for 5 s after its end
FEW = 10        # calls of either life, since the first cost more
SIP = 'SIP processes'
ROLES = ((SIP, 'udp_rcv_loop'), ('evapi: to and from kamsyncd', 'evapi_run_dispatcher'),
         ('timer of events', 'stm_timer_exec'))
OTHER = 'timers and the rest'
VARIANTS = ('plain', 'floor-records', 'kamsync', 'plain+tlsf', 'floor-records+tlsf', 'kamsync+tlsf')


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


def by_role(site):
    """{role: {function: instructions}} of one life of Kamailio."""
    found = collections.defaultdict(collections.Counter)
    for process in site.counts():
        found[role(process)].update(process)
    return found


def per_call(variant, calls, rate, last_s=LAST_S):
    """The same for one call, by the difference between two lives at the same time, one of which has so many calls more."""
    with contextlib.ExitStack() as stack:
        sites = [stack.enter_context(contextlib.closing(CallgrindSite(variant))) for _ in range(2)]
        phones = [site.phones('call', n, n * rate / calls) for site, n in zip(sites, (FEW, FEW + calls))]
        for seen in map(result, phones):
            if seen['done'] != seen['calls'] or seen['repeats']:
                raise RuntimeError(f'not ordinary calls: {seen}')
        time.sleep(last_s)
        few, many = map(by_role, sites)
    return {name: collections.Counter({function: (n - few[name][function]) / calls for function, n in found.items()})
            for name, found in many.items()}


def of_sip_processes(variant):
    return sum(per_call(variant, 40, 5, 0)[SIP].values())


def together(cost):
    return sum(sum(found.values()) for found in cost.values())


def main():
    options = measure.options(__doc__, ('--calls', 200, 'per variant'), ('--rate', 10, 'calls per second'),
                              ('--functions', 14, 'how many are shown'), ('--variants', ','.join(VARIANTS), 'which ones'))
    calls = 100 if options.quick else options.calls
    costs = {variant: per_call(variant, calls, options.rate) for variant in options.variants.split(',')}
    report = Report("Instructions of Kamailio's processes")
    report.text(f'Thousands per ordinary call, of the node that has it; {calls} calls, {options.rate} per second, under callgrind.')
    roles = [name for name, _ in ROLES] + [OTHER]
    plain = {variant: costs[variant.replace(variant.partition('+')[0], 'plain')] for variant in costs}
    report.table(['', *roles, 'together', 'of plain'],
                 [[name_of(variant), *(f'{sum(cost.get(name, {}).values()) / 1000:.0f}' for name in roles),
                   f'{together(cost) / 1000:.0f}', f'{100 * together(cost) / together(plain[variant]) - 100:+.1f} %']
                  for variant, cost in costs.items()])
    last = next((variant for variant in reversed(costs) if variant.startswith('kamsync')), None)
    if last:
        more = sum(costs[last].values(), collections.Counter())
        more.subtract(sum(plain[last].values(), collections.Counter()))
        report.text(f'What it does more of {name_of(last)} than without, in thousands per call:')
        report.table(['function', 'more'], [[name, f'{n / 1000:.1f}'] for name, n in more.most_common(options.functions)])
    report.show()


if __name__ == '__main__':
    sys.exit(main())
