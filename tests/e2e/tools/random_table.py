#!/usr/bin/python3
"""Many calls of all kinds, each packet steered at random, and a table of how
they ended.

From the command line:

    ./random_table.py --calls 400 --seed 7                    # plain Kamailio
    ./random_table.py --steer a                               # no anycast flaps
    ./random_table.py --cluster mymodule:start_cluster        # any other nodes
    ./random_table.py --both --calls 2000 --seed 7            # with kamsync, and without

start_cluster(lab) starts the nodes and returns an object with .lab and
.nodes, such as lab.plain.Cluster.  Forked calls need a routing that sends what is
dialed as fork3-... to the ports 5060, 5062 and 5064 of the gateway at once.

The outcome is read from the packets at the caller's and at the gateway's
interface, not from what SIPp thinks of it: a call that both SIPps count as
good but where a branch was never cancelled is not as it should be.
"""
import argparse
import importlib
import os
import sys
from collections import Counter

if not __package__:  # run as a program
    sys.path.insert(0, os.path.dirname(os.path.dirname(__file__)))

from lab.lab import Lab
from lab.policies import at_random, to
from lab.proc import LabError, wait_until
from lab.sipp import Caller, Gateway

# How long each rings before it answers, in ms. The last one answers forked calls: if its 200 is read in the same moment as the
# 180 of another branch, tm never cancels that branch, with kamsync or without. On a busy machine 20 ms were not always enough.
GATEWAYS = {5060: 20, 5062: 20, 5064: 500}
# What is sent twice when the machine is slow aborts no call.
PATIENT = ('-default_behaviors', 'all,-bye,-abortunexp')
ANSWERED = ['INVITE', 'ACK', 'BYE']
CANCELLED = ['INVITE', 'CANCEL', 'ACK']


class Kind:
    """A kind of call: how to place it, and how it should end."""

    def __init__(self, name, scenario, dial, finals, requests):
        self.name, self.scenario, self.dial = name, scenario, dial
        self.finals = Counter(finals)     # final replies the caller gets
        self.requests = {port: Counter(kinds)  # requests each gateway gets
                         for port, kinds in requests.items()}


KINDS = (
    Kind('answered', 'call', 'answer1',
         ['200 INVITE', '200 BYE'], {5060: ANSWERED}),
    Kind('cancelled', 'cancel', 'ring1',
         ['200 CANCEL', '487 INVITE'], {5060: CANCELLED}),
    Kind('rejected', 'rejected', 'busy1',
         ['486 INVITE'], {5060: ['INVITE', 'ACK']}),
    Kind('forked', 'call', 'fork3-5060ring-5062ring-5064answer',
         ['200 INVITE', '200 BYE'],
         {5060: CANCELLED, 5062: CANCELLED, 5064: ANSWERED}),
)


class Row:
    """One kind of call, counted."""

    def __init__(self, kind, trace, call_ids):
        self.kind, self.calls = kind, len(call_ids)
        self.not_ended = [c for c in call_ids if not _caller_ok(kind, trace, c)]
        self.not_cleared = [c for c in call_ids
                            if not _gateway_ok(kind, trace, c)]
        self.retransmissions = sum(len(trace.repeated(c)) for c in call_ids)

    @property
    def values(self):
        return (self.calls, self.calls - len(self.not_ended),
                self.calls - len(self.not_cleared), self.retransmissions)


class Table:
    def __init__(self, seed, rows):
        self.seed, self.rows = seed, rows

    @property
    def ok(self):
        """All calls ended as they should, and nothing was sent twice."""
        return all(row.values == (row.calls,) * 3 + (0,) for row in self.rows)

    def bad_calls(self):
        return [call_id for row in self.rows
                for call_id in dict.fromkeys(row.not_ended + row.not_cleared)]

    def __str__(self):
        heads = ('calls', 'ended, caller', 'ended, gateway', 'retransmissions')
        line = '{:<12}' + ''.join('{:>%d}' % (len(h) + 3) for h in heads)
        rows = [(row.kind.name, *row.values) for row in self.rows]
        total = ('all', *map(sum, zip(*(row.values for row in self.rows))))
        return '\n'.join([f'seed {self.seed}', line.format('', *heads)]
                         + [line.format(*row) for row in (*rows, total)])


def run_table(cluster, calls=2000, rate=200, seed=1, policy=None, kinds=KINDS,
              gateways=True, recv_timeout=8000):
    """Place the calls, steer them, return the Table.

    policy: instead of at_random(seed, cluster.nodes); gateways=False: they
    run already, on GATEWAYS' ports; recv_timeout: ms that a caller waits for
    an answer before the call counts as failed.
    """
    lab = cluster.lab
    lab.steer(policy or at_random(seed, cluster.nodes))
    started = [Gateway(lab, port, pause=ms, options=PATIENT) for port, ms in GATEWAYS.items()] if gateways else []
    share = calls // len(kinds)
    callers = [Caller(lab, kind.scenario, calls=share, dial=kind.dial,
                      rate=max(1, rate // len(kinds)),
                      timeout=calls // rate + 60, recv_timeout=recv_timeout, options=PATIENT) for kind in kinds]
    for caller in callers:
        caller.wait()
    _wait_for_gateways(lab.trace, kinds, callers)
    for gateway in started:
        gateway.stop()
    lab.check()
    return Table(seed, [Row(kind, lab.trace, caller.call_ids)
                        for kind, caller in zip(kinds, callers)])


def side_by_side(with_, without):
    """Both tables as one block of text, for people."""
    heads = ('ended, caller', 'ended, gateway', 'retransmissions')
    line = '{:<10}{:>6}' + 2 * ('  |' + '{:>15}{:>16}{:>17}')
    rows = [(row.kind.name, *row.values, *other.values[1:]) for row, other in zip(with_.rows, without.rows)]
    total = ('all', *(sum(column) for column in list(zip(*rows))[1:]))
    return '\n'.join([
        f'every packet to a node chosen at random, seed {with_.seed} '
        '(without kamsync a caller waits 2 s for each answer, then gives up)',
        '{:<16}  |{:^48}  |{:^48}'.format('', 'with kamsync', 'without kamsync'),
        line.format('', 'calls', *heads, *heads)] + [line.format(*row) for row in (*rows, total)])


def run_both(calls=2000, rate=200, seed=1):
    """The same calls, steered alike, on the same nodes with and without kamsync.

    Without it many calls would go on retransmitting for 32 s and more. What
    has no answer after 2 s will get none, so the callers do not wait longer;
    the retransmissions that are counted are those of this short time.
    """
    from lab.cluster import Cluster   # not needed for plain nodes, and wants more
    tables = []
    for kamsync, patience in ((True, 8000), (False, 2000)):
        with Lab() as lab:
            cluster = Cluster(lab, kamsync=kamsync, log_level=0)
            tables.append(run_table(cluster, calls, rate, seed, recv_timeout=patience))
            if not tables[0].ok and kamsync:
                for call_id in tables[0].bad_calls()[:3]:
                    print(f'{call_id}\n{lab.trace.show(call_id)}')
            cluster.stop()
    return tables


def _wait_for_gateways(trace, kinds, callers):
    """The last ACK to a gateway may come after the caller's call has ended;
    one that does not come is for the table to tell."""
    waiting = [(kind, call_id) for kind, caller in zip(kinds, callers)
               for call_id in caller.call_ids]

    def all_came():
        waiting[:] = [(kind, call_id) for kind, call_id in waiting
                      if not _gateway_ok(kind, trace, call_id)]
        return not waiting
    try:
        wait_until(all_came, 5, 'the end of all calls', every=0.2)
    except LabError:
        pass


def _caller_ok(kind, trace, call_id):
    got = Counter(f'{p.kind} {p.cseq_method}'
                  for p in trace.at('caller', call_id)
                  if not p.outgoing and p.kind >= '200' and not p.dup)
    return got == kind.finals


def _gateway_ok(kind, trace, call_id):
    got = {}
    for p in trace.at('gateway', call_id):
        if not p.outgoing and not p.dup:
            got.setdefault(p.port, Counter())[p.kind] += 1
    return got == kind.requests


def main():
    options = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    options.add_argument('--calls', type=int, default=2000)
    options.add_argument('--rate', type=int, default=200)
    options.add_argument('--seed', default='1')
    options.add_argument('--steer', help='all packets to this node')
    options.add_argument('--cluster', default='lab.plain:plain_cluster')
    options.add_argument('--show', type=int, default=2,
                         help='so many bad calls packet by packet')
    options.add_argument('--both', action='store_true',
                         help='with kamsync and without it, side by side')
    args = options.parse_args()
    if args.both:
        with_, without = run_both(args.calls, args.rate, args.seed)
        print(side_by_side(with_, without))
        return 0 if with_.ok else 1
    module, function = args.cluster.split(':')
    start_cluster = getattr(importlib.import_module(module), function)
    with Lab() as lab:
        table = run_table(start_cluster(lab), args.calls, args.rate, args.seed,
                          to(args.steer) if args.steer else None)
        print(table)
        print(lab.steering.stats())
        for call_id in table.bad_calls()[:args.show]:
            print(f'\n{call_id}\n{lab.trace.show(call_id)}')
    return 0 if table.ok else 1


if __name__ == '__main__':
    sys.exit(main())
