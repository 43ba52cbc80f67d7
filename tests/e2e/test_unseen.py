"""A living owner whose heartbeat the others do not see: its kamsyncd is away, or it is cut off from Redis. Its Kamailio
has the transactions and goes on serving calls, so it must not be taken for dead."""
import pytest

from lab.accidents import STRAY, kill_kamsyncd, start, wait_records
from lab.policies import to
from lab.proc import LabError, wait_until
from lab.ringing import Ringing
from lab.sipp import Caller


def kill_a_s_kamsyncd(cluster):
    kill_kamsyncd(cluster, 'a')


def cut_a_off_from_redis(cluster):
    cluster.lab.cut('a', 'store')


unseen = pytest.mark.parametrize('hide', [kill_a_s_kamsyncd, cut_a_off_from_redis])


def wait_given_up(cluster, by):
    """Longer than node_ttl_ms: from here on the others miss a's heartbeat. Its Kamailio serves calls, and answers them."""
    wait_until(lambda: 'node 1 (a) at 198.51.100.1:5060 is unseen' in cluster[by].log(), 10, f'a given up by {by}')


@unseen
def test_cancel_soon_after_the_last_beat(lab, hide):
    """Nobody has noticed yet, and the record says it all."""
    cluster = start(lab)
    lab.steer(STRAY)
    calls = Ringing(lab, 'soon', 3)
    wait_records(cluster, calls)
    hide(cluster)
    calls.cancel()
    calls.wait_ended('a')


@unseen
def test_its_ringing_calls_are_left_alone(lab, hide):
    """Nobody takes them over: a has them, and goes on with them."""
    cluster = start(lab)
    lab.steer(to('a'))
    calls = Ringing(lab, 'alone', 3)
    wait_records(cluster, calls)
    hide(cluster)
    wait_given_up(cluster, 'b')
    try:
        wait_until(lab.trace.repeated, 2, 'somebody interferes')
    except LabError:
        pass
    assert not lab.trace.repeated(), lab.trace.show(calls.call_ids[0])
    calls.cancel()
    calls.wait_ended('a')


@unseen
def test_cancel_to_an_owner_given_up(lab, hide):
    """It has the transaction, so the CANCEL must reach it, and nobody may take the call over."""
    cluster = start(lab)
    lab.steer(STRAY)
    calls = Ringing(lab, 'unseen', 3)
    wait_records(cluster, calls)
    hide(cluster)
    wait_given_up(cluster, 'b')
    calls.cancel()
    calls.wait_ended('a')
    assert not lab.trace.repeated()


@unseen
def test_cancel_of_a_call_set_up_by_an_owner_given_up(lab, hide):
    """Redis knows nothing of the call. That a node is out of sight makes "unknown" uncertain: it has to be asked."""
    cluster = start(lab)
    lab.steer(STRAY)
    hide(cluster)
    wait_given_up(cluster, 'b')
    calls = Ringing(lab, 'late', 3)
    calls.cancel()
    calls.wait_ended('a')


@unseen
def test_replies_to_an_owner_given_up(lab, hide):
    """All replies come in at c, which must go on giving them to a: its tm waits for them, and would send the INVITE again,
    or to the next gateway of its failure_route."""
    cluster = start(lab)
    hide(cluster)
    wait_given_up(cluster, 'c')
    lab.steer(lambda packet: 'c' if packet.side == 'gateway' else 'a')
    caller = Caller(lab, 'call', calls=20, rate=40)
    assert caller.wait().ok == 20, caller.result()
    repeated = lab.trace.repeated()
    assert not repeated, lab.trace.show(repeated[0].call_id)
