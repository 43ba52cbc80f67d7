"""What the script adds to a branch is in the INVITE that a survivor sends again, too: the Route set, then also in the CANCEL and
the ACK that follow, and Record-Route, should the survivor's INVITE be the first that arrives."""
import os
import re

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import wait_until

ROUTING = os.path.join(CFG, 'route_set.cfg')
ROUTES = {5060: ['<sip:one.example;lr>'], 5062: ['<sip:one.example;lr>', '<sip:two.example;lr;x="|, ">']}


@pytest.fixture(scope='module')
def taken():
    """(lab, callees, calls by what is done with them), after the takeover and the deed."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=ROUTING)
        lab.route_all('a')
        calls = {deed: caller.call(f'{deed}@lab', f'path-{deed}') for deed in ('cancel', 'busy')}
        wait_until(lambda: all(len(callees.legs(call.call_id)) == 2 for call in calls.values()), 5, 'all ring')
        cluster['a'].wait_recorded(callees, *(call.call_id for call in calls.values()))
        lab.cut('a', 'gateway')
        unheard = caller.call('unheard@lab', 'one')
        wait_until(lambda: cluster['a'].ask('tx', call_id=unheard.call_id)['txns'], 5, 'a record of the one whose INVITE is lost')
        wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all records')
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        legs = [leg for call in calls.values() for leg in callees.legs(call.call_id)]
        wait_until(lambda: all(leg.again for leg in legs) and callees.legs(unheard.call_id), 5, 'INVITEs sent again')
        calls['cancel'].cancel()
        for leg in callees.legs('busy@lab'):
            leg.reject(486)
        wait_until(lambda: all(leg.settled for leg in legs), 5, 'all have ended')
        yield lab, callees, cluster
        lab.check()


def routes(packet):
    """The Route set of a message, one value in each element."""
    values = ', '.join(re.findall(r'^Route: *(.*?)\r$', packet.text, re.M))
    return re.findall(r'<[^>]*>', values)


@pytest.mark.parametrize('port', ROUTES)
@pytest.mark.parametrize('deed, kind', [('cancel', 'INVITE'), ('cancel', 'CANCEL'), ('cancel', 'ACK'), ('busy', 'ACK')])
def test_route_set_is_sent_again(taken, deed, kind, port):
    lab, _, _ = taken
    packets = [p for p in lab.trace.at('gateway', f'{deed}@lab', port) if p.kind == kind and not p.outgoing and p.node == 'b']
    assert packets, lab.trace.show(f'{deed}@lab')
    for packet in packets:
        assert routes(packet) == ROUTES[port], packet.text
        assert packet.text.count('\r\nRoute:') == 1


def test_record_keeps_it(taken):
    _, _, cluster = taken
    kept = {branch['ruri'][-4:]: branch['route'] for key, record in cluster.records().items() if 'cancel@lab' in key
            for branch in record['branches']}
    assert kept == {str(port): ', '.join(values) for port, values in ROUTES.items()}


def test_first_invite_to_arrive_is_the_survivors(taken):
    _, callees, _ = taken
    [leg] = callees.legs('unheard@lab')
    assert leg.invite.routes() and 'lr' in leg.invite.routes()[0], leg.invite.text


def test_the_same_with_node_cfg_alone():
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', routing=None, defines={'GATEWAY': f'"{lab.address("gateway")}:5060"'})
        lab.route_all('a')
        lab.cut('a', 'gateway')
        call = caller.call('unheard@lab', 'one')
        wait_until(lambda: cluster['a'].ask('tx', call_id=call.call_id)['txns'], 5, 'a record')
        wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'it is written')
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        wait_until(lambda: callees.legs(call.call_id), 5, 'the INVITE')
        [leg] = callees.legs(call.call_id)
        assert len(leg.invite.routes()) == 1, leg.invite.text
        leg.answer()
        call.wait(200)
        lab.route('caller', 'b')
        bye = call.bye()
        wait_until(lambda: bye.code == 200, 5, 'the BYE that follows the route')
