"""A CANCEL at the wrong node of a small cluster goes to all others at once (KAMSYNC_ALL_MAX): it waits for nobody, and is
answered once, whatever kamsyncd does afterwards."""
import signal

import pytest

from lab.accidents import STRAY, start, wait_records
from lab.cluster import Cluster
from lab.lab import Lab
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.ringing import Ringing
from lab.sipp import Gateway

COUNT = 20


def seen_to(node):
    """CANCELs that the node's kamsyncd is done with: handed over, given back, or found to be acted upon."""
    counters = node.counters()
    return sum(counters[f'verdict_{name}'] for name in ('owner', 'acted', 'unavailable'))


def test_without_a_word_from_kamsyncd_and_redis(lab):
    """Both stand still. When they go on, what they say about those CANCELs is not heard."""
    cluster = start(lab)
    lab.steer(STRAY)
    calls = Ringing(lab, 'alone', COUNT)
    wait_records(cluster, calls)
    before = seen_to(cluster['b'])
    frozen = [cluster.store, cluster['b'].kamsyncd]
    for proc in frozen:
        proc.signal(signal.SIGSTOP)
    calls.cancel()
    calls.wait_ended('a')  # while neither can say a word
    print(f'{calls.median_ms():.1f} ms to the owner\'s answer, at most {max(calls.answer_ms()):.1f} ms')
    wait_until(lambda: cluster['b'].kamailio.log().count('sent to all') >= COUNT, 5, 'word of each in the log')
    assert cluster['b'].kamailio.log().count('sent to all') == COUNT
    for proc in frozen:
        proc.signal(signal.SIGCONT)
    wait_until(lambda: seen_to(cluster['b']) == before + COUNT, 5, 'kamsyncd has given its verdicts')
    calls.peer.expect_nothing('SIP/2.0 481', 0.3)
    assert {len(answers(lab, call_id)) for call_id in calls.call_ids} == {1}
    cluster.stop()


def answers(lab, call_id):
    """To the CANCELs of that call, as its caller sees them."""
    return [p.kind for p in lab.trace.at('caller', call_id) if not p.outgoing and p.cseq_method == 'CANCEL']


# nodes, KAMSYNC_ALL_MAX, whether all are told at once
SIZES = {'two nodes': ('ab', 3, True), 'three nodes': ('abc', 3, True), 'more nodes than KAMSYNC_ALL_MAX': ('abc', 1, False)}


@pytest.fixture(scope='module', params=SIZES.values(), ids=SIZES)
def sized(request):
    nodes, most, at_once = request.param
    with Lab(nodes=tuple(nodes)) as lab:
        Gateway(lab)
        cluster = Cluster(lab, defines={'KAMSYNC_ALL_MAX': most})
        yield cluster, at_once
        cluster.stop()
        lab.check()


def cancels_at_b():
    return by_kind({'CANCEL': 'b'}, default='a')


def send_counted(cluster, calls, done):
    """One CANCEL for each call; when all copies of them have done what they do, each has one answer more."""
    before = seen_to(cluster['b'])
    calls.cancel()
    wait_until(lambda: seen_to(cluster['b']) == before + COUNT, 5, 'kamsyncd has seen to all')
    wait_until(lambda: all(len(answers(cluster.lab, c)) >= done for c in calls.call_ids), 5, 'an answer each')
    calls.peer.expect_nothing('SIP/2.0 481', 0.2)
    assert {len(answers(cluster.lab, c)) for c in calls.call_ids} == {done}


def test_each_cancel_has_one_answer(sized):
    """Also one that the caller sends again."""
    cluster, at_once = sized
    lab, told = cluster.lab, cluster['b'].kamailio.log().count('sent to all')
    lab.steer(cancels_at_b())
    calls = Ringing(lab, 'once', COUNT)
    wait_records(cluster, calls)
    for done in (1, 2, 3):
        send_counted(cluster, calls, done)
    assert {tuple(answers(lab, call_id)) for call_id in calls.call_ids} == {('200',) * 3}
    wanted = told + (3 * COUNT if at_once else 0)
    wait_until(lambda: cluster['b'].kamailio.log().count('sent to all') >= wanted, 5, 'word of each in the log')
    assert cluster['b'].kamailio.log().count('sent to all') == wanted


def test_until_the_transaction_is_over(sized):
    """CANCELs before and after its end: each has one answer, 200 from tm and then 481."""
    cluster, _ = sized
    lab = cluster.lab
    lab.steer(cancels_at_b())
    calls = Ringing(lab, 'end', 1)
    calls.cancel()
    calls.wait_ended('a')
    sent = [1]

    def again():
        calls.cancel()
        sent[0] += 1
        kinds = wait_until(lambda: len(k := answers(lab, calls.call_ids[0])) >= sent[0] and k, 10, 'an answer')
        calls.peer.expect_nothing('SIP/2.0 5', 0.02)
        return kinds[-1] == '481'
    wait_until(again, 15, '481 to one of the CANCELs', every=0.02)
    assert answers(lab, calls.call_ids[0]) == ['200'] * (sent[0] - 1) + ['481']


def test_unknown_has_one_answer(sized):
    cluster, _ = sized
    caller, request = Peer(cluster.lab, 'caller', 15190), Request('nobody@lab', branch='z9hG4bKnobody')
    cluster.lab.steer(to('b'))
    caller.send(request.cancel(caller))
    caller.expect('SIP/2.0 481')
    caller.expect_nothing('SIP/2.0', 0.4)
    caller.close()
