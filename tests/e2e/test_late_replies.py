"""Replies that come after their transaction has answered the caller, whatever tm makes of them.

Since 6.1.4 tm's reply_matching decides: by default a transaction that only waits for its end matches no reply, so that these
are strays of a node's own. The caller must get each 2xx and no further negative reply, and each far end must get its ACK.
"""
import re

import pytest

from lab.cluster import CFG, Cluster
from lab.kamailios import versions
from lab.lab import Lab
from lab.phone import Callees, Caller, Leg
from lab.policies import to
from lab.proc import wait_until

ROUTING = f'{CFG}/owner_gone.cfg'
LATE = 0.3      # seconds: the caller's ACK to tm's 408 has come by then
TAKEN = 40      # calls that are taken over at once, so that some of their branches are slower than others
DEFAULT = 'as Kamailio has it'


def has_parameter():
    return min(versions()) >= (6, 1, 4)


class DeafLeg(Leg):
    """A phone that loses the first ACK."""

    def on_ack(self):
        if self.acks:
            super().on_ack()
        self.acks = max(self.acks, 1)


class Phones(Callees):
    """The dialed user says what comes instead of the 487 to a CANCEL, and that it comes late."""

    def _on_cancel(self, port, msg):
        late = re.search(r'late(\d+)', msg.user)
        leg = self._by_branch.get((port, msg.branch))
        if not late or not leg:
            super()._on_cancel(port, msg)
            return
        self._reply(port, msg, 200)
        leg.cancels += 1
        self.after(LATE, leg.say, int(late[1]))


def on_invite(leg):
    user = leg.invite.user
    if user.startswith('serial') and leg.port == 5060:
        leg.reject(503)
    elif 'deaf' in user:
        leg.__class__ = DeafLeg
        leg.reject(486)
    else:
        leg.ring()


class World:
    def __init__(self, cluster, caller, phones):
        self.cluster, self.lab, self.caller, self.phones = cluster, cluster.lab, caller, phones

    def call(self, name, dial):
        return self.caller.call(f'{name}@lab', dial)

    def legs(self, call):
        return self.phones.legs(call.call_id)

    def wait(self, condition, call, what):
        wait_until(condition, 10, lambda: f'{what}\n{self.lab.trace.show(call.call_id)}')

    def ringing(self, call, count):
        self.wait(lambda: len([leg for leg in self.legs(call) if leg.code == 180]) == count, call, 'phones that ring')

    def settled(self, call):
        self.wait(lambda: all(leg.settled for leg in self.legs(call)), call, 'an ACK for each phone')

    def finals(self, call):
        return [code for code in call.codes() if code >= 200]


@pytest.fixture(scope='module', params=[DEFAULT, '0', '1'])
def world(request, tmp_path_factory):
    modules = None
    if request.param != DEFAULT:
        if not has_parameter():
            pytest.skip('this tm has no reply_matching')
        modules = tmp_path_factory.mktemp('modules') / 'modules.cfg'
        modules.write_text(f'modparam("tm", "reply_matching", {request.param})\n')
    with Lab() as lab:
        cluster = Cluster(lab, nodes=('a', 'b'), routing=ROUTING, modules=modules)
        lab.steer(to('a'))
        with Phones(lab, on_invite=on_invite) as phones, Caller(lab) as caller:
            yield World(cluster, caller, phones)
            phones.check()
            caller.check()
        lab.check()


def test_487_of_the_other_phones(world):
    """tm has relayed the 200, and cancels the others."""
    call = world.call('others', 'fork3')
    world.ringing(call, 3)
    world.legs(call)[0].answer()
    call.wait(200)
    world.settled(call)
    assert world.finals(call) == [200], world.lab.trace.show(call.call_id)
    assert sorted(leg.code for leg in world.legs(call)) == [200, 487, 487]


def test_two_phones_answer(world):
    call = world.call('two', 'fork3')
    world.ringing(call, 3)
    with world.phones.lock:
        for leg in world.legs(call)[:2]:
            leg.answer()
    world.settled(call)
    assert world.finals(call).count(200) >= 2 and set(world.finals(call)) == {200}, world.lab.trace.show(call.call_id)
    tags = {msg.to_tag for msg in call.replies if msg.code == 200}
    assert tags == {leg.tag for leg in world.legs(call)[:2]}


def test_late_487(world):
    """tm gave the phone up, and the caller has his 408."""
    call = world.call('given-up', 'one-timer-late487')
    call.wait(408, 10)
    world.wait(lambda: world.legs(call)[0].code == 487, call, 'the 487')
    world.settled(call)
    assert world.finals(call) == [408], world.lab.trace.show(call.call_id)


def test_late_200(world):
    """The phone answers as tm cancels it: the caller must hear of that, and hang up."""
    call = world.call('crossed', 'one-timer-late200')
    call.wait(408, 10)
    call.wait(200)
    world.settled(call)
    assert world.finals(call)[0] == 408 and set(world.finals(call)[1:]) == {200}, world.lab.trace.show(call.call_id)


def test_ack_that_was_lost(world):
    """The phone says its 486 again after the caller has acknowledged his."""
    call = world.call('lost-ack', 'one-deaf')
    call.wait(486)
    world.settled(call)
    assert world.finals(call) == [486], world.lab.trace.show(call.call_id)


def test_branches_that_had_ended_before_a_takeover(world):
    """The dead node's 503 is said again, maybe after the 200 of the next gateway."""
    calls = [world.call(f'taken-{number}', 'serial-one') for number in range(TAKEN)]
    for call in calls:
        world.ringing(call, 1)
    world.cluster['a'].wait_recorded(world.phones, *[call.call_id for call in calls])
    world.cluster['a'].kamailio.kill()
    world.lab.steer(to('b'))
    for call in calls:
        world.legs(call)[1].answer()
    for call in calls:
        call.wait(200)
        world.settled(call)
    bad = [call for call in calls if set(world.finals(call)) != {200}]
    assert not bad, world.lab.trace.show(bad[0].call_id)
