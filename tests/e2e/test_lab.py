"""Does the lab itself work?  One plain Kamailio per node, no kamsync.

Two of these tests are also the picture of the problem: see
test_cancel_on_another_node_is_lost().
"""
import os
import signal
import socket
import subprocess
import sys

import pytest

from lab import netns
from lab.lab import REDIS_PORT, Lab
from lab.policies import (at_random, by_call, by_kind, combination_of,
                          combinations, lose, to)
from lab.proc import LabError, wait_until
from lab.sipp import Caller, Gateway, call
from tools.random_table import run_table


@pytest.mark.parametrize(
    'scenario', ['call', 'cancel', 'rejected', 'failed'])
def test_every_scenario_on_one_node(lab, plain, scenario):
    gateway = Gateway(lab)
    lab.route('caller', 'a')
    lab.route('gateway', 'a')
    result = call(lab, scenario, calls=3)
    assert (result.ok, result.failed) == (3, 0), result
    assert gateway.stop().ok == 3
    assert not lab.trace.repeated()


def test_trace_of_a_cancelled_call(lab, plain):
    Gateway(lab)
    lab.steer(to('b'))
    [call_id] = call(lab, 'cancel').call_ids
    # the 200 to CANCEL and the 487 are sent independently
    assert lab.trace.received_by('caller', call_id) in (['100', '180', '200', '487'], ['100', '180', '487', '200'])
    wait_until(lambda: len(lab.trace.received_by('gateway', call_id)) == 3, 10,
               'the ACK')
    assert lab.trace.seen_by('gateway', call_id) == [
        ('in', 'INVITE', 'b'), ('out', '180', 'b'), ('in', 'CANCEL', 'b'),
        ('out', '200', 'b'), ('out', '487', 'b'), ('in', 'ACK', 'b')]


def test_route_flaps_during_a_call(lab, plain):
    Gateway(lab)
    lab.route('caller', 'a')
    lab.route('gateway', 'a')
    caller = Caller(lab, 'call', pause=300)
    [call_id] = caller.call_ids
    wait_until(lambda: 'ACK' in lab.trace.received_by('gateway', call_id), 5,
               'the call to be answered')
    lab.route('caller', 'b')
    assert caller.wait().ok == 1
    nodes = {p.kind: p.node for p in lab.trace.at('gateway', call_id)}
    assert (nodes['INVITE'], nodes['BYE']) == ('a', 'b')


def test_cancel_on_another_node_is_lost(lab, plain):
    """The problem kamsync solves: b has no transaction for this CANCEL."""
    Gateway(lab)
    lab.steer(by_kind({'CANCEL': 'b'}, default='a'))
    result = call(lab, 'cancel', recv_timeout=1200)
    [call_id] = result.call_ids
    assert result.failed == 1
    assert 'CANCEL' not in lab.trace.received_by('gateway', call_id)
    assert '200' not in lab.trace.received_by('caller', call_id)


def test_reply_on_another_node_stops_no_timer(lab, plain):
    """The other half of it: a goes on sending the INVITE."""
    Gateway(lab)
    lab.steer(by_kind({'180': 'b'}, default='a'))
    caller = Caller(lab, 'cancel', pause=1000)
    [call_id] = caller.call_ids
    wait_until(lambda: lab.trace.repeated(call_id), 10, 'a retransmission')
    assert lab.trace.repeated(call_id)[0].kind == 'INVITE'


def test_each_packet_can_be_steered(lab, plain):
    Gateway(lab)
    table = combinations(['ACK', 'BYE'])
    lab.steer(by_call(table))
    result = call(lab, 'call', calls=len(table))
    assert result.ok == 9, result
    for call_id in result.call_ids:
        went = {p.kind: p.node for p in lab.trace.at('caller', call_id)
                if p.outgoing}
        assert went == {'INVITE': 'a', **combination_of(call_id, table)}


def test_same_seed_same_choice(lab, plain):
    Gateway(lab)
    lab.steer(to('a'))
    call(lab, 'call', calls=10)
    packets = [p for p in lab.trace.packets if p.outgoing]
    choices = [[policy(p) for p in packets]
               for policy in map(at_random, ('one', 'one', 'two'))]
    assert choices[0] == choices[1] != choices[2]
    assert set(choices[0]) == {'a', 'b', 'c'}


def test_lost_packet_is_sent_again(lab, plain):
    Gateway(lab)
    lab.steer(lose(lambda p: p.kind == 'INVITE' and p.occurrence == 0, to('a')))
    result = call(lab, 'call')
    assert (result.ok, result.retransmissions) == (1, 1), result
    [again] = lab.trace.repeated()
    assert (again.kind, again.side, again.node) == ('INVITE', 'caller', 'a')


@pytest.mark.parametrize('family', [4, 6])
@pytest.mark.parametrize('pad', [0, 9000])
@pytest.mark.parametrize('way', ['steer', 'route'])
def test_both_families_and_large_messages(lab, plain, family, pad, way):
    Gateway(lab, family=family)
    if way == 'steer':
        lab.steer(to('c'))
    else:
        lab.route('caller', 'c')
        lab.route('gateway', 'c')
    result = call(lab, 'call', family=family, pad=pad)
    assert result.ok == 1, result
    assert not lab.trace.repeated()
    invites = [p for p in lab.trace.packets if p.kind == 'INVITE']
    assert len(invites) == 2 and all(len(p.payload) > pad for p in invites)


def test_forked_call_on_one_node(lab, plain):
    table = run_table(plain, calls=8, rate=20, policy=to('a'))
    assert table.ok, f'{table}\n{table.bad_calls()}'


def test_policy_that_fails_is_told(lab, plain):
    Gateway(lab)
    lab.steer(to('nowhere'))
    call(lab, 'call', recv_timeout=300)
    with pytest.raises(LabError, match='steering'):
        lab.check()
    lab.steering.error = None


def test_cut_and_unplug(lab):
    lab.redis()

    def reaches_store():
        try:
            address = (lab.address('store'), REDIS_PORT)
            socket.create_connection(address, timeout=0.3).close()
            return True
        except TimeoutError:
            return False
    for lose_it, mend in ((lambda: lab.cut('a', 'store'),
                           lambda: lab.heal('a', 'store')),
                          (lambda: lab.unplug('a'), lambda: lab.plug('a'))):
        assert netns.inside(lab.namespace('a'), reaches_store)
        lose_it()
        assert not netns.inside(lab.namespace('a'), reaches_store)
        assert netns.inside(lab.namespace('b'), reaches_store)
        mend()
        wait_until(lambda: netns.inside(lab.namespace('a'), reaches_store), 10,
                   'the connection to be back')


def test_kill_ends_the_whole_kamailio(lab, plain):
    kamailio = lab.procs[0]
    assert len(_processes_in(lab.namespace('a'))) > 1
    kamailio.kill()
    wait_until(lambda: not _processes_in(lab.namespace('a')), 10, 'their end')
    # the kernel closes a process's sockets after it has left its namespace
    wait_until(lambda: not netns.has_socket(lab.namespace('a'), 'udp', 5060), 10, 'the end of their sockets')


def test_nothing_is_left():
    with Lab() as lab:
        lab.redis()
        lab.steer(to('a'))
        lab.route('caller', 'b')
    assert not _namespaces_of(lab.prefix)
    assert not any(proc.running for proc in lab.procs)
    assert not os.path.exists(lab.directory)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_nothing_is_left_after_an_interruption(tmp_path, number):
    """Not even of a lab that nobody closes."""
    script = ('from lab.lab import Lab; import signal\n'
              'signal.signal(signal.SIGINT, signal.default_int_handler)\n'  # ignored by what a shell runs with "&"
              'lab = Lab(); redis = lab.redis()\n'
              'print(lab.prefix, redis.pid, lab.directory, flush=True)\n'
              'signal.pause()\n')
    here = os.path.dirname(os.path.abspath(__file__))
    child = subprocess.Popen([sys.executable, '-c', script], cwd=here, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    prefix, pid, directory = child.stdout.readline().split()
    try:
        child.send_signal(number)
        child.wait(10)
    finally:
        child.terminate()  # should the first signal not have ended it
        child.stdout.close()
    assert not _namespaces_of(prefix)
    assert not os.path.exists(f'/proc/{pid}')
    assert not os.path.exists(directory)


def _namespaces_of(prefix):
    return [name for name in os.listdir(netns.NETNS_DIR)
            if name.startswith(f'{prefix}-')]


def _processes_in(namespace):
    listed = subprocess.run(['ip', 'netns', 'pids', namespace], text=True,
                            capture_output=True, check=True)
    return listed.stdout.split()
