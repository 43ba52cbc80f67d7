#!/usr/bin/env python3
"""What KAMSYNC_CLAIM costs an ordinary call, and what it prevents: the same INVITE at two nodes.

    ./claims.py [--calls 500] [--runs 5] [--trials 20]

Prints two Markdown tables; no part of the test run. Each run makes a cluster of its own for each mode, one mode after the
other, and so on with the next run; the figures are medians of the runs. docs/measurements/claims.md says what they mean.
"""
import argparse
import glob
import os
import platform
import statistics
import sys
import time

if not __package__:  # run as a program
    sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller, Leg
from lab.proc import LabError, wait_until
from lab.rawsip import Peer, Request

ROUTING = os.path.join(CFG, 'claims.cfg')
# options of the cluster
MODES = {'none': {}, 'late': {'defines': {'KAMSYNC_CLAIM': None}, 'claim_strict': 0},
         'strict': {'defines': {'KAMSYNC_CLAIM': None}, 'claim_strict': 1}}
GAPS_MS = (0, 2, 5, 10, 15, 20, 30, 50, 100, 500)
RATE = 100        # calls per second
PACE_S = 0.006    # from one trial of the window to the next
SPIN_S = 0.002    # so long before its time a sender stops sleeping and spins
LATE_S = 2        # longer than anybody waits for a lookup: who has not rung then will not


def start(lab, mode):
    return Cluster(lab, routing=ROUTING, log_level=0, **MODES[mode])


# ---- the cost

def cpu_ms(node):
    """What the processes of a node's Kamailio and its kamsyncd have used since they began."""
    total = 0
    for leader in (node.kamailio.pid, node.kamsyncd.pid):
        for stat in glob.glob('/proc/[0-9]*/stat'):
            try:
                with open(stat) as file:
                    group = file.read().rsplit(')', 1)[1].split()[2]
                if int(group) == leader:
                    total += _on_cpu(os.path.dirname(stat))
            except FileNotFoundError:
                pass   # it has just ended, and was none of ours
    return total / 1e6


def _on_cpu(process):
    """Nanoseconds, of all its threads."""
    total = 0
    for path in glob.glob(f'{process}/task/*/schedstat'):
        with open(path) as file:
            total += int(file.read().split()[0])
    return total


def place(caller, count):
    """Calls at a steady pace."""
    begin = time.monotonic()
    calls = []
    for number in range(count):
        time.sleep(max(0, begin + number / RATE - time.monotonic()))
        calls.append(caller.call(f'cost-{number}@lab', 'one'))
    return calls


def cost(lab, cluster, count):
    """Whole calls, INVITE to BYE, through node a: {what: figure}."""
    lab.route_all('a')
    with Callees(lab, on_invite=Leg.answer) as callees, Caller(lab) as caller:
        before = cpu_ms(cluster['a'])
        calls = place(caller, count)
        wait_until(lambda: all(call.final for call in calls), 20, 'all answered')
        byes = [call.bye() for call in calls]
        wait_until(lambda: all(bye.code == 200 for bye in byes), 20, 'all hung up')
        used = cpu_ms(cluster['a']) - before
        callees.check()
        caller.check()
    delays = sorted(1000 * (call.replies[0].time - call.began) for call in calls)
    answers = sorted(1000 * (call.final.time - call.began) for call in calls)
    return {'INVITE to 100, median, ms': statistics.median(delays),
            'INVITE to 100, 99 %, ms': delays[int(len(delays) * 0.99)],
            'INVITE to 200, median, ms': statistics.median(answers),
            'INVITE to 200, 99 %, ms': answers[int(len(answers) * 0.99)],
            'CPU per call, ms': used / count}


# ---- the window

def first_to_a(packet):
    """The caller's INVITE to node a, and again to node b. Replies to whom the Via names."""
    if packet.side == 'caller':
        return 'b' if packet.occurrence else 'a'
    return 'b' if packet.port == 5062 else 'a'


def wait_for_time(moment):
    """As exact as can be: the last bit without giving the processor away."""
    time.sleep(max(0, moment - SPIN_S - time.monotonic()))
    while time.monotonic() < moment:
        pass


def rang_ms(callees, call_id):
    """How long the phone rang that was one too many; None: it rings on. Of two INVITEs at once either may be the second."""
    ended = [leg for leg in callees.legs(call_id) if leg.code == 487]
    return 1000 * (ended[0].changed - ended[0].invite.time) if len(ended) == 1 else None


def _rang(callees, call_ids):
    """The same for each of those calls."""
    try:
        wait_until(lambda: all(rang_ms(callees, call_id) is not None for call_id in call_ids), LATE_S, 'no second phone rings')
    except LabError:
        pass   # so it is: one rings on
    return [rang_ms(callees, call_id) for call_id in call_ids]


def window(lab, gaps_ms, trials, name='window', durations=None):
    """{gap: how many of the trials rang at two gateways}; to durations, a list, is added how long each second phone rang."""
    lab.steer(first_to_a)
    calls = {(gap, n): Request(f'{name}-{gap}-{n}@lab', branch=f'z9hG4bK{name}{gap}x{n}', dial='one')
             for n in range(trials) for gap in gaps_ms}
    with Callees(lab) as callees:
        _send_all(Peer(lab, 'caller', 18090), calls)

        def rings(key):
            return len(callees.legs(calls[key].call_id))
        wait_until(lambda: all(rings(key) for key in calls), 10, 'each call rings somewhere')
        try:
            wait_until(lambda: all(rings(key) > 1 for key in calls), LATE_S, 'second calls')
        except LabError:
            pass   # that is what claims are for
        if durations is not None:
            durations += _rang(callees, [calls[key].call_id for key in calls if rings(key) > 1])
        callees.check()
        return {gap: sum(rings((gap, n)) > 1 for n in range(trials)) for gap in gaps_ms}


def _send_all(peer, calls):
    """Each INVITE, and the same bytes again after its gap."""
    begin = time.monotonic() + 0.05
    plan = []
    for number, ((gap, _), request) in enumerate(calls.items()):
        first = begin + number * PACE_S
        plan += [(first, 0, number, request), (first + gap / 1000, 1, number, request)]
    for moment, _, _, request in sorted(plan, key=lambda entry: entry[:3]):
        wait_for_time(moment)
        peer.send(request.invite(peer))
    peer.close()


# ---- the tables

def one_run(mode, calls, trials):
    with Lab() as lab:
        cluster = start(lab, mode)
        figures, durations = cost(lab, cluster, calls), []
        return figures, window(lab, GAPS_MS, trials, durations=durations), durations


def cost_table(figures):
    """figures: {mode: [{what: figure}, one for each run]}"""
    lines = ['| | ' + ' | '.join(figures) + ' | late / none | strict / none |', '|---' * (len(figures) + 3) + '|']
    for what in figures['none'][0]:
        values = {mode: statistics.median(run[what] for run in runs) for mode, runs in figures.items()}
        lines.append(f'| {what} | ' + ' | '.join(f'{value:.2f}' for value in values.values())
                     + f' | {values["late"] / values["none"]:.2f} | {values["strict"] / values["none"]:.2f} |')
    return '\n'.join(lines)


def window_table(counts, trials):
    """counts: {mode: [{gap: count}, one for each run]}"""
    lines = ['| again at the other node after | ' + ' | '.join(counts) + ' |', '|---' * (len(counts) + 1) + '|']
    for gap in GAPS_MS:
        lines.append(f'| {gap} ms | ' + ' | '.join(
            f'{sum(run[gap] for run in runs)} of {trials * len(runs)}' for runs in counts.values()) + ' |')
    return '\n'.join(lines)


def duration_table(durations):
    """durations: {mode: [ms, or None for a phone that rang on]}"""
    lines = ['| the second phone | ' + ' | '.join(durations) + ' |', '|---' * (len(durations) + 1) + '|']
    rang = {mode: sorted(ms for ms in all_ms if ms is not None) for mode, all_ms in durations.items()}

    def row(what, value):
        lines.append(f'| {what} | ' + ' | '.join(str(value(mode)) for mode in durations) + ' |')
    row('rang', lambda mode: len(durations[mode]))
    row('rang on', lambda mode: len(durations[mode]) - len(rang[mode]))
    row('rang for, median, ms', lambda mode: f'{statistics.median(rang[mode]):.0f}' if rang[mode] else '-')
    row('rang for, at most, ms', lambda mode: f'{rang[mode][-1]:.0f}' if rang[mode] else '-')
    return '\n'.join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--calls', type=int, default=500)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--trials', type=int, default=20)
    options = parser.parse_args()
    figures, counts, durations = ({mode: [] for mode in MODES} for _ in range(3))
    for _ in range(options.runs):
        for mode in MODES:
            cost_of, window_of, durations_of = one_run(mode, options.calls, options.trials)
            durations[mode] += durations_of
            figures[mode].append(cost_of)
            counts[mode].append(window_of)
    print(f'{options.calls} calls at {RATE}/s through one node, median of {options.runs} runs, {os.cpu_count()} cores '
          f'({platform.machine()}), all nodes and Redis on one machine:\n\n{cost_table(figures)}\n')
    print(f'Two phones ring for one INVITE, {options.trials} trials in each of {options.runs} runs:\n\n'
          f'{window_table(counts, options.trials)}\n\n{duration_table(durations)}')


if __name__ == '__main__':
    main()
