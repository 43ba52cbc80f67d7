"""What is away, hung or cut off must not be felt by ordinary calls, and costs a stray a moment at most.

Ordinary calls are steered to one node: they never need kamsync, so nothing of kamsync may disturb them."""
import signal
import socket

import pytest

from lab import netns
from lab.accidents import LARGE, STRAY, Ordinary, cancel_by_lookup, kill_kamsyncd, restart_kamsyncd, start, wait_records
from lab.policies import to
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.ringing import Ringing
from lab.sipp import Caller

EVAPI = ('127.0.0.1', 8448)


# ---- kamsyncd away ----

def test_kamsyncd_never_started(lab):
    """Ordinary calls do not notice. A stray CANCEL is dropped while kamsyncd may still come (KAMSYNC_YOUNG_S); after that it
    gets an honest 481, since no node knows of another."""
    start(lab, daemons=False)
    Ordinary(lab).wait_undisturbed()
    lab.steer(STRAY)
    calls = Ringing(lab, 'never', 1)

    def refused():
        """As a caller does, who has no answer: again every 0.5 s."""
        calls.cancel()
        try:
            return calls.peer.expect('SIP/2.0 481', 0.5)
        except AssertionError:
            return None
    wait_until(refused, 10, '481 to one of the CANCELs')


def test_kamsyncd_killed_in_mid_run(lab):
    cluster = start(lab)
    ordinary = Ordinary(lab)
    ordinary.wait_under_way()
    kill_kamsyncd(cluster)
    ordinary.wait_undisturbed()


def test_calls_set_up_while_it_was_away(lab):
    """Their events wait in Kamailio's queue, and the calls can be cancelled elsewhere as soon as it is back."""
    cluster = start(lab, defines=LARGE)
    kill_kamsyncd(cluster)
    lab.steer(STRAY)
    calls = Ringing(lab, 'gap', 10)
    assert not cluster.records()
    restart_kamsyncd(cluster)
    wait_records(cluster, calls)
    cancel_by_lookup(cluster, calls)
    assert not lab.trace.repeated()
    cluster.stop()


def test_kamsyncd_away_at_the_stray_s_node(lab):
    """Its Kamailio asks all nodes that it knows, the owner acts. So it is after the others have given it up, too."""
    cluster = start(lab)
    lab.steer(STRAY)
    kill_kamsyncd(cluster, 'b')
    for name in ('soon', 'later'):
        calls = Ringing(lab, name, 10)
        calls.cancel()
        calls.wait_ended('a')
        print(f'kamsyncd away, {name}: {calls.median_ms():.1f} ms to the owner\'s answer')
        assert max(calls.answer_ms()) < 300
        wait_until(lambda: 'node 2 (b) at 198.51.100.2:5060 is unseen' in cluster['a'].log(), 10, 'b missed by a')
    assert not lab.trace.repeated()


# ---- kamsyncd hung ----

def test_kamsyncd_hung(lab):
    """600 calls at 100/s while it neither reads nor answers. Then it goes on, and has missed nothing."""
    cluster = start(lab, defines=LARGE)
    lab.steer(to('a'))
    caller = Caller(lab, 'call', calls=600, rate=100)
    wait_until(lambda: len(lab.trace.call_ids()) > 30, 10, 'calls under way', every=0.02)
    for node in cluster.node.values():
        node.kamsyncd.signal(signal.SIGSTOP)
    result = caller.wait()
    assert (result.ok, result.failed, result.retransmissions) == (600, 0, 0), result
    assert not lab.trace.repeated()
    for node in cluster.node.values():
        node.kamsyncd.signal(signal.SIGCONT)
    counters = wait_until(lambda: (c := cluster['a'].counters())['events_reply'] >= 1200 and c['events_branch'] >= 600 and c, 10,
                          'all events of 600 calls')
    assert (counters['events_branch'], counters['frames_lost'], counters['frames_bad']) == (600, 0, 0)
    lab.steer(STRAY)
    calls = Ringing(lab, 'recovered', 5)
    wait_records(cluster, calls)
    cancel_by_lookup(cluster, calls)
    cluster.stop()


def test_strays_while_it_is_hung(lab):
    """They wait in its socket, and are served when it goes on."""
    cluster = start(lab, defines=LARGE)
    lab.steer(STRAY)
    calls = Ringing(lab, 'hung', 10)
    wait_records(cluster, calls)
    cluster['b'].kamsyncd.signal(signal.SIGSTOP)
    calls.cancel()
    calls.peer.expect_nothing('SIP/2.0 487', 0.3)
    cluster['b'].kamsyncd.signal(signal.SIGCONT)
    calls.wait_ended('a')
    assert not lab.trace.repeated()
    cluster.stop()


def test_a_kamsyncd_that_stays_hung(lab):
    """It has taken the CANCEL and says nothing. The caller sends it again, as SIP demands, and that must reach the owner
    by the fallback, as it does when kamsyncd is away: 4 s are three more CANCELs."""
    cluster = start(lab, defines=LARGE)
    lab.steer(STRAY)
    cluster['b'].kamsyncd.signal(signal.SIGSTOP)
    result = Caller(lab, 'cancel', calls=10, rate=50, recv_timeout=4000).wait()
    cluster['b'].kamsyncd.signal(signal.SIGCONT)
    assert (result.ok, result.failed) == (10, 0), result


# ---- Redis away ----

class Killed:
    def harm(self, cluster):
        cluster.store.kill()

    def mend(self, cluster):
        cluster.store.start()


class Hung:
    def harm(self, cluster):
        cluster.store.signal(signal.SIGSTOP)

    def mend(self, cluster):
        cluster.store.signal(signal.SIGCONT)


class CutOff:
    """No packet arrives, no error comes back: what a firewall does that lost its state."""

    def harm(self, cluster):
        for name in cluster.nodes:
            cluster.lab.cut(name, 'store')

    def mend(self, cluster):
        for name in cluster.nodes:
            cluster.lab.heal(name, 'store')


silent = pytest.mark.one_redis('whose silence all nodes notice: of a Redis Cluster a node misses only the masters that it asks')
faults = pytest.mark.parametrize('fault', [pytest.param(Killed(), id='killed'), pytest.param(Hung(), id='hung', marks=silent),
                                           pytest.param(CutOff(), id='cut off', marks=silent)])


def lost(cluster):
    """Have all kamsyncd noticed?"""
    return all(node.status()['store'] == 'down' for node in cluster.node.values())


def wait_store_up(cluster, timeout=6):
    """Lookups shall work again within a few seconds."""
    wait_until(lambda: all(node.status()['store'] == 'up' for node in cluster.node.values()), timeout,
               'all nodes have the store again', every=0.05)


@faults
def test_ordinary_calls_without_redis(lab, fault):
    """It goes in the middle, and comes back before the end."""
    cluster = start(lab)
    ordinary = Ordinary(lab, calls=480, rate=80)
    ordinary.wait_under_way(0.15)
    fault.harm(cluster)
    wait_until(lambda: lost(cluster), 5, 'the loss is noticed', every=0.05)
    ordinary.wait_under_way(0.7)
    fault.mend(cluster)
    wait_store_up(cluster)
    ordinary.wait_undisturbed()
    cluster.stop()


@faults
def test_stray_cancel_without_redis(lab, fault, request):
    """In a large cluster it goes to all nodes within 300 ms: before the loss is noticed by the lookup's time limit, later
    at once. (A small one: test_at_once.py.)"""
    cluster = start(lab, defines=LARGE)
    lab.steer(STRAY)
    first, second = Ringing(lab, 'first', 10), Ringing(lab, 'second', 10)
    wait_records(cluster, second)
    fault.harm(cluster)
    for calls, when in ((first, 'at once'), (second, 'once noticed')):
        calls.cancel()
        calls.wait_ended('a')
        print(f'Redis {request.node.callspec.id}, {when}: the owner answers a stray CANCEL after '
              f'{calls.median_ms():.1f} ms (median of 10, at most {max(calls.answer_ms()):.1f})')
        assert max(calls.answer_ms()) < 600
        wait_until(lambda: lost(cluster), 5, 'the loss is noticed', every=0.05)
    assert not lab.trace.repeated()


@faults
def test_redis_comes_back(lab, fault):
    """Calls set up before and during the outage are in it again, even if it comes back empty."""
    cluster = start(lab, defines=LARGE)
    lab.steer(STRAY)
    before = Ringing(lab, 'before', 5)
    wait_records(cluster, before)
    fault.harm(cluster)
    during = Ringing(lab, 'during', 5)
    wait_until(lambda: lost(cluster), 5, 'the loss is noticed', every=0.05)
    fault.mend(cluster)
    wait_store_up(cluster)
    for calls in (before, during):
        wait_records(cluster, calls)
        cancel_by_lookup(cluster, calls)
    assert not lab.trace.repeated()
    cluster.stop()


def test_unknown_cancel_without_redis(lab):
    """Nobody can say that nobody owns it: it is sent to all, all drop it, and its caller sees nothing, as if it were lost
    on the way. He repeats it; once Redis is back he gets his 481. No other call suffers."""
    cluster = start(lab)
    cluster.store.kill()
    wait_until(lambda: lost(cluster), 5, 'the loss is noticed', every=0.05)
    caller, request = Peer(lab, 'caller', 15080), Request('unknown@lab', branch='z9hG4bKunknown')
    lab.steer(to('b'))
    caller.send(request.cancel(caller))
    caller.expect_nothing('SIP/2.0', 0.5)
    Ordinary(lab, calls=60).wait_undisturbed()
    cluster.store.start()
    wait_store_up(cluster)
    lab.steer(to('b'))

    def refused():
        """For 3 s after Redis' return its owner might be about to write it again."""
        caller.send(request.cancel(caller))
        try:
            return caller.expect('SIP/2.0 481', 0.5)
        except AssertionError:
            return None
    wait_until(refused, 10, '481 to one of the CANCELs')
    cluster.stop()


# ---- another evapi client ----

def frame(payload):
    return f'{len(payload)}:{payload},'.encode()


GARBAGE = [frame('hello'), frame('{'), frame('[]'), frame('{"t":"send"}'), frame('{"t":"ack","n":1,"events":-5}'),
           frame('{"t":"node","n":1,"id":1,"up":0}'), frame('{"t":"x","y":"' + 5000 * 'z' + '"}'), b'0:,',
           b'99999999:', b'not a netstring\r\n', b'5:abc', b'\0\xff' * 200]


def test_a_second_evapi_client(lab):
    """It sends what nobody understands, and reads nothing."""
    cluster = start(lab, defines=LARGE)

    def connect():
        sock = socket.create_connection(EVAPI, timeout=2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock
    clients = [netns.inside(lab.namespace(node), connect) for node in 'aabb' for _ in GARBAGE[:3]]
    ordinary = Ordinary(lab)
    for number in range(200):
        client = clients[number % len(clients)]
        try:
            client.sendall(GARBAGE[number * 7 % len(GARBAGE)])
        except OSError:
            pass  # Kamailio closed it, and was right
    ordinary.wait_undisturbed()
    lab.steer(STRAY)
    calls = Ringing(lab, 'beside', 10)
    wait_records(cluster, calls)
    cancel_by_lookup(cluster, calls)
    assert all(node.counters()['link_ups'] == 1 for node in cluster.node.values())
    for client in clients:
        client.close()
    cluster.stop()
