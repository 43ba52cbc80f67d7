"""Calls that kamsync cannot track: Kamailio relays them, they are answered and ended, and each leaves one entry in the archive,
which says so (untracked: why), with what is known. Billing sees that there was something."""
import copy
import itertools

import pytest

from lab.cluster import CONTROL, Cluster
from lab.kamailios import versions
from lab.lab import ANYCAST, Lab
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.rawcall import Call, answered
from lab.rawsip import Peer

MSG_MAX, QUEUE_MAX = 3000, 20
_numbers = itertools.count(1)


@pytest.fixture(scope='module')
def cluster():
    with Lab() as lab:
        cluster = Cluster(lab, modules=CONTROL, defines={'KAMSYNC_MSG_MAX': MSG_MAX, 'KAMSYNC_QUEUE_MAX': QUEUE_MAX})
        lab.steer(to('a'))
        yield cluster
        cluster.stop()
        lab.check()


@pytest.fixture(scope='module')
def gateway(cluster):
    gateway = Peer(cluster.lab, 'gateway', 5060)
    yield gateway
    gateway.close()


@pytest.fixture
def peer(cluster):
    peer = Peer(cluster.lab, 'caller', 15700 + next(_numbers))
    yield peer
    peer.close()


def entries(cluster, call_id):
    return [entry for entry in cluster['a'].ask('cdr', count=1000)['cdr'] if entry['call_id'] == call_id]


def one_entry(cluster, call, timeout=40):
    """And no second one, when all is written."""
    wait_until(lambda: entries(cluster, call.call_id), timeout, 'an entry in the archive')
    wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all is written')
    (entry,) = entries(cluster, call.call_id)
    return entry


UNTRACKED = {
    'branch': ('unreadable', Call('branch', branch=False)),
    'nul': ('unreadable', Call('nul', tag=';tag=r\0w')),
    'large': ('large', Call('large', body='x' * MSG_MAX)),
    'long-names': ('large', Call('long', tag=';tag=' + 'r' * MSG_MAX)),
}


def says_so(entry, call, peer, why, how):
    known = 'long' not in call.call_id  # of what is long a part is cut off
    assert (entry['how'], entry['untracked']) == (how, why), entry
    assert entry['from_tag'] == (call.tag[5:].replace('\0', '?') if known else '')
    assert entry.get('caller') == (f'sip:caller@{peer.host}:{peer.port}' if known else '')
    assert entry['ruri'] == f'sip:callee@{ANYCAST}' and entry['callee'] == (f'sip:callee@{ANYCAST}' if known else '')
    assert entry['source'] == f'{peer.transport.lower()}:{peer.ip}:{peer.port}' and entry['ended'] >= entry['trying'] > 1.7e12


@pytest.mark.parametrize('name', UNTRACKED)
def test_it_goes_on(cluster, gateway, peer, name):
    """Nobody waits for its end."""
    if name == 'nul' and versions()[0] >= (6, 1):
        pytest.skip('this Kamailio drops a request with a NUL in From')
    why, call = UNTRACKED[name]
    call.begin(peer, gateway)
    says_so(one_entry(cluster, call), call, peer, why, 'untracked')


@pytest.mark.parametrize('name', ['branch', 'large'])
def test_it_ends_at_once(cluster, gateway, peer, name):
    """Before its entry is written: then that knows of its end."""
    why, call = UNTRACKED[name]
    call = copy.copy(call)
    call.call_id += '-short'
    call.live(peer, gateway)
    says_so(one_entry(cluster, call), call, peer, why, 'completed')


def test_its_end_comes_later(cluster, gateway, peer):
    """One entry all the same."""
    call = Call('later', branch=False)
    call.begin(peer, gateway)
    says_so(one_entry(cluster, call), call, peer, 'unreadable', 'untracked')
    late = cluster['a'].counters()['byes_late']
    call.end(peer, gateway)
    wait_until(lambda: cluster['a'].counters()['byes_late'] == late + 1, 15, 'the BYE is looked at')
    says_so(one_entry(cluster, call), call, peer, 'unreadable', 'untracked')


TRACKED = {
    'crlf': Call('crlf', before='\r\n\r\n'),
    'no-tag': Call('notag', tag=''),
    'ordinary': Call('ordinary'),
}


@pytest.mark.parametrize('name', TRACKED)
def test_odd_and_tracked(cluster, gateway, peer, name):
    TRACKED[name].live(peer, gateway)
    entry = one_entry(cluster, TRACKED[name])
    assert (entry['how'], entry['by'], 'untracked' in entry) == ('completed', 'caller', False)
    assert entry['duration_ms'] >= 0


def test_empty_lines_before_a_cancel(cluster, gateway, peer):
    """It comes to b, its INVITE to a."""
    call = Call('crlf')
    peer.send(call.text(peer, 'INVITE', 1))
    answered(gateway, b'INVITE', status='180 Ringing')
    peer.expect('SIP/2.0 180')
    call.before = '\r\n\r\n'
    cluster.lab.steer(by_kind({'CANCEL': 'b'}, default='a'))
    peer.send(call.text(peer, 'CANCEL', 1))
    peer.expect('SIP/2.0 200', 15)
    answered(gateway, b'CANCEL')
    cluster.lab.steer(to('a'))


def test_too_many(cluster, gateway, peer):
    """The queue of events is full: kamsyncd is away."""
    calls = [Call('many') for _ in range(3 * QUEUE_MAX)]
    assert cluster['a'].stop_kamsyncd() == 0
    for call in calls:
        call.begin(peer, gateway)
    cluster['a'].wait_shed(QUEUE_MAX)
    cluster['a'].start_kamsyncd()
    cluster.wait_connected()
    wait_until(lambda: cluster['a'].counters()['events_shed'] > 0, 10, 'events were lost')
    wait_until(lambda: all(call in kept(cluster, calls) or entries(cluster, call.call_id) for call in calls), 40, 'all are known')
    found = [one_entry(cluster, call)['untracked'] for call in calls if call not in kept(cluster, calls)]
    assert len(found) >= QUEUE_MAX and set(found) == {'shed'}


def kept(cluster, calls):
    live = {call['call_id'] for call in cluster['b'].ask_all('calls')['calls'] if 'untracked' not in call}
    return [call for call in calls if call.call_id in live]
