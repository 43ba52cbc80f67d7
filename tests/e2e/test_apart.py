"""With KAMSYNC_AS_SENT a takeover sends each branch of a fork again as that one was sent: headers, From, R-URI and body that
branch_route has changed in one branch only, or failure_route for the next gateway. A branch whose difference is too large is not sent again at all: it would show its far
end what was hidden."""
import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until

HEADERS = (('P-Asserted-Identity', '<sip:caller@home.example>'), ('X-Internal', 'secret'), ('c', 'application/sdp'))
BODY = 'v=0\r\no=- 1 1 IN IP4 private.example\r\n'
LARGE = (('X-Large', 'x' * 12000),)     # in each of the branch's requests
PORTS = (5060, 5062, 5064)
CALLS = ('rings', 'next', 'silent', 'cancelled', 'lost')


def call_all(caller, dials, more=()):
    return {dial: caller.call(f'{dial}@lab', dial, headers=HEADERS + more, body=BODY) for dial in dials}


def legs_of(callees, dial, ports=PORTS):
    return [leg for port in ports for leg in callees.legs(f'{dial}@lab', port)]


@pytest.fixture(scope='module')
def taken():
    """After the takeover and all that was done with the calls since."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=f'{CFG}/apart.cfg', defines={'KAMSYNC_AS_SENT': None})
        lab.route_all('a')
        calls = call_all(caller, CALLS[:-1])
        wait_until(lambda: each(CALLS[:-1], lambda dial: len(legs_of(callees, dial)) == 3), 5, 'all ring')
        for leg in legs_of(callees, 'silent'):
            leg.manner = 'silence'
        calls.update(call_all(caller, ['nextlast']))
        wait_until(lambda: len(legs_of(callees, 'nextlast')) == 3, 5, 'three gateways ring')
        for leg in legs_of(callees, 'nextlast'):
            leg.reject(503)
        wait_until(lambda: legs_of(callees, 'nextlast', (5066,)), 5, 'the fourth one')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        lab.cut('a', 'gateway')
        calls.update(call_all(caller, ['lost']))
        wait_until(lambda: cluster['a'].ask('tx', call_id='lost@lab')['txns'], 5, 'a record of the one whose INVITEs are lost')
        wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all records')
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: each(CALLS[:-1], lambda dial: each(legs_of(callees, dial), lambda leg: leg.again)), 5, 'INVITEs sent again')
        wait_until(lambda: len(legs_of(callees, 'lost')) == 3, 5, 'the lost ones, too')
        for leg in legs_of(callees, 'next'):
            leg.reject(503)
        wait_until(lambda: legs_of(callees, 'next', (5066,)), 5, 'the next gateway')
        [leg] = legs_of(callees, 'nextlast', (5066,))
        wait_until(lambda: leg.again, 5, 'the INVITE again at the fourth one')
        leg.reject(503)
        wait_until(lambda: len(legs_of(callees, 'nextlast', (5060,))) == 2, 5, 'the last gateway')
        calls['cancelled'].cancel()
        calls['cancelled'].wait(487)
        wait_until(lambda: each(legs_of(callees, 'silent'), lambda leg: leg.invites >= 3), 5, 'INVITEs of kamsyncd')
        yield lab
        lab.check()


def at(lab, dial, kind, node, port):
    found = [packet.text for packet in lab.trace.at('gateway', f'{dial}@lab', port)
             if packet.kind == kind and not packet.outgoing and packet.node == node]
    assert found, lab.trace.show(f'{dial}@lab')
    return found


@pytest.mark.parametrize('port', PORTS)
@pytest.mark.parametrize('dial', ['rings', 'next', 'cancelled'])
def test_the_same_bytes(taken, dial, port):
    [first] = at(taken, dial, 'INVITE', 'a', port)
    for again in at(taken, dial, 'INVITE', 'b', port):
        assert again.split('\r\n') == first.split('\r\n')


def differs(text, port):
    """As branch_route makes it."""
    head, body = text.split('\r\n\r\n', 1)
    hidden = port == 5062
    assert ('"Anonymous"' in head.split('Contact:')[0]) == hidden and ('<sip:caller@198' in head.split('Contact:')[0]) != hidden
    assert ('<sip:caller@home.example>' in head) != hidden and 'X-All: same' in head and 'X-Internal' not in head
    assert ('X-Branch: one\r\n' in head + '\r\n') == hidden and ('X-Branch: and a half' in head) == (port == 5064)
    assert ('<tel:+1>' in head) == (port == 5064) and text.startswith('INVITE sip:two@') == (port == 5064)
    assert ('relay.example.net' in body) == hidden and f'\r\nContent-Length: {len(body)}' in head


@pytest.mark.parametrize('port', PORTS)
def test_the_script_changes_each(taken, port):
    """What the other tests rely on."""
    differs(at(taken, 'rings', 'INVITE', 'a', port)[0], port)


@pytest.mark.parametrize('port', PORTS)
@pytest.mark.parametrize('dial', ['silent', 'lost'])
def test_each_far_end_sees_its_own(taken, dial, port):
    for text in at(taken, dial, 'INVITE', 'b', port):
        differs(text, port)


def test_a_cancel_hides_who_calls(taken):
    [text] = at(taken, 'cancelled', 'CANCEL', 'b', 5062)
    assert '"Anonymous"' in text and '<sip:caller@198' not in text


def test_the_next_gateway_has_what_all_had(taken):
    [text] = at(taken, 'next', 'INVITE', 'b', 5066)
    assert 'X-All: same' in text and 'X-Next: yes' in text and 'X-Branch' not in text


def test_what_failure_route_added_is_for_that_gateway_only(taken):
    [first], again = at(taken, 'nextlast', 'INVITE', 'a', 5066), at(taken, 'nextlast', 'INVITE', 'b', 5066)
    assert 'X-Next: yes' in first and 'home.example' not in first and set(again) == {first}
    [text] = at(taken, 'nextlast', 'INVITE', 'b', 5060)
    assert 'X-Last: yes' in text and 'X-All: same' in text and 'X-Next' not in text
    assert 'P-Asserted-Identity: <sip:caller@home.example>' in text, 'only the fourth gateway was not to see it'


@pytest.mark.parametrize('deed', ['answer', 'cancel'])
def test_one_that_is_too_large_is_not_sent_again(deed):
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=f'{CFG}/apart.cfg', defines={'KAMSYNC_AS_SENT': None})
        lab.route_all('a')
        call = call_all(caller, ['large'], LARGE)['large']
        wait_until(lambda: len(legs_of(callees, 'large')) == 3, 5, 'all ring')
        cluster['a'].wait_recorded(callees, call.call_id)
        assert cluster['a'].counters()['branches_withheld'] == 1
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        first, second, third = legs_of(callees, 'large')
        wait_until(lambda: first.again and second.again, 5, 'INVITEs sent again')
        if deed == 'answer':
            third.answer()
            call.wait(200)
        else:
            call.cancel()
            call.wait(487)
        wait_until(lambda: each((first, second, third), lambda leg: leg.acked), 5, 'all have ended')
        assert not third.again
        lab.check()
