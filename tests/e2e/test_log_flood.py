"""Anybody can send CANCELs of calls that nobody has: Kamailio's log gets the first lines of each second, then how many there were."""
import time

from lab.cluster import Cluster
from lab.policies import to
from lab.proc import wait_until
from lab.rawsip import Peer, Request

MOST, COUNT = 20, 600


def test_cancels_do_not_fill_the_log(lab):
    cluster = Cluster(lab, nodes='ab', defines={'KAMSYNC_LOG_MAX': MOST})
    lab.steer(to('b'))
    stranger, log = Peer(lab, 'caller', 15901), cluster['b'].kamailio.log
    begin, before = time.monotonic(), log().count('kamsync: ')
    for n in range(COUNT):
        stranger.send(Request(f'flood-{n}@lab', branch=f'z9hG4bKflood{n}').cancel(stranger))
        if n % 50 == 49:
            wait_until(lambda: sum(t.startswith('SIP/2.0 481') for t in drained(stranger)) > n - 300, 10, 'they are seen to')
    wait_until(lambda: log().count('more lines like these') or once_more(stranger), 10, 'how many more there were', every=0.2)
    lines, seconds = log().count('kamsync: ') - before, time.monotonic() - begin
    assert any(f'CANCEL of call flood-{n}@lab' in log() for n in range(MOST)), 'the first ones are there'
    assert MOST <= lines <= (MOST + 1) * (seconds + 2) < COUNT, f'{lines} lines in {seconds:.1f} s'
    cluster.stop()


def once_more(stranger):
    stranger.send(Request('after@lab', branch='z9hG4bKafter').cancel(stranger))
    return False


def drained(peer):
    while peer.receive(0):
        pass
    return peer.seen
