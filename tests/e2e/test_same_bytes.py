"""A takeover sends the INVITE again byte for byte as the dead node had sent it, with `srvid` of that node in its Via, since some
far ends (SIPp by default) drop a call whose INVITE comes again in another form. And what follows finds its node all the same:
replies and the answer to a CANCEL that name the dead node, at a third node, and at the dead one, come back without the call."""
import re

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until

# Odd, but SIP: compact forms, folded lines, values in one line and in several, blanks, a body.
HEADERS = (('k', 'timer'), ('Supported', 'path,\r\n\toutbound'), ('X-Twice', 'a, b'), ('X-Twice', 'c'),
           ('X-Empty', ''), ('s', ' folded\r\n   subject  '), ('c', 'application/sdp'))
BODY = 'v=0\r\no=- 1 1 IN IP4 192.0.2.99\r\ns=-\r\n'
LATE = 0.8      # seconds until the 487: tm would have repeated its CANCEL after 0.5
CALLS = ('answered', 'busy', 'cancelled', 'next')
SRVID = ';srvid=1\r\n'


class Phones(Callees):
    """The 487 comes long after the 200 to the CANCEL."""

    def _on_cancel(self, port, msg):
        leg = self._by_branch[port, msg.branch]
        leg.cancels += 1
        self._reply(port, msg, 200)
        self.after(LATE, leg.say, 487)


class Taken:
    """Calls of node a, which is dead, and their new owners."""

    def __init__(self, lab, cluster, phones, caller):
        self.lab, self.cluster, self.phones = lab, cluster, phones
        lab.route_all('a')
        self.calls = {dial: caller.call(f'{dial}@lab', dial, headers=HEADERS, body=BODY) for dial in CALLS}
        self.wait(lambda: each(CALLS, self.leg), CALLS[0], 'all ring')
        cluster['a'].wait_recorded(phones, *(call.call_id for call in self.calls.values()))
        lab.route_all('b')
        cluster['a'].kamailio.kill()
        self.wait(lambda: each(CALLS, lambda dial: self.leg(dial).again), CALLS[0], 'INVITEs sent again')

    def leg(self, dial, port=5060):
        return next(iter(self.phones.legs(f'{dial}@lab', port)), None)

    def invites(self, dial, port=5060):
        return [packet for packet in self.lab.trace.at('gateway', f'{dial}@lab', port)
                if packet.kind == 'INVITE' and not packet.outgoing]

    def owner(self, call_id):
        return self.invites(call_id.split('@')[0])[-1].node

    def wait(self, condition, dial, what):
        wait_until(condition, 5, lambda: f'{what}\n{self.lab.trace.show(f"{dial}@lab")}')


def is_back(node):
    return len(re.findall(r'node 1 .* is up, incarnation', node.log())) > 1


@pytest.fixture(scope='module', params=['a third node', 'node 1, come back', 'a third node, while node 1 is back'])
def taken(request):
    """Where the far end's messages arrive, from then on."""
    with Lab(nodes='abc') as lab, Phones(lab) as phones, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='abc', routing=f'{CFG}/same_bytes.cfg')
        taken = Taken(lab, cluster, phones, caller)
        if 'back' in request.param:
            cluster['a'].start_kamailio()
            wait_until(lambda: all(is_back(cluster[name]) for name in 'bc'), 10, 'node 1 is back')
        back = request.param == 'node 1, come back'
        lab.steer(lambda packet: 'a' if back else 'c' if taken.owner(packet.call_id) == 'b' else 'b', ('gateway',))
        yield taken
        lab.check()


@pytest.mark.parametrize('dial', CALLS)
def test_the_same_bytes(taken, dial):
    first, *again = taken.invites(dial)
    assert SRVID in first.text and first.node == 'a' and again
    for packet in again:
        assert packet.text.split('\r\n') == first.text.split('\r\n')
    assert {packet.node for packet in again} <= set('bc')


def test_answered(taken):
    taken.leg('answered').answer()
    taken.calls['answered'].wait(200)
    taken.wait(lambda: taken.leg('answered').acked, 'answered', 'ACK')
    bye = taken.calls['answered'].bye()
    taken.wait(lambda: bye.code == 200, 'answered', '200 to the BYE')


def test_busy(taken):
    taken.leg('busy').reject(486)
    taken.wait(lambda: taken.calls['busy'].got(486), 'busy', '486')
    taken.wait(lambda: taken.leg('busy').acked, 'busy', 'ACK')


def test_a_cancel_is_answered(taken):
    """tm hears of the 200 to its CANCEL, so it sends no second one."""
    taken.calls['cancelled'].cancel()
    taken.calls['cancelled'].wait(487)
    assert taken.leg('cancelled').cancels == 1, taken.lab.trace.show('cancelled@lab')
    [cancel] = [p for p in taken.lab.trace.at('gateway', 'cancelled@lab') if p.kind == 'CANCEL' and not p.outgoing]
    assert SRVID in cancel.text


def test_the_next_branch_has_its_own_nodes_id(taken):
    taken.leg('next').reject(503)
    taken.wait(lambda: taken.leg('next', 5062), 'next', 'the next gateway')
    [invite] = taken.invites('next', 5062)
    assert f';srvid={"abc".index(taken.owner("next@lab")) + 1}\r\n' in invite.text
    taken.leg('next', 5062).answer()
    taken.calls['next'].wait(200)


def taken_by(cluster, node):
    return {record['call_id'] for record in cluster.records().values() if record['owner'] == node and 'taking' not in record}


def test_its_new_owner_dies_too():
    """With another name for the $xavp, too."""
    with Lab(nodes='abc') as lab, Phones(lab) as phones, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='abc', routing=f'{CFG}/same_bytes.cfg', defines={'KAMSYNC_VIA_PARAMS': '"via"'})
        taken = Taken(lab, cluster, phones, caller)
        owners = {dial: taken.owner(f'{dial}@lab') for dial in CALLS}
        second = owners['answered']
        theirs = [dial for dial in CALLS if owners[dial] == second]
        lab.route_all('c' if second == 'b' else 'b')
        number = 'abc'.index(second) + 1
        wait_until(lambda: taken_by(cluster, number) >= {f'{dial}@lab' for dial in theirs}, 5, 'their records')
        cluster[second].kamailio.kill()
        taken.wait(lambda: each(theirs, lambda dial: len(taken.leg(dial).again) > 1), 'answered', 'INVITEs sent a third time')
        for dial in theirs:
            assert len({packet.text for packet in taken.invites(dial)}) == 1
        lab.check()
