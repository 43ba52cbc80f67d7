"""Every message of a call to every node: the caller and the gateway must see what they see on one node.

What they see on one node is measured, on plain Kamailio, not written down here. (Re-INVITEs: test_reinvites.py.)"""
from collections import Counter

import pytest

from lab.cluster import Cluster
from lab.lab import Lab
from lab.policies import by_call, combination_of, combinations, to
from lab.proc import LabError, each, wait_until
from lab.sipp import Gateway, call

pytestmark = pytest.mark.alone('80 calls a second, of which nothing may be sent twice')

PORTS = (5060, 5062, 5064)

# name: scenario of the caller, what he dials, the messages that are steered each on its own
SHAPES = {
    'answered': ('call', 'answer1', ['INVITE', '180', '200/INVITE', 'ACK', 'BYE', '200/BYE']),
    'cancelled': ('cancel', 'ring1', ['INVITE', '180', 'CANCEL', '200/CANCEL', '487', 'ACK']),
    'rejected': ('rejected', 'busy1', ['INVITE', '486', 'ACK']),
    'parallel, cancelled': ('cancel', 'fork3-5060ring-5062ring-5064ring',
                            ['INVITE', '180', 'CANCEL', '487', 'ACK']),
    'parallel, answered': ('call', 'fork3-5060ring-5062busy-5064answer',
                           ['INVITE', '486', '200/INVITE', '487', 'ACK']),
    'serial, answered': ('call', 'serial-5060unavailable-5062answer',
                         ['INVITE', '503', '180', '200/INVITE', 'ACK']),
    'serial, cancelled': ('cancel', 'serial-5060unavailable-5062ring',
                          ['INVITE', '503', '180', 'CANCEL', '487', 'ACK']),
}


def views(lab, call_id):
    """What caller and gateways received of a call: {side and port: how often each message}."""
    seen = {}
    for packet in lab.trace.of(call_id):
        if not packet.outgoing:
            place = 'caller' if packet.side == 'caller' else packet.port
            seen.setdefault(place, Counter())[f'{packet.kind}/{packet.cseq_method}'] += 1
    return seen


def start(lab, kamsync):
    cluster = Cluster(lab, kamsync=kamsync, log_level=0)
    for port in PORTS:
        # a phone that rang for a moment only: were its 180 and 200 read at once, by two processes, they could change places
        Gateway(lab, port, pause=150)
    return cluster


@pytest.fixture(scope='module')
def on_one_node():
    """Shape to views, as measured on a single plain Kamailio."""
    found = {}
    with Lab() as lab:
        start(lab, kamsync=False)
        lab.steer(to('a'))
        for shape, (scenario, dial, _) in SHAPES.items():
            result = call(lab, scenario, dial=dial)
            assert result.ok == 1, result
            [call_id] = result.call_ids
            if 'cancelled' in shape:
                wait_until(lambda: each([view for place, view in views(lab, call_id).items() if place != 'caller'],
                                        lambda view: view['ACK/ACK']), 5, 'the last ACKs')
            found[shape] = views(lab, call_id)
        assert not lab.trace.repeated()
    return found


@pytest.fixture(scope='module')
def cluster():
    with Lab() as lab:
        the_cluster = start(lab, kamsync=True)
        yield the_cluster
        the_cluster.stop()
        lab.check()


@pytest.mark.parametrize('shape', SHAPES)
def test_seen_as_on_one_node(cluster, on_one_node, shape):
    lab, (scenario, dial, kinds) = cluster.lab, SHAPES[shape]
    lab.trace.clear()
    table = combinations(kinds)
    lab.steer(by_call(table))
    result = call(lab, scenario, dial=dial, calls=len(table), rate=80)
    assert (result.ok, result.failed) == (len(table), 0), result

    def different():
        return [call_id for call_id in result.call_ids if views(lab, call_id) != on_one_node[shape]]
    try:
        wait_until(lambda: not different(), 5, 'the last packets')
    except LabError:
        call_id = different()[0]
        pytest.fail(f'{len(different())} of {len(table)} differ, such as {combination_of(call_id, table)}:\n'
                    f'{lab.trace.show(call_id)}\n on one node: {on_one_node[shape]}')
    repeated = lab.trace.repeated()
    assert not repeated, lab.trace.show(repeated[0].call_id)
