"""Requests within a call reach any node, whoever began the call: variables, questions, and an end that happens once."""
import itertools
import os
import signal
import time

import pytest

from lab.accidents import kill_kamsyncd
from lab.lab import ANYCAST
from lab.policies import call_number, to
from lab.proc import wait_until
from lab.talking import ASK, Talk, known, steer_split

ENDED_TTL_S = 33
CLOCK_MS = 10        # of Kamailio's clock and this one's: they count in ms, and not from the same moment
METHODS = ('BYE', 'INVITE', 'UPDATE', 'INFO', 'REFER', 'PRACK')
_numbers = itertools.count(1)


def keep(value, name='greeting'):
    return (('X-Set', f'{name}|{value}'),)


@pytest.fixture(scope='module')
def talk():
    with Talk(ended_ttl_s=ENDED_TTL_S) as the_talk:
        yield the_talk
        the_talk.check()


@pytest.fixture
def place(talk):
    return lambda *args, **options: talk.place(f'talk-{next(_numbers)}', *args, **options)


# ---- variables

def test_i_remember(talk, place):
    """Kept with the INVITE at a, read with the BYE at b."""
    call = place(headers=keep('I remember'))
    talk.wait_var(call, 'I remember')
    assert talk.request(call, 'BYE', 'b', ASK) == 200
    assert [msg['x-value'] for msg in talk.seen(call, 'BYE')] == ['I remember']
    assert talk.wait_ended(call)['vars'] == {'greeting': 'I remember'}
    [entry] = talk.cluster.store.archive(call.call_id)
    assert 'I remember' in str(entry)


def test_no_variable_no_value(talk, place):
    """So that the test above can fail."""
    call = place()
    assert talk.request(call, 'BYE', 'b', ASK) == 200
    assert talk.seen(call, 'BYE')[0]['x-value'] == '' and known(talk.seen(call, 'BYE')[0])['state'] == 'answered'


@pytest.mark.parametrize('method', ['INFO', 'INVITE'])
def test_kept_by_another_node(talk, place, method):
    """Set within the call on b, read on c and, back at its owner, on a."""
    call = place(headers=keep('first'))
    assert talk.request(call, method, 'b', keep(f'second, by {method}')) == 200
    talk.wait_var(call, f'second, by {method}')
    for node in 'ca':
        assert talk.request(call, 'UPDATE', node, ASK) == 200
    assert [msg['x-value'] for msg in talk.seen(call, 'UPDATE')] == [f'second, by {method}'] * 2
    assert talk.request(call, 'BYE', 'c') == 200


def test_values(talk, place):
    call = place()
    values = ['''He said: "it's"''', 'Grüße, 你好 🎉', '{"a": ["1", null], "t": "bye"}', r'\" \u0041 \\ %s $ci #!x',
              'x' * 1024, 'ß' * 512, '0', 'null', '12345678901234567890']
    for value in values:
        assert talk.request(call, 'INFO', 'b', keep(value)) == 200
        talk.wait_var(call, value)
        assert talk.request(call, 'UPDATE', 'c', ASK) == 200
        assert talk.seen(call, 'UPDATE')[-1]['x-value'] == value
    # too long: what was kept stays
    assert talk.request(call, 'INFO', 'b', keep('y' * 1025)) == 200
    wait_until(lambda: 'variable greeting not kept' in talk.cluster['b'].log(), 5, 'a warning')
    assert talk.record(call)['vars'] == {'greeting': values[-1]}
    # empty: removed, also for the node that keeps it in memory
    assert talk.request(call, 'INFO', 'c', keep('')) == 200
    wait_until(lambda: not talk.record(call)['vars'].get('greeting'), 5, 'the variable removed')
    for node in 'abc':
        assert talk.request(call, 'UPDATE', node, ASK) == 200
        msg = talk.seen(call, 'UPDATE')[-1]
        assert msg['x-value'] == '' and known(msg)['state'] == 'answered', node
    assert talk.request(call, 'BYE', 'c') == 200
    assert not talk.wait_ended(call)['vars'].get('greeting')


def test_more_than_fits_into_a_frame(talk, place):
    """Its variables are too much for one message to Kamailio: the request goes on without them, and is told so."""
    call = place()
    for number in range(16):
        assert talk.request(call, 'INFO', 'abc'[number % 3], keep("x" * 1024, f"v{number}")) == 200
    wait_until(lambda: len(talk.record(call)['vars']) == 16, 5, '16 variables')
    assert talk.request(call, 'BYE', 'b', ASK) == 200
    assert known(talk.seen(call, 'BYE')[0])['state'] == 'answered'
    assert talk.wait_ended(call)['by'] == 'caller'


# ---- the question

def test_what_is_known(talk, place):
    call = place()
    wait_until(lambda: time.monotonic() - call.began > 1.1, 3, 'the call a second old')
    assert talk.request(call, 'INFO', 'b', ASK) == 200
    (info,) = talk.seen(call, 'INFO')
    said = known(info)
    assert 1 <= int(said.pop('age')) <= time.monotonic() - call.began
    assert said == {'state': 'answered', 'node': '1', 'caller': f'sip:caller@{talk.caller.ip}:{talk.caller.port}',
                    'callee': call.uri, 'how': '', 'by': ''}
    leg = talk.leg(call)
    talk.lab.steer(to('c'))
    assert talk.answer(leg.bye()) == 200
    talk.wait_ended(call)
    late = call.within('BYE', headers=ASK)
    assert talk.answer(late) == 200 and not talk.seen(call, 'BYE')
    said = known(late.answer)
    assert (said['state'], said['how'], said['by'], said['node']) == ('ended', 'completed', 'callee', '1')
    # for a late BYE the record lives on
    [left] = talk.cluster.store.of_each(talk.cluster['c'].ask('key', call_id=call.call_id)['call'], 'PTTL').values()
    assert 30000 < left <= ENDED_TTL_S * 1000


def test_a_call_that_never_was(talk, place):
    """A request with all the looks of one within a call: refused by the script; without the question it would pass, as does the
    ACK to a 481 of sl, which does not know it by the tag of a dialog."""
    call = place()
    for method in ('BYE', 'INFO', 'INVITE'):
        call.call_id = f'never-{next(_numbers)}@lab'
        talk.caller.calls[call.call_id] = call
        assert talk.request(call, method, 'b', ASK) == 481
        assert set(talk.lab.trace.received_by('gateway', call.call_id)) <= ({'ACK'} if method == 'INVITE' else set())
    store = talk.cluster.store
    assert store.keys(store.names('call:*')) and not store.keys(store.names('call:*never*'))


def test_store_that_forgot_everything(talk, place):
    """Redis is started anew, empty, and their node writes its calls again late: no call is unknown meanwhile."""
    calls = [place(headers=keep(f'{number}')) for number in range(3)]
    os.kill(talk.cluster['a'].kamsyncd.pid, signal.SIGSTOP)
    talk.cluster.store.kill()
    talk.cluster.store.start()
    wait_until(lambda: talk.cluster['b'].ask('status')['store'] == 'up', 10, 'b has the store again')
    try:
        for call in calls:
            assert talk.request(call, 'INFO', 'b', ASK) == 200
            assert known(talk.seen(call, 'INFO')[-1])['state'] == 'unavailable'
    finally:
        os.kill(talk.cluster['a'].kamsyncd.pid, signal.SIGCONT)
    for number, call in enumerate(calls):
        talk.wait_var(call, f'{number}')
        assert talk.request(call, 'BYE', 'c', ASK) == 200
        assert talk.seen(call, 'BYE')[0]['x-value'] == f'{number}'
        assert talk.wait_ended(call)['by'] == 'caller' and talk.cdrs(call) == 1


def call_writes(node):
    return node.ask('status')['counters']['call_writes']


def test_the_newest_value_wins(talk, place):
    """Three nodes have set it, and all write again what they keep: the last one stays."""
    call = place(headers=keep('of a'))
    for node in 'bc':
        assert talk.request(call, 'INFO', node, keep(f'of {node}')) == 200
        talk.wait_var(call, f'of {node}')
    for _ in range(3):        # all lose the store for a moment, and each writes all it has, whoever is first
        before = [call_writes(node) for node in talk.cluster.node.values()]
        talk.cluster.store.drop_clients()
        for node, writes in zip(talk.cluster.node.values(), before):
            wait_until(lambda: call_writes(node) > writes, 10, f'{node.name} has written again')
    assert talk.request(call, 'BYE', 'a', ASK) == 200
    assert talk.seen(call, 'BYE')[0]['x-value'] == 'of c'
    assert talk.wait_ended(call)['vars'] == {'greeting': 'of c'}


def test_asked_right_behind_the_answer(talk):
    """The BYE is faster than the record: the question waits for it."""
    talk.lab.steer(lambda packet: 'a' if packet.cseq_method in ('INVITE', 'ACK') else 'b')
    calls = [talk.caller.call(f'fast-{number}@lab', 'one') for number in range(20)]
    byes = []
    for call in calls:
        call.wait(200)
        byes.append(call.bye(headers=ASK))
    for call, bye in zip(calls, byes):
        assert talk.answer(bye) == 200
        assert known(talk.seen(call, 'BYE')[0])['state'] in ('trying', 'ringing', 'answered')
        assert talk.wait_ended(call)['how'] == 'completed'


# ---- the end, once

def talk_for(call, seconds):
    wait_until(lambda: time.monotonic() - call.got(200) > seconds, 5, 'a call that lasts a while')


def late_byes(talk):
    """BYEs of which kamsyncd has found out that they end nothing."""
    return sum(node.ask('status')['counters']['byes_late'] for node in talk.cluster.node.values())


def ended_once(talk, call, by, began, late=None):
    """One entry, and the right one, for what began to end then and has ended now. late: as many BYEs came too late, before that."""
    # Its nodes saw the 200 after the callee had said it and before the caller had it; and the BYE after it had been sent.
    least, most = 1000 * (began - call.got(200)), 1000 * (time.monotonic() - talk.leg(call).ended_at)
    record = talk.wait_ended(call)
    if late is not None:
        wait_until(lambda: late_byes(talk) > late, 8, 'a BYE that ended nothing')
    assert talk.cdrs(call) == 1, talk.lab.trace.show(call.call_id)
    assert record['by'] in by and record['how'] == 'completed' and talk.record(call) == record
    assert least - CLOCK_MS < record['duration_ms'] < most + CLOCK_MS, (record, least, most)
    return record


def test_two_byes_at_two_nodes(talk, place):
    call, late = place(), late_byes(talk)
    talk_for(call, 0.2)
    began = time.monotonic()
    assert [talk.request(call, 'BYE', node) for node in 'bc'] == [200, 200]
    ended_once(talk, call, ('caller',), began, late)


def test_bye_from_both_sides(talk, place):
    call, late = place(), late_byes(talk)
    talk_for(call, 0.2)
    steer_split(talk, 'b', 'c')
    byes = call.bye(), talk.leg(call).bye()
    assert [talk.answer(bye) for bye in byes] == [200, 200]
    record = ended_once(talk, call, ('caller', 'callee'), byes[0].began, late)
    assert {name for name in record if name.startswith('at.')} == {'at.1', 'at.2' if record['by'] == 'caller' else 'at.3'}


def test_bye_again_at_another_node(talk, place):
    """Its 200 was lost, maybe: the same BYE comes to c."""
    call, late = place(), late_byes(talk)
    talk_for(call, 0.2)
    talk.lab.steer(lambda packet: 'bc'[packet.occurrence] if packet.kind == 'BYE' else 'b')
    bye = call.bye()
    talk.caller.send(bye.port, bye.text)
    assert talk.answer(bye) == 200
    ended_once(talk, call, ('caller',), bye.began, late)


def test_bye_that_was_challenged(talk, place):
    """407, of the far end or of the script: the call goes on. It ends with the BYE that is not refused."""
    call, other, third = place(), place(), place()
    talk.callees.challenges = 1
    assert talk.request(call, 'BYE', 'b') == 407
    for its, headers in ((other, (('X-Refuse', 'yes'),)), (third, (*ASK, ('X-Refuse', 'yes')))):
        assert talk.request(its, 'BYE', 'b', headers) == 407 and not talk.seen(its, 'BYE')
    refused = time.monotonic()
    # longer than a BYE without any reply would wait, so it cannot have been that one
    wait_until(lambda: time.monotonic() - refused > 3.3, 5, 'time for it to end')
    for its in (call, other, third):
        assert talk.record(its)['state'] == 'answered' and talk.cdrs(its) == 0
        began = time.monotonic()
        assert talk.request(its, 'BYE', 'c') == 200
        ended_once(talk, its, ('caller',), began)


def test_bye_that_ends_nothing(talk, place):
    """What a caller may send so that the archive takes his call for ended: too few hops, a BYE that the callee refuses, a
    forged answer to one that never was."""
    calls = [place() for _ in range(4)]
    assert talk.request(calls[0], 'BYE', 'b', hops='0') == 483 and not talk.seen(calls[0], 'BYE')
    for call, code in zip(calls[1:], (403, 500)):
        talk.callees.challenges, talk.callees.refuses = 1, code
        assert talk.request(call, 'BYE', 'c') == code
    # just after its node's start it could be one to a BYE that another Kamailio had sent
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 10, 12, 'all nodes to be old')
    talk.lab.steer(to('b'))
    for node in (2, 3, 9):
        talk.caller.send(talk.caller.port, forged_reply(talk, calls[3], node))
    wait_until(lambda: time.monotonic() - began > 14, 5, 'time for it to end')
    for call in calls:
        assert talk.record(call)['state'] == 'answered' and talk.cdrs(call) == 0
        began = time.monotonic()
        assert talk.request(call, 'BYE', 'c') == 200
        ended_once(talk, call, ('caller',), began)


def forged_reply(talk, call, node):
    """A 200 to a BYE of the caller's, as if that node had sent it on."""
    leg = talk.leg(call)
    return (f'SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {ANYCAST};branch=z9hG4bKf.1.0;srvid={node}\r\n'
            f'Via: SIP/2.0/UDP {call.owner.ip}:{call.owner.port};branch=z9hG4bKforged\r\nFrom: {leg.invite["from"]}\r\n'
            f'To: {leg.invite["to"]};tag={leg.tag}\r\nCall-ID: {call.call_id}\r\nCSeq: 2 BYE\r\nContent-Length: 0\r\n\r\n')


# ---- what is away

class Fate:
    """What strikes the cluster before the requests come, which state the script is told, and how long that may take."""

    def __init__(self, strike, state, seconds=1.0):
        self.strike, self.state, self.seconds = strike, state, seconds

    def nodes(self, method):
        """Whose the call may be: one that rings is taken over as soon as its owner is dead."""
        return '123' if self.strike is _kill_owner and method == 'PRACK' else '1'


def _kill_owner(talk):
    talk.cluster['a'].kamailio.kill()


def _stop_kamsyncds(talk):
    for node in talk.cluster.node.values():
        os.kill(node.kamsyncd.pid, signal.SIGSTOP)


def _stop_redis(talk):
    talk.cluster.store.signal(signal.SIGSTOP)


FATES = {
    'nothing': Fate(lambda talk: None, None),
    'owner killed': Fate(_kill_owner, None),
    'kamsyncd killed': Fate(lambda talk: kill_kamsyncd(talk.cluster), 'unavailable'),
    # the requests before it was noticed come again, at 0.5, 1.5, 3.5 s
    'kamsyncd hung': Fate(_stop_kamsyncds, 'unavailable', 8),
    'Redis killed': Fate(lambda talk: talk.cluster.store.kill(), 'unavailable'),
    'Redis hung': Fate(_stop_redis, 'unavailable'),
}


def place_all(talk):
    """One call for each method, with and without the question: {call: (method, headers)}"""
    calls = {}
    for number, (method, headers) in enumerate(itertools.product(METHODS, (ASK, ()))):
        dial = 'ring' if method == 'PRACK' else 'one'
        calls[talk.place(f'fate-{number}', dial=dial, headers=keep('I remember'))] = method, headers
    for call in calls:
        talk.wait_var(call, 'I remember')
    return calls


@pytest.mark.parametrize('name', FATES)
def test_whatever_is_away(name):
    """Each request within a call reaches the far end once, at a node that did not begin it, and its 200 comes back."""
    fate = FATES[name]
    with Talk() as talk:
        calls = place_all(talk)
        talk.lab.steer(lambda packet: 'bc'[(call_number(packet.call_id) // 2 + (packet.side == 'gateway')) % 2])
        fate.strike(talk)
        asked = {call: call.within(method, headers=headers) for call, (method, headers) in calls.items()}
        for asking in asked.values():
            assert talk.answer(asking, 10) == 200
        slowest = max(asking.answered - asking.began for asking in asked.values())
        print(f'{name}: the slowest answer after {slowest:.3f} s')
        assert slowest < fate.seconds
        for call, (method, headers) in calls.items():
            (msg,) = talk.seen(call, method)
            if headers:
                expected = fate.state or ('ringing' if method == 'PRACK' else 'answered')
                assert known(msg)['state'] == expected, method
                assert fate.state or known(msg)['node'] in fate.nodes(method), method
                assert msg['x-value'] == ('' if fate.state else 'I remember'), method
            else:
                assert msg['x-known'] == ''
        if not fate.state:
            for call, (method, _) in calls.items():
                if method == 'BYE':
                    assert talk.wait_ended(call)['by'] == 'caller' and talk.cdrs(call) == 1
            talk.check()


def test_variables_of_a_call_taken_over():
    """It rings at a, which is killed; the CANCEL's or the 200's node goes on with it, and its script has its variables."""
    with Talk() as talk:
        call = talk.place('ringing', dial='ring', headers=keep('"I" remember'))
        talk.wait_var(call, '"I" remember')
        talk.cluster['a'].wait_recorded(talk.callees, call.call_id)
        talk.lab.steer(to('b'))
        talk.cluster['a'].kamailio.kill()
        talk.leg(call).ring()
        wait_until(lambda: talk.record(call)['node'] in (2, 3), 10, 'another node has it')
        new = talk.cluster['abc'[talk.record(call)['node'] - 1]]
        wait_until(lambda: f'resumed {call.call_id} with "I" remember' in new.kamailio.log(), 5, 'its variable')
        talk.leg(call).answer()
        call.wait(200)
        assert talk.request(call, 'BYE', 'c', ASK) == 200
        assert talk.seen(call, 'BYE')[0]['x-value'] == '"I" remember'
        assert talk.callees.rings(call.call_id) == {5060: 1}     # the INVITE was a retransmission to the phone
        assert talk.wait_ended(call)['by'] == 'caller' and talk.cdrs(call) == 1
        talk.check()
