"""memory://: one node without Redis, and without a secret."""
import base64
import re

import pytest

from harness import without_takeover
from sip import Call, check_adopted, open_handover, warm_up


@pytest.fixture
def daemon(kamailio, make_daemon):
    daemon = make_daemon(kamailio, secret=None, **without_takeover()).start()
    daemon.wait_report(kamailio='up', store='up')
    warm_up(kamailio)
    return daemon


def own_key(kamailio):
    return kamailio.key()


def given_back(kamailio, call, *why):
    """The stray comes back to this node, with (one of) these verdicts."""
    frame = kamailio.wait_sends(1)[-1]
    assert frame['to'] == kamailio.sip and frame['sock'] == f'udp:{kamailio.sip}'
    fields, message = open_handover(frame, own_key(kamailio))
    assert (fields['to'], fields['inc']) == ('1', kamailio.inc) and fields['why'] in why
    assert message == call.cancel()


def test_makes_a_secret_of_its_own(kamailio, daemon):
    daemon.wait_report(node=1)
    assert len(own_key(kamailio)) == 256
    assert own_key(kamailio) not in daemon.log()


def test_reload_keeps_that_secret(kamailio, daemon):
    first = own_key(kamailio)
    daemon.reload(log_level='debug')
    kamailio.wait_frame('keys')
    assert own_key(kamailio) == first


def test_transaction_of_the_old_incarnation_is_an_orphan(kamailio, daemon):
    call = Call()
    kamailio.events(call.branch_event(), call.reply_event(180))
    kamailio.wait_frame('ack', events=1)
    kamailio.restart()
    daemon.wait_log(': restarted')
    kamailio.stray(call.cancel())
    check_adopted(kamailio.wait_sends(1)[0], call, call.cancel())
    assert daemon.report()['verdict_orphan'] == 1


def test_answered_call_of_the_old_incarnation_is_done(kamailio, daemon):
    call = Call()
    kamailio.events(call.branch_event(), call.reply_event(200))
    kamailio.wait_frame('ack', events=1)
    kamailio.restart()
    daemon.wait_log(': restarted')
    kamailio.stray(call.cancel())
    given_back(kamailio, call, 'done')


def test_own_transaction_that_just_ended(kamailio, daemon):
    """Kamailio says stray, kamsyncd knows the transaction: it ended meanwhile, and either word makes that a 481."""
    call = Call()
    kamailio.events(call.branch_event())
    kamailio.stray(call.cancel())
    given_back(kamailio, call, 'done', 'owner')
    assert daemon.report()['verdict_mine'] == 1


def test_unknown_transaction(kamailio, daemon):
    call = Call()
    kamailio.stray(call.cancel())
    given_back(kamailio, call, 'unknown')
    assert daemon.report()['verdict_unknown'] == 1


def test_same_key_but_other_sent_by(kamailio, daemon):
    """RFC 3261 17.2.3: two clients may choose the same branch."""
    call = Call()
    kamailio.events(call.branch_event())
    call.sent_by = b'198.51.100.99:5062'
    kamailio.stray(call.cancel())
    given_back(kamailio, call, 'unknown')
    assert daemon.report()['verdict_mine'] == 0


def test_two_strays_wait_for_a_takeover_that_fails(kamailio, make_daemon):
    """A 2xx and a CANCEL: what becomes of the first concerns the second. The store must not answer in the midst of that."""
    daemon = make_daemon(kamailio, secret=None).start()
    daemon.wait_report(kamailio='up', store='up')
    warm_up(kamailio)
    call = Call()
    kamailio.events(call.branch_event(), call.reply_event(180))
    kamailio.wait_frame('ack', events=1)
    kamailio.restart()
    invite = base64.b64decode(kamailio.wait_sends(1)[0]['msg'])
    answer = call.request('INVITE', b'Via: SIP/2.0/UDP 203.0.113.5;branch=%s;srvid=1\r\n' % call.via_branch().encode())
    answer = b'SIP/2.0 200 OK\r\n' + answer.split(b'\r\n', 1)[1].replace(b'To: <sip:bob@example.com>', b'To: <sip:bob@example.com>;tag=t1')
    kamailio.write(kamailio.stray_frame(answer) + kamailio.stray_frame(call.cancel()))  # they are looked up together
    daemon.wait_report(strays=2, waiting=2)
    kamailio.events({'t': 'taken', 'token': int(re.search(rb'X-Kamsync-Branches: (\d+)', invite)[1]), 'ok': 0})
    daemon.wait_report(waiting=0, takeovers_failed=1)
