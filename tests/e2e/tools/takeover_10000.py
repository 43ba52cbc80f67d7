#!/usr/bin/env python3
"""How long a takeover takes: 10,000 ringing calls on the node that dies, and what new calls at a survivor feel of it.

    ./takeover_10000.py [--calls 10000] [--cancels 20]

Prints figures; no part of the test run. The second part: one ringing call at a time, its Kamailio killed, and the CANCEL
right behind that, at a survivor: how long until the 200.
"""
import argparse
import os
import statistics
import sys
import time

if not __package__:  # run as a program
    sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))

from lab.cluster import Cluster
from lab.lab import Lab
from lab.owner_gone import ROUTING
from lab.phone import Callees, Caller
from lab.proc import wait_until

SHARED_MB = 512
RATE = 500           # INVITEs per second, to set the calls up
PROBE_RATE = 50      # INVITEs per second at the survivor, whose 100 is awaited
PROBE_S = 4          # seconds of probing before the kill
PATIENCE = 120


class Probe:
    """New calls at a survivor, at a steady pace; each is cancelled when it rings."""

    def __init__(self, caller):
        self.caller, self.calls, self.began = caller, [], time.monotonic()

    def go_on(self):
        while len(self.calls) < (time.monotonic() - self.began) * PROBE_RATE:
            self.calls.append(self.caller.call(f'probe-{len(self.calls)}-{self.caller.port}@lab', 'one-probe'))

    def wait(self, condition, timeout, what):
        """Probes until the condition holds."""
        def probe_and_look():
            self.go_on()
            return condition()
        wait_until(probe_and_look, timeout, what, every=0.002)

    def milliseconds(self, begin, end):
        """From INVITE to 100, of the calls that began in that time."""
        return [1000 * (call.replies[0].time - call.began) for call in self.calls
                if begin <= call.began < end and call.replies]


def figures(values):
    if not values:
        return 'no values'
    values = sorted(values)
    return (f'median {statistics.median(values):.1f} ms, 99 % {values[int(len(values) * 0.99)]:.1f} ms, '
            f'most {values[-1]:.1f} ms, of {len(values)}')


def set_up(caller, callees, count):
    begin = time.monotonic()
    calls = []
    for number in range(count):
        time.sleep(max(0, begin + number / RATE - time.monotonic()))
        calls.append(caller.call(f'many-{number}@lab', 'one'))
    wait_until(lambda: all(call.got(180) for call in calls), PATIENCE, 'calls that ring', every=0.1)
    return calls


def counter(cluster, name):
    return sum(cluster[node].counters()[name] for node in 'bc')


def mass_takeover(count):
    with Lab() as lab:
        cluster = Cluster(lab, routing=ROUTING, log_level=0, shared_mb=SHARED_MB)
        lab.route('caller', 'a')
        lab.route('gateway', 'a')
        with Callees(lab) as callees, Caller(lab) as caller, Caller(lab, 17062) as other:
            calls = set_up(caller, callees, count)
            wait_until(lambda: cluster['a'].status()['unwritten'] == '0', PATIENCE, 'all records written', every=0.1)
            lab.route('caller', 'b')
            lab.route('gateway', 'b')
            probe = Probe(other)
            probe.wait(lambda: time.monotonic() - probe.began > PROBE_S, PATIENCE, 'the probes before')
            killed = time.monotonic()
            cluster['a'].kamailio.kill()
            probe.wait(lambda: all(leg.again for call in calls for leg in callees.legs(call.call_id)), PATIENCE,
                       f'INVITEs again, for {count} calls')
            last = callees.last_again
            wait_until(lambda: counter(cluster, 'takeovers_done') >= count, PATIENCE, 'takeovers_done', every=0.1)
            print(f'{count} calls: the last INVITE came again {last - killed:.2f} s after the kill, '
                  f'{count / (last - killed):.0f} takeovers/s')
            print(f'  by b and c: {[cluster[node].counters()["takeovers_done"] for node in "bc"]}, '
                  f'failed: {counter(cluster, "takeovers_failed")}')
            print(f'  INVITE to 100 at b before: {figures(probe.milliseconds(0, killed))}')
            print(f'  INVITE to 100 at b during: {figures(probe.milliseconds(killed, last))}')
            late = [leg.again[0] - killed for call in calls for leg in callees.legs(call.call_id)]
            print(f'  a call was taken over after: {figures([1000 * value for value in late])}')
            if any(len(callees.legs(call.call_id)) != 1 for call in calls):
                print('  some phones rang a second time')


def first_cancels(count):
    """The CANCEL is sent in the moment of the kill."""
    times, tries = [], []
    with Lab() as lab:
        cluster = Cluster(lab, routing=ROUTING, log_level=0)
        with Callees(lab), Caller(lab) as caller:
            for number in range(count):
                call = one_cancel(lab, cluster, caller, number)
                times.append(1000 * (call.cancelling.answered - call.killed))
                tries.append(call.cancelling.tries_needed)
    print(f'CANCEL at the moment of the kill: 200 after {figures(times)}; CANCELs needed: {sorted(tries)}')


def one_cancel(lab, cluster, caller, number):
    lab.route('caller', 'a')
    lab.route('gateway', 'a')
    call = caller.call(f'first-{number}@lab', 'one')
    call.wait(180)
    wait_until(lambda: cluster.records(f'*first-{number}@*'), 5, 'its record')
    lab.route('caller', 'b')
    lab.route('gateway', 'b')
    node = cluster['a']
    call.killed = time.monotonic()
    node.kamailio.kill()
    call.cancel()
    wait_until(lambda: call.cancelling.code and call.got(487), 35, '200 and 487')
    restarts = node.log().count(': restarted')
    node.start_kamailio()
    wait_until(lambda: node.log().count(': restarted') > restarts, 10, 'the node is back')
    incarnation = node.log().split('incarnation ')[-1].split(':')[0]
    wait_until(lambda: all(f'up, incarnation {incarnation}' in cluster[peer].log() for peer in 'bc'), 10, 'b and c know it')
    return call


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--calls', type=int, default=10000)
    parser.add_argument('--cancels', type=int, default=20)
    options = parser.parse_args()
    if options.calls:
        mass_takeover(options.calls)
    if options.cancels:
        first_cancels(options.cancels)


if __name__ == '__main__':
    main()
