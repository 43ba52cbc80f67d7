"""With KAMSYNC_AS_SENT a takeover sends the INVITE again as the script had changed it, byte for byte,
and the next gateway gets it so, too: who calls stays hidden, what is internal stays inside."""
import os

import pytest

from lab.cluster import COOKBOOK, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until

ROUTING = os.path.join(COOKBOOK, 'headers.cfg')
HEADERS = (('X-Internal', 'secret'), ('Content-Type', 'application/sdp'))
BODY = 'v=0\r\no=- 1 1 IN IP4 private.example\r\n'
CALLS = ('rings', 'next', 'silent', 'cancelled', 'lost')


@pytest.fixture(scope='module')
def taken():
    """(lab, callees), after the takeover and all that was done with the calls since."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        gateway = lab.address('gateway')
        cluster = Cluster(lab, nodes='ab', routing=ROUTING, defines={
            'KAMSYNC_AS_SENT': None, 'GATEWAY': f'"{gateway}:5060"', 'GATEWAY2': f'"{gateway}:5062"'})
        lab.route_all('a')
        calls = {dial: caller.call(f'{dial}@lab', dial, headers=HEADERS, body=BODY) for dial in CALLS[:-1]}
        wait_until(lambda: each(calls, lambda dial: callees.legs(f'{dial}@lab')), 5, 'all ring')
        callees.legs('silent@lab')[0].manner = 'silence'
        calls['second'] = caller.call('second@lab', 'second', headers=HEADERS, body=BODY)
        [leg] = wait_until(lambda: callees.legs('second@lab'), 5, 'the first gateway rings')
        leg.reject(503)
        wait_until(lambda: callees.rings('second@lab') == {5060: 1, 5062: 1}, 5, 'the second one')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        lab.cut('a', 'gateway')
        calls['lost'] = caller.call('lost@lab', 'lost', headers=HEADERS, body=BODY)
        wait_until(lambda: cluster['a'].ask('tx', call_id='lost@lab')['txns'], 5, 'a record of the one whose INVITE is lost')
        wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all records')
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: each(CALLS[:-1], lambda dial: callees.legs(f'{dial}@lab')[0].again), 5, 'INVITEs sent again')
        wait_until(lambda: callees.legs('lost@lab'), 5, 'the lost one, too')
        callees.legs('next@lab')[0].reject(503)
        wait_until(lambda: callees.legs('next@lab', 5062), 5, 'the next gateway')
        calls['cancelled'].cancel()
        calls['cancelled'].wait(487)
        wait_until(lambda: callees.legs('silent@lab')[0].invites >= 3, 5, 'an INVITE of kamsyncd')
        [leg] = callees.legs('second@lab', 5062)
        wait_until(lambda: leg.again, 5, 'the INVITE again at the second gateway')
        leg.reject(500)
        calls['second'].wait(500)
        yield lab
        lab.check()


def at(lab, dial, kind, node, port=5060):
    found = [packet.text for packet in lab.trace.at('gateway', f'{dial}@lab', port)
             if packet.kind == kind and not packet.outgoing and packet.node == node]
    assert found, lab.trace.show(f'{dial}@lab')
    return found


@pytest.mark.parametrize('dial, port', [('rings', 5060), ('next', 5060), ('second', 5062)])
def test_the_same_bytes(taken, dial, port):
    [first], again = at(taken, dial, 'INVITE', 'a', port), at(taken, dial, 'INVITE', 'b', port)
    assert set(again) == {first}


def test_the_script_changes_it(taken):
    """What the other tests rely on."""
    expect_changed(*at(taken, 'rings', 'INVITE', 'a'))


def expect_changed(*texts):
    for text in texts:
        assert 'From: "Anonymous" <sip:anonymous@anonymous.invalid>;tag=' in text and '<sip:caller@198' not in text.split('Contact:')[0]
        if not text.startswith('CANCEL'):
            assert '\r\nP-Asserted-Identity: <sip:caller@home.example>\r\n' in text
            assert 'X-Internal' not in text and 'private.example' not in text
            body = text.split('\r\n\r\n', 1)[1]
            assert 'relay.example.net' in body and f'\r\nContent-Length: {len(body)}\r\n' in text


@pytest.mark.parametrize('dial, kind, port', [('next', 'INVITE', 5062), ('silent', 'INVITE', 5060), ('lost', 'INVITE', 5060),
                                              ('cancelled', 'CANCEL', 5060)])
def test_far_ends_see_no_more_than_before(taken, dial, kind, port):
    expect_changed(*at(taken, dial, kind, 'b', port))


def test_the_next_gateway_has_what_failure_route_adds(taken):
    [text] = at(taken, 'next', 'INVITE', 'b', 5062)
    assert '\r\nX-Next: yes\r\n' in text and text.count('Record-Route:') == 1
