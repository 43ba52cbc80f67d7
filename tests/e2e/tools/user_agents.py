#!/usr/bin/env python3
"""What becomes of a ringing call after its proxy died, with real user agents as the callee.

    sudo tests/e2e/tools/user_agents.py                     # prints the tables; some minutes
    sudo tests/e2e/tools/user_agents.py --write             # into docs/user-agents.md
    sudo tests/e2e/tools/user_agents.py --only baresip

Each agent is called four times by way of node a, whose Kamailio and kamsyncd are then killed; b takes over.
An agent that is not installed keeps its row on the page, or has "not run".
"""
import argparse
import os
import sys
import time

if not __package__:  # run as a program
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lab.agents import AGENTS
from lab.cluster import CFG
from lab.connections import connected_cluster, redirect_ports, take_over
from lab.lab import Lab
from lab.phone import Caller
from lab.proc import LabError, each, wait_until
from lab.tables import rows_below, write

PAGE = os.path.join(os.path.dirname(CFG), '../../docs/user-agents.md')
VARIABLE = 'KAMSYNC_AGENTS_TABLE'
IDLE, IDLE_S = 'idle for 40 s', 40
CASES = {'answers': (5060, 200), 'rejects': (5062, 486), 'the caller cancels': (5064, 487), IDLE: (5066, 200)}
SDP = ('v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio 30000 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n')


class Played:
    """One call to one agent."""

    def __init__(self, lab, caller, agent, case, over):
        self.lab, self.agent, self.case, self.over = lab, agent, case, over
        port, code = CASES[case]
        self.expected = {'rejects': agent.rejects_with, IDLE: agent.idle_ends_with}.get(case, code)
        self.call_id = f'agent-{port}@lab'
        self.call = caller.call(self.call_id, f'{agent.user}-{port}', headers=(('Content-Type', 'application/sdp'),),
                                body=SDP.format(ip=caller.ip))
        self.struck = self.bye = self.error = None

    def at_agent(self, kind, outgoing):
        return [p for p in self.lab.trace.at('gateway', self.call_id) if p.kind == kind and p.outgoing == outgoing]

    def repeated(self):
        """When the INVITE came again."""
        return next((p.time for p in self.at_agent('INVITE', False) if p.time > self.struck), None)

    def act(self):
        if self.case == 'the caller cancels':
            self.call.cancel()
        elif self.case == 'rejects':
            self.agent.reject()
        else:
            self.agent.answer()

    def finish(self):
        """Wait for the call's end; whatever does not come is seen in cell()."""
        try:
            wait_until(lambda: self.call.final, 8, 'a final reply')
            if self.call.final.code == 200:
                wait_until(lambda: self.at_agent('ACK', False), 3, 'ACK')
                self.bye = self.call.bye()
                wait_until(lambda: self.bye.code, 3, '200 to BYE')
            wait_until(lambda: self.at_agent('ACK', False), 3, 'ACK')
        except LabError as error:
            self.error = str(error)

    def rang_twice(self):
        """A second call has another To tag."""
        return len({p.to_tag for p in self.lab.trace.at('gateway', self.call_id)
                    if p.outgoing and p.cseq_method == 'INVITE' and p.to_tag}) > 1

    def is_lost(self):
        """For the caller."""
        code = self.call.final and self.call.final.code
        return code != self.expected or (code == 200 and not (self.at_agent('ACK', False) and self.bye and self.bye.code == 200))

    def cell(self):
        code = self.call.final.code if self.call.final else 'no final reply'
        parts = [str(code)]
        if self.call.final:
            parts.append('ACK' if self.at_agent('ACK', False) else 'no ACK')
        if self.bye:
            parts.append(f'BYE {self.bye.code or "not answered"}')
        if self.repeated():
            again = [p.time - self.repeated() for p in self.at_agent('180', True) if p.time > self.repeated()]
            parts.append(f'180 again after {1000 * again[0]:.0f} ms' if again else 'no 180 again')
        if self.rang_twice():
            parts.append('**rang twice**')
        return ('**lost**: ' if self.is_lost() else '') + ', '.join(parts)


def kill(cluster, calls):
    """Node a dies, b takes over."""
    cluster.lab.route_all('b')
    if calls[0].agent.to_old_port:
        redirect_ports(cluster.lab, 'a', by='b')
    take_over(cluster.lab, 'a', by='b')
    for proc in (cluster['a'].kamailio, cluster['a'].kamsyncd):
        proc.kill()
    if calls[0].over == 'udp':
        wait_until(lambda: each(calls, Played.repeated), 8, 'INVITEs sent again')
        wait_for_180(calls)
    else:
        wait_until(lambda: cluster['b'].counters()['takeovers_done'] == len(calls), 15, 'all taken over')


def rings(node, call_id):
    """Whether its record says so."""
    return [branch['code'] for txn in node.ask('tx', call_id=call_id)['txns'] for branch in txn['branches']] == [180]


def play(lab, agents, over, alive):
    """The calls of one agent, one for each case. What is dialled ends in its port."""
    gateway = f'"{lab.address("gateway")}:" + $(rU{{s.select,1,-}}) + ";transport={over}"'
    cluster = connected_cluster(lab, defines={'GATEWAY': gateway})
    with Caller(lab) as caller:
        lab.route_all('a')
        calls = [Played(lab, caller, agent, case, over) for case, agent in agents.items()]
        wait_until(lambda: each(calls, lambda played: played.call.got(180)), 8, 'all ring')
        wait_until(lambda: each(calls, lambda played: rings(cluster['a'], played.call_id)), 5, 'all records')
        wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all records written')
        struck = time.monotonic()
        for played in calls:
            played.struck = struck
        if not alive:
            kill(cluster, calls)
        finish_all(calls, struck)
        caller.check()
    for played in calls:
        if played.error or played.is_lost():
            print(f'{played.case}: {played.error}\n{lab.trace.show(played.call_id)}', file=sys.stderr)
    return [played.cell() for played in calls]


def wait_for_180(calls):
    try:
        wait_until(lambda: each(calls, lambda played: '180 again after' in played.cell()), 1, '180 again')
    except LabError:
        pass      # the cells say so


def finish_all(calls, struck):
    soon = [played for played in calls if played.case != IDLE]
    for played in soon:
        played.act()
    for played in soon:
        played.finish()
    for idle in set(calls) - set(soon):
        wait_until(lambda: time.monotonic() > struck + IDLE_S or idle.call.final, IDLE_S + 5, 'the call to be idle')
        if not idle.call.final:
            idle.act()
        idle.finish()


def row_of(kind, over, alive=False, cases=tuple(CASES)):
    """The cells of an agent: version, then one for each case."""
    with Lab(nodes='ab', keep_logs='KAMSYNC_KEEP_LOGS' in os.environ) as lab:
        agents = {}
        try:
            for case in cases:
                agents[case] = kind(lab, CASES[case][0], case, over)
            return [kind.version(), *play(lab, agents, over, alive)]
        finally:
            for agent in agents.values():
                agent.close()


def table(rows):
    lines = [f'| agent | version | {" | ".join(CASES)} |', '|---' * (len(CASES) + 2) + '|']
    return '\n'.join([*lines, *(f'| {name} | {" | ".join(cells)} |' for name, cells in rows.items())]) + '\n'


def show(over, options):
    """Prints the table of a transport, and writes it."""
    heading, kinds = f'## {over.upper()}', [kind for kind in AGENTS if over in kind.transports]
    fresh = {kind.name: row_of(kind, over, options.alive) for kind in kinds if options.only in kind.name and kind.version()}
    known = {} if options.alive else rows_below(heading, VARIABLE)
    rows = {kind.name: fresh.get(kind.name) or known.get(kind.name) or ['not run'] + ['—'] * len(CASES) for kind in kinds}
    print(table(rows))
    if options.write:
        write(table(rows), VARIABLE, heading)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='', help='agents whose name contains this')
    parser.add_argument('--over', nargs='+', choices=('udp', 'tcp'), default=('udp', 'tcp'))
    parser.add_argument('--write', action='store_true', help='into docs/user-agents.md')
    parser.add_argument('--alive', action='store_true', help='for comparison: nobody dies')
    options = parser.parse_args()
    if options.alive and options.write:
        parser.error('the page is about nodes that die')
    os.environ[VARIABLE] = PAGE
    for over in options.over:
        show(over, options)


if __name__ == '__main__':
    main()
