"""One BYE, sent again to another node: its far end refuses the one of a node and accepts the other's, which no far end should do, for
to it both are one transaction. The call ends when it has accepted one, and not before; with one entry."""
import itertools
import re

import pytest

from lab.cluster import Cluster
from lab.lab import Lab
from lab.policies import to
from lab.proc import wait_until
from lab.rawcall import Call
from lab.rawsip import Peer, answer_to

_numbers = itertools.count()


@pytest.fixture(scope='module')
def world():
    with Lab() as lab:
        cluster = Cluster(lab)
        gateway = Peer(lab, 'gateway', 5060)
        yield cluster, gateway
        gateway.close()
        cluster.stop()
        lab.check()


def entries(cluster, call):
    return [entry for entry in cluster['c'].ask('cdr', count=100)['cdr'] if entry['call_id'] == call.call_id]


def refused(cluster):
    """Wherever that reply came: tm finds a BYE by its branch, which is the same on both nodes."""
    return sum(node.counters()['byes_refused'] for node in cluster.node.values())


def next_bye(gateway, call, node):
    """The call's BYE that this node has sent on; a BYE of the call before may have been repeated until it was answered."""
    gateway.sock.settimeout(3)
    while True:
        data, source = gateway.sock.recvfrom(65535)
        if data.startswith(b'BYE') and call.call_id.encode() in data and re.search(rb'^Via: [^\r]*;srvid=%d' % node, data, re.M):
            return data, source


@pytest.mark.parametrize('says', ['200 OK', '481 Gone', '408 Late'])
@pytest.mark.parametrize('first', ['a', 'b'])
def test_it_ends_with_the_one_that_was_accepted(world, first, says):
    """a's is refused; whichever comes first."""
    cluster, gateway = world
    peer, call = Peer(cluster.lab, 'caller', 15950 + next(_numbers)), Call(f'twice-{first}-{says[:3]}')
    cluster.lab.steer(to('a'))
    call.begin(peer, gateway)
    byes = {}
    for number, node in enumerate('ab', 1):
        cluster.lab.steer(to(node))
        peer.send(call.bye(peer, gateway))
        byes[node] = next_bye(gateway, call, number)
    assert len({re.search(rb'branch=[^;\r]*', data)[0] for data, _ in byes.values()}) == 1, 'to the far end it is one'
    before = refused(cluster)
    for node in (first, 'ab'['ba'.index(first)]):
        if node == 'b':
            assert not entries(cluster, call)
        data, source = byes[node]
        gateway.send(answer_to(data, says if node == 'b' else '403 No'), source)
        if node == 'a' and first == 'a':
            wait_until(lambda: refused(cluster) == before + 1, 5, 'it is refused')
        if node == 'b':
            wait_until(lambda: entries(cluster, call), 10, 'its entry')
    (entry,) = entries(cluster, call)
    assert (entry['how'], entry['by']) == ('completed', 'caller')
    peer.close()


def test_refused_by_both_it_goes_on(world):
    cluster, gateway = world
    peer, call = Peer(cluster.lab, 'caller', 15949), Call('twice-refused')
    cluster.lab.steer(to('a'))
    call.begin(peer, gateway)
    before = refused(cluster)
    for number, node in enumerate('ab', 1):
        cluster.lab.steer(to(node))
        peer.send(call.bye(peer, gateway))
        data, source = next_bye(gateway, call, number)
        gateway.send(answer_to(data, '403 No'), source)
        wait_until(lambda n=number: refused(cluster) == before + n, 5, 'it is refused')
    assert not entries(cluster, call)
    peer.send(call.bye(peer, gateway, cseq=3))
    data, source = next_bye(gateway, call, 2)
    gateway.send(answer_to(data, '200 OK'), source)
    wait_until(lambda: entries(cluster, call), 10, 'its entry')
    assert len(entries(cluster, call)) == 1
    peer.close()
