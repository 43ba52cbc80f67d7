"""The moment after an INVITE was sent on, in which its record is still on its way: events may wait in Kamailio's queue,
and kamsyncd for the store. A CANCEL at another node that comes then must find it all the same: in a large cluster
by a lookup; in a small one it goes to all at once.

What is printed is the CANCEL's way from the caller to the gateway, and how often the record was not there at once."""
import itertools
import re
import statistics
import time

import pytest

from lab.accidents import LARGE
from lab.cluster import Cluster
from lab.lab import Lab
from lab.policies import by_kind
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.sipp import Gateway

pytestmark = pytest.mark.alone('delays of milliseconds')

DELAYS_MS = (1, 2, 5, 10, 20, 50)
CALLS = 30
_numbers = itertools.count(1)


@pytest.fixture(scope='module', params=[LARGE, {}], ids=['large cluster', 'small cluster'])
def cluster(request):
    with Lab() as lab:
        the_cluster = Cluster(lab, defines=request.param)
        Gateway(lab)
        lab.steer(by_kind({'CANCEL': 'b'}, default='a'))
        yield the_cluster
        the_cluster.stop()
        lab.check()


@pytest.fixture
def caller(cluster):
    peer = Peer(cluster.lab, 'caller', 15300 + next(_numbers))
    yield peer
    peer.close()


def call(caller, name, delay):
    """INVITE, 100, the delay, CANCEL; what the caller was told about the CANCEL and the INVITE, in any order."""
    request = Request(f'{name}@lab', branch=f'z9hG4bK{name}')
    caller.send(request.invite(caller))
    caller.expect('SIP/2.0 100')
    time.sleep(delay / 1000)
    caller.send(request.cancel(caller))
    answers = {}
    while set(answers) != {'CANCEL', 'INVITE'}:
        text = caller.receive(10)
        assert text, f'{name}: only {answers}'
        status, method = text[8:11], re.search(r'CSeq: \d+ (\w+)', text)[1]
        if status >= '200':
            answers[method] = status
        if status >= '300' and method == 'INVITE':
            caller.send(request.ack(caller, text))
    return request.call_id, answers


def way_ms(lab, call_id):
    """From the caller to the gateway."""
    [sent] = [p for p in lab.trace.at('caller', call_id) if p.kind == 'CANCEL']
    [come] = [p for p in lab.trace.at('gateway', call_id) if p.kind == 'CANCEL']
    return 1000 * (come.time - sent.time)


def waits_ms(cluster, delay):
    """How long kamsyncd waited for each CANCEL's record; beyond 20 ms in which the owner acts, where all have it at once."""
    verdict, least = ('owner', 0) if cluster.defines else ('(?:owner|acted)', 20)
    return [int(ms) - least for ms in
            re.findall(rf'stray CANCEL verdict={verdict} .* waited=(\d+)ms call-id=window{delay}-', cluster['b'].log())]


@pytest.mark.parametrize('delay', DELAYS_MS)
def test_cancel_soon_after_the_100(cluster, caller, delay):
    lab, ways = cluster.lab, []
    for n in range(CALLS):
        call_id, answers = call(caller, f'window{delay}-{n}', delay)
        assert answers == {'CANCEL': '200', 'INVITE': '487'}, lab.trace.show(call_id)
        wait_until(lambda: 'ACK' in lab.trace.received_by('gateway', call_id), 10, 'the gateway has its ACK')
        assert lab.trace.received_by('gateway', call_id) == ['INVITE', 'CANCEL', 'ACK'], lab.trace.show(call_id)
        assert ('out', 'CANCEL', 'b') in lab.trace.seen_by('caller', call_id)
        ways.append(way_ms(lab, call_id))
    wait_until(lambda: len(waits_ms(cluster, delay)) == CALLS, 10, 'kamsyncd has found all records')
    print(f'CANCEL {delay} ms after the 100: at the gateway after {statistics.median(ways):.1f} ms ({min(ways):.1f} to '
          f'{max(ways):.1f}); {sum(ms > 2 for ms in waits_ms(cluster, delay))} of {CALLS} waited for the record')
