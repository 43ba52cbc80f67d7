"""The recipes of kamailio-cfg/cookbook: what each is for works before its node dies, and after a takeover. headers.cfg:
test_as_sent.py."""
import contextlib
import os
import shutil

import pytest

from lab.cluster import COOKBOOK, Cluster
from lab.lab import Lab
from lab.media import Media, start_rtpengine
from lab.phone import Callees, Caller, talk_and_end
from lab.proc import wait_until


class Kitchen:
    """Two nodes with a recipe, phones, and a node that dies."""

    def __init__(self, lab, callees, caller, cluster):
        self.lab, self.callees, self.caller, self.cluster = lab, callees, caller, cluster

    def place(self, call_id, **options):
        """A call by way of node a, which rings."""
        call = self.caller.call(call_id, 'phone', **options)
        call.wait(180)
        [leg] = self.callees.legs(call_id)
        return call, leg

    def take_over(self, *call_ids):
        self.cluster['a'].wait_recorded(self.callees, *call_ids)
        self.lab.route_all('b')
        self.cluster['a'].kamailio.kill()
        legs = [self.callees.legs(call_id)[-1] for call_id in call_ids]
        for leg in legs:
            wait_until(lambda leg=leg: leg.again, 5, f'the INVITE of {leg.call_id} again')


@contextlib.contextmanager
def kitchen(recipe, on_invite=None, modules=False, settings=(), **defines):
    path = os.path.join(COOKBOOK, recipe)
    with Lab(nodes='ab') as lab, Callees(lab, on_invite=on_invite) as callees, Caller(lab) as caller:
        more = {name: value and value(lab) for name, value in defines.items()}
        cluster = Cluster(lab, nodes='ab', routing=path, modules=path if modules else None,
                          defines={'GATEWAY': f'"{lab.address("gateway")}:5060"', **more}, **dict(settings))
        lab.route_all('a')
        yield Kitchen(lab, callees, caller, cluster)
        lab.check()


# ---- nat.cfg

def behind_nat(leg):
    """Nothing that is sent there arrives."""
    leg.contact = f'sip:{leg.invite.user}@10.1.1.1:5060'
    leg.ring()


def talk_and_hang_up(call, leg, timeout=5):
    leg.answer()
    talk_and_end(call, leg, timeout)


def test_nat():
    with kitchen('nat.cfg', on_invite=behind_nat) as k:
        talk_and_hang_up(*k.place('before@lab'))
        call, leg = k.place('after@lab')
        k.take_over('after@lab')
        talk_and_hang_up(call, leg)


def test_nat_without_takeover():
    """The 200 of a dead node's call is passed on, and no tm sees it."""
    with kitchen('nat.cfg', on_invite=behind_nat, settings={'takeover': 0}) as k:
        call, leg = k.place('after@lab')
        k.cluster['a'].wait_recorded(k.callees, 'after@lab')
        k.lab.route_all('b')
        k.cluster['a'].kamailio.kill()
        talk_and_hang_up(call, leg, timeout=15)     # it comes again 3.5 and 7.5 s later


# ---- dispatcher.cfg

def gateways(lab):
    path = os.path.join(lab.new_directory('dispatcher'), 'dispatcher.list')
    with open(path, 'w') as file:
        file.writelines(f'1 sip:{lab.address("gateway")}:{port}\n' for port in (5060, 5062, 5064))
    return f'"{path}"'


def reject_all(k, call):
    """In the order in which they ring: their ports."""
    for n in range(1, 4):
        wait_until(lambda n=n: len(k.callees.legs(call.call_id)) >= n, 5, f'gateway {n} rings')
        leg = k.callees.legs(call.call_id)[-1]
        if leg.code < 200:
            leg.reject(503)
    call.wait(500)      # tm makes that of the last 503
    return [leg.port for leg in k.callees.legs(call.call_id)]


@pytest.fixture(scope='module')
def dispatched():
    with kitchen('dispatcher.cfg', DISPATCHER_LIST=gateways, KAMSYNC_AVPS=lambda lab: '"further"') as k:
        ports = {'before@lab': reject_all(k, k.place('before@lab')[0])}
        calls = {call_id: k.place(call_id) for call_id in ('first@lab', 'second@lab')}
        calls['second@lab'][1].reject(503)
        wait_until(lambda: len(k.callees.legs('second@lab')) == 2, 5, 'the second gateway rings')
        k.take_over(*calls)
        yield {**ports, **{call_id: reject_all(k, call) for call_id, (call, _) in calls.items()}}


@pytest.mark.parametrize('call_id', ['first@lab', 'second@lab'])
def test_dispatcher(dispatched, call_id):
    """Each gateway once, in the order of the call that no takeover has met, from whichever one was the first."""
    before, at = dispatched['before@lab'], dispatched[call_id][0]
    assert sorted(before) == [5060, 5062, 5064]
    assert dispatched[call_id] == (before * 2)[before.index(at):][:3]


# ---- accounting.cfg

def accounted(k, node, call_id):
    """Of what acc has written."""
    return [line.split('method=')[1].split(';')[0] for line in k.cluster[node].kamailio.log().splitlines()
            if 'ACC: transaction answered' in line and f'call_id={call_id};' in line]


def test_accounting():
    with kitchen('accounting.cfg', modules=True, KAMSYNC_DIALOG_OWNER=None) as k:
        talk_and_hang_up(*k.place('before@lab'))
        call, leg = k.place('after@lab')
        k.take_over('after@lab')
        talk_and_hang_up(call, leg)
        for node, call_id in (('a', 'before@lab'), ('b', 'after@lab')):
            wait_until(lambda node=node, call_id=call_id: len(accounted(k, node, call_id)) == 2, 5, 'both accounted for')
            assert accounted(k, node, call_id) == ['INVITE', 'BYE']
        assert not accounted(k, 'a', 'after@lab') and not accounted(k, 'b', 'before@lab')


# ---- rtpengine.cfg

@pytest.mark.skipif(not shutil.which('rtpengine'), reason='needs rtpengine')
def test_rtpengine():
    """A call that is answered when its node dies, one that is answered later, one that goes on to the next gateway then, and one
    that both gateways refuse."""
    with kitchen('rtpengine.cfg', KAMSYNC_AS_SENT=None, RTPENGINE=lambda lab: f'"{start_rtpengine(lab)}"',
                 GATEWAY2=lambda lab: f'"{lab.address("gateway")}:5062"') as k, Media(k.lab) as media:
        def place(call_id):
            call, leg = k.place(call_id, **media.offer())
            media.answer(leg)
            return call, leg

        def answer_and_talk(call, leg):
            leg.answer()
            call.wait(200)
            media.talk(call, leg)

        answered = place('before@lab')
        answer_and_talk(*answered)
        wait_until(lambda: answered[1].acked, 5, 'ACK')
        rings, fails, refused = place('rings@lab'), place('fails@lab'), place('refused@lab')
        k.take_over('rings@lab', 'fails@lab', 'refused@lab')
        media.talk(*answered)
        answer_and_talk(*rings)
        fails[1].reject(503)
        [further] = wait_until(lambda: k.callees.legs('fails@lab', 5062), 5, 'the next gateway rings')
        media.answer(further)
        answer_and_talk(fails[0], further)
        refused[1].reject(503)
        [further] = wait_until(lambda: k.callees.legs('refused@lab', 5062), 5, 'the next gateway rings')
        further.reject(486)
        refused[0].wait(486)
        assert k.callees.rings('refused@lab') == {5060: 1, 5062: 1}
        for call in (answered[0], rings[0], fails[0]):
            bye = call.bye()
            wait_until(lambda bye=bye: bye.code == 200, 5, 'the answer to the BYE')
