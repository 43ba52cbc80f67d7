"""kamsyncctl beside real nodes: a call that changes nodes twice, and this node's own affairs."""
import os
import re
import subprocess

import pytest

from lab.cluster import KAMSYNCD
from lab.policies import to
from lab.proc import wait_until
from lab.talking import ASK, Talk

KAMSYNCCTL = os.path.join(os.path.dirname(KAMSYNCD), 'ctl/kamsyncctl')


class Desk(Talk):
    def ctl(self, node, *args, status=0):
        def run():
            done = subprocess.run([KAMSYNCCTL, '--socket', f'{self.cluster[node].directory}/control.sock', *args],
                                  capture_output=True, text=True, timeout=10, env={**os.environ, 'TZ': 'UTC', 'LC_ALL': 'C.UTF-8'})
            return done if 'did not answer' not in done.stderr else None  # a node may be late on a busy machine
        done = wait_until(run, 10, 'an answer of all nodes')
        assert done.returncode == status, done
        return done.stdout

    def lines(self, node, *args):
        """The words of each line."""
        return [line.split() for line in self.ctl(node, *args).splitlines()]


@pytest.fixture(scope='module')
def desk():
    with Desk() as the_desk:
        yield the_desk
        the_desk.check()


def rows(text):
    """The timeline: (node, what) of each of its lines."""
    return re.findall(r'^  [\d:.]+ +[+-]\d+ ms  (node \d|-) +(.*)$', text, re.M)


def test_this_node(desk):
    status = desk.ctl('b', 'status')
    assert re.match(r'kamsyncd \S+, node 2 \(b\), incarnation \S+\n', status)
    for line in (r'kamailio +up', r'store +up', r'drained +no', r'nodes +2  others alive'):
        assert re.search(f'^{line}$', status, re.M), status
    nodes = {words[0]: words[1:5] for words in desk.lines('b', 'nodes')[1:]}
    assert nodes == {'1': ['a', '-', '198.51.100.1:5060', 'up'], '2': ['b', '-', '198.51.100.2:5060', 'self'],
                     '3': ['c', '-', '198.51.100.3:5060', 'up']}


def test_drain(desk):
    for command, drained in (('drain', 'yes'), ('undrain', 'no')):
        desk.ctl('c', command)
        assert re.search(f'^drained +{drained}$', desk.ctl('c', 'status'), re.M)
        assert re.search('^drained +no$', desk.ctl('b', 'status'), re.M)


def test_calls_of_all_nodes(desk):
    calls = {node: desk.place(f'of-{node}', at=node, headers=(('X-Set', f'greeting|of {node}'),)) for node in 'ab'}
    shown = desk.ctl('c', 'calls')
    for number, node in enumerate('ab', 1):
        assert re.search(rf'answered +[\d.]+ m?s +{number}  sip:caller@\S+  sip:one@192.0.2.1 +of-{node}@lab$', shown, re.M), shown
    assert shown.endswith('2 calls\n')
    assert 'of-b@lab' not in desk.ctl('c', 'calls', '--node', '1') and 'of-a@lab' in desk.ctl('c', 'calls', '--node', '1')
    assert desk.ctl('c', 'calls', '--state', 'ringing').endswith('0 calls\n')
    desk.wait_var(calls['a'], 'of a')
    assert re.search(r'^greeting +of a$', desk.ctl('b', 'call', 'of-a@lab'), re.M)
    for call in calls.values():
        assert desk.request(call, 'BYE', 'c') == 200
        desk.wait_ended(call)
    wait_until(lambda: desk.ctl('a', 'calls').endswith('0 calls\n'), 5, 'a knows that both have ended')
    archive = desk.ctl('b', 'cdr', '-n', '2')
    assert [line.split()[-1] for line in archive.splitlines()[-2:]] == ['of-a@lab', 'of-b@lab']
    assert desk.ctl('a', 'call', 'never@lab', status=1) == ''


def test_a_call_that_changes_nodes_twice():
    """INVITE at a, which is killed; b or c takes the call over; BYE at the third. Printed, for people to look at."""
    with Desk() as desk:
        call = desk.place('moving', dial='ring', headers=(('X-Set', 'greeting|I remember'),))
        desk.wait_var(call, 'I remember')
        desk.cluster['a'].wait_recorded(desk.callees, call.call_id)
        tx = desk.ctl('b', 'tx', call.call_id)
        assert re.search(r'^  owner +node 1,', tx, re.M) and '198.51.100.12:5060' in tx, tx
        desk.lab.steer(to('b'))
        desk.cluster['a'].kamailio.kill()
        cancelled = desk.place('stray', at='b', dial='ring')           # another one, for a stray
        desk.lab.steer(to('c'))
        assert desk.answer(cancelled.cancel()) == 200
        wait_until(lambda: desk.record(call).get('node') in (2, 3), 10, 'another node has it')
        # while it rings: not also by the node whose Kamailio is dead
        wait_until(lambda: desk.ctl('c', 'calls').count('moving@lab') == 1, 10, 'it is listed once')
        second, third = 'bc' if desk.record(call)['node'] == 2 else 'cb'
        wait_until(lambda: re.search(rf'^  owner +node {"abc".index(second) + 1},', desk.ctl(third, 'tx', call.call_id), re.M), 5,
                   'its transaction, too')
        desk.lab.steer(to(second))
        desk.leg(call).answer()
        call.wait(200)
        wait_until(lambda: desk.record(call)['state'] == 'answered', 5, 'answered')
        assert desk.request(call, 'BYE', third, ASK) == 200
        desk.wait_ended(call)
        shown, trace = desk.ctl(third, 'call', call.call_id), desk.ctl(second, 'trace', call.call_id)
        print(f'second: {second}, third: {third}\n{shown}\n{trace}')
        ids = [str('abc'.index(node) + 1) for node in ('a', second, third)]
        timeline = rows(shown)
        assert timeline[0] == ('node 1', 'INVITE')
        assert (f'node {ids[1]}', 'its first message here') in timeline
        assert any(where == f'node {ids[1]}' and what.startswith('its node is gone') for where, what in timeline)
        assert any(where == f'node {ids[2]}' and what.startswith('within a call') for where, what in timeline)
        assert (f'node {ids[2]}', 'ended: completed, code 200, by caller') in timeline
        # the phone rings again for the new node; the caller heard it ring before
        record = desk.record(call, third)
        assert record['ringing'] < record[f'at.{ids[1]}'] and record['pdd_ms'] == record['ringing'] - record['trying']
        for line in (r'state +ended', r'ended by +caller', rf'nodes +{", ".join(ids)}', r'greeting +I remember'):
            assert re.search(f'^{line}$', shown, re.M), shown
        assert re.search(rf'^[\d:.]+ +{ids[1]}  its node is gone', trace, re.M)
        # by its record, or as node 2 has told that it has acted
        wait_until(lambda: re.search(r'^[\d:.]+ +3  stray CANCEL from=\S+: (owner|acted), owner=2$',
                                     desk.ctl('b', 'trace', 'stray@lab'), re.M), 3, 'what became of the CANCEL')
        assert len(desk.lines('b', 'cdr')) >= 2
        desk.check()
