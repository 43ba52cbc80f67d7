"""What stands in Redis after Kamailio's events."""
import base64
import json
import time

import pytest

from fake_control import run_ctl
from fake_kamailio import DST, SRC
from harness import wait_until
from sip import GATEWAY, SOCK, Call, b64


@pytest.fixture
def node(make_node):
    return make_node(1)


@pytest.fixture
def record(redis):
    """The record of a call, as soon as it says these things."""
    def wait(call, timeout=5, **fields):
        def found():
            text = redis.record(call.key())
            value = json.loads(text) if text else {}
            return value if value and fields.items() <= value.items() else None
        return wait_until(found, timeout, lambda: f'{fields} in {call.key()}: {redis.record(call.key())}')
    return wait


def text_of(value):
    """SIP text in a record: a string, or base64 of what is no UTF-8."""
    return base64.b64decode(value['base64']) if isinstance(value, dict) else value.encode()


def test_fields(node, redis, record):
    call = Call(cseq=4711)
    node.kamailio.events(call.branch_event(route=b'Route: <sip:p1.example;lr>\r\nRoute: <sip:p2.example;lr>\r\n'))
    value = record(call)
    assert value == {
        'epoch': 1, 'owner': 1, 'inc': node.kamailio.inc, 'state': 'trying', 'code': 0, 'done': False, 'at': pytest.approx(time.time() * 1000, abs=5000),
        'call_id': call.call_id.decode(), 'from_tag': 'f1', 'cseq': 4711, 'branch': call.branch.decode(),
        'sent_by': call.sent_by.decode(), 'src': SRC, 'dst': DST, 'req': call.invite().decode(),
        'branches': [{'i': 0, 'code': 0, 'to': GATEWAY, 'sock': SOCK, 'ruri': 'sip:bob@example.com',
                      'via': f'SIP/2.0/UDP 203.0.113.5;branch={call.via_branch()};srvid=1',
                      'route': '<sip:p1.example;lr>, <sip:p2.example;lr>'}]}
    assert redis.transactions() == [call.key().encode()]


def test_kamsyncctl_names_them(make_node, redis, tmp_path):
    node = make_node(1, control=tmp_path / 'control')
    call, other = Call(call_id=b'*star*'), Call(call_id=b'xstarx')
    for c in (call, other):
        node.kamailio.events(c.branch_event(), c.reply_event(200))
    wait_until(lambda: len(redis.do('KEYS', 'kamsync:call:*')) == 2, what='both calls in Redis')
    names = json.loads(run_ctl('-s', tmp_path / 'control', '--json', 'key', '*star*').stdout)
    assert redis.do('KEYS', names['tx']) == [call.key().encode()]
    assert redis.do('KEYS', names['call']) == [b'kamsync:call:{*star*}:f1']
    assert names['archive'] == 'kamsync:cdr'


def test_call_from_trying_to_the_answer(node, redis, record):
    call = Call()
    node.kamailio.events(call.branch_event())
    record(call, state='trying', done=False)
    assert 290_000 < redis.do('PTTL', call.key()) <= 300_000
    node.kamailio.events(call.reply_event(183))
    record(call, state='ringing', code=183)
    node.kamailio.events(call.reply_event(200))
    value = record(call, state='answered', code=200, done=True)
    assert 'req' not in value, 'nobody needs the INVITE of an answered call'
    assert 27_000 < redis.do('PTTL', call.key()) <= 32_000


def test_ttl_options(make_node, redis, record):
    node = make_node(1, tx_ttl_s=20, done_ttl_s=5)
    call = Call()
    node.kamailio.events(call.branch_event())
    record(call)
    assert 15_000 < redis.do('PTTL', call.key()) <= 20_000
    node.kamailio.events(call.reply_event(200))
    record(call, done=True)
    assert 1_000 < redis.do('PTTL', call.key()) <= 5_000


def test_parallel_and_serial_branches(node, record):
    call = Call()
    node.kamailio.events(call.branch_event(0), call.branch_event(1), call.reply_event(180, 1), call.reply_event(486, 0))
    value = record(call, state='ringing', code=180)
    assert [(b['i'], b['code']) for b in value['branches']] == [(0, 486), (1, 180)]
    node.kamailio.events(call.branch_event(2))
    value = record(call)
    wait_until(lambda: len(record(call)['branches']) == 3, 5, 'the third branch')


def test_failed_call_is_done_after_a_while(node, redis, record):
    call = Call()
    node.kamailio.events(call.branch_event(), call.reply_event(486))
    record(call, state='failed', code=486, done=False)
    record(call, state='failed', code=486, done=True)
    assert redis.do('PTTL', call.key()) <= 32_000


def test_late_branch_brings_a_failed_call_back(node, redis, record):
    """A failure_route that asked somebody first (t_suspend) can take longer than the grace."""
    call = Call()
    node.kamailio.events(call.branch_event(), call.reply_event(503))
    record(call, done=True)
    node.kamailio.events(call.branch_event(1))
    value = record(call, state='trying', done=False)
    assert text_of(value['req']) == call.invite(), 'it lives, so a takeover may need its INVITE'
    assert redis.do('PTTL', call.key()) > 32_000


def test_many_events_of_a_call_in_one_frame_are_one_set_of_each_record(node, redis, record):
    calls = [Call() for _ in range(20)]
    before = redis.calls('set')
    node.kamailio.events(*[e for call in calls for e in (call.branch_event(), call.branch_event(1),
                                                         call.reply_event(183), call.reply_event(180, 1))])
    for call in calls:
        record(call, state='ringing', code=183)
    sets = redis.calls('set') - before
    print(f'{sets} SETs for 80 events of 20 calls')
    assert 40 <= sets < 60, 'two per call, its transaction\'s and its own; the others are the node\'s own record, at each heartbeat'
    assert node.daemon.report()['puts'] == 20


def test_large_invite(node, record):
    call = Call(body=bytes(range(32, 127)) * 95)
    assert len(call.invite()) > 9000
    node.kamailio.events(call.branch_event())
    assert text_of(record(call)['req']) == call.invite()


@pytest.mark.parametrize('call_id', ['"quoted"@h', '{brace}@h', '50%25@h', 'back\\slash@h', 'a:b:c', '<x>[y]?/(z)@h',
                                     'all"of{it}%20\\:@[::1]'])
def test_odd_call_ids(node, redis, record, call_id):
    call = Call(call_id=call_id)
    node.kamailio.events(call.branch_event())
    assert record(call)['call_id'] == call_id
    key = redis.transactions()[0].decode()
    assert key == call.key()
    assert key.count('{') == key.count('}') == 1 and not set(key) & set('"\\ ')


def test_call_ids_that_differ_only_in_encoding(node, redis, record):
    calls = [Call(call_id=i, branch='z9hG4bKsame') for i in ('a{b@h', 'a%7Bb@h', 'a%257Bb@h')]
    node.kamailio.events(*[call.branch_event() for call in calls])
    for call in calls:
        assert record(call)['call_id'] == call.call_id.decode()
    assert len(redis.transactions()) == 3


@pytest.mark.parametrize('display', [b'J\xfcrgen', 'Jürgen'.encode(), b'\xff\xfe\x01\x7f'])
def test_bytes_that_are_no_utf8(node, record, display):
    call = Call(display=display)
    node.kamailio.events(call.branch_event())
    assert text_of(record(call)['req']) == call.invite()


def test_zero_bytes_in_the_body(make_node, record):
    """SIP-I: the ISUP body is binary. Other nodes must be able to read the record."""
    a, b = make_node(1), make_node(2)
    b.kamailio.wait_frame('node', id=1, up=1)
    call = Call(body=b'\x01\x00\x49\x00\x00\x0a')
    a.kamailio.events(call.branch_event())
    assert text_of(record(call)['req']) == call.invite()
    b.kamailio.stray(call.cancel())
    assert b.kamailio.wait_sends(1)[0]['to'] == a.kamailio.sip
    assert b.daemon.report()['verdict_owner'] == 1


def test_merged_requests_keep_two_records(node, redis, record):
    calls = [Call(call_id='same@h', cseq=2, branch=b) for b in ('z9hG4bKone', 'z9hG4bKtwo')]
    node.kamailio.events(*[call.branch_event() for call in calls])
    node.kamailio.events(calls[1].reply_event(200))
    assert record(calls[1], done=True)['branch'] == 'z9hG4bKtwo'
    assert record(calls[0], done=False)['branch'] == 'z9hG4bKone'
    assert len(redis.transactions()) == 2


def test_events_of_unknown_transactions(node, redis):
    lone = Call()
    node.kamailio.events(lone.reply_event(180), lone.branch_event(1),
                         {'t': 'reply', 'via': b64(b'z9hG4bK1'), 'code': 200})
    node.daemon.wait_report(events_foreign=1, events_branch=1)  # what has no name cannot wait for anything,
    node.daemon.wait_report(timeout=15, events_foreign=3)       # the others do for 5 s (EARLY_MS)
    assert redis.transactions() == []


def test_pending_records_are_renewed(make_node, redis, record):
    node = make_node(1, tx_ttl_s=10)
    call = Call()
    node.kamailio.events(call.branch_event())
    record(call)
    redis.do('PEXPIRE', call.key(), 100)  # as if the first half of its life had passed, and more
    wait_until(lambda: redis.do('PTTL', call.key()) > 5000, 10, 'the record to be written again')
