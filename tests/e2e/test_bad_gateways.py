"""The owner of ringing calls dies, and the gateway takes the INVITE that is sent again for the takeover badly: it answers
482 or 491, or not at all. Nobody may be harmed by that: neither does the caller see such a code, nor does the call end.
"""
import os

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import LabError, wait_until

ROUTING = os.path.join(CFG, 'bad_gateway.cfg')
MANNERS = ('482', '491', 'silence')
SHAPES = {'one': 1, 'fork3': 3, 'fork3-mixed': 3}     # how many gateways ring; mixed: only one of them is bad
DEEDS = ('cancel', 'answer', 'busy', 'late cancel', 'late answer')


def on_invite(leg):
    """The dialed user says how the gateway takes an INVITE that comes again; and who is mute says nothing ever."""
    user = leg.invite.user
    bad = 'mixed' not in user or leg.port == 5062
    leg.manner = next((manner for manner in MANNERS if bad and manner in user), 'repeat')
    leg.manner = int(leg.manner) if leg.manner.isdigit() else leg.manner
    if 'mute' not in user:
        leg.ring()


class Case:
    """One call through the death of its owner."""

    def __init__(self, caller, callees, manner, shape, deed):
        self.callees, self.shape, self.deed = callees, shape, deed
        self.call_id = f'{shape}-{manner}-{deed}@lab'.replace(' ', '-')
        self.call = caller.call(self.call_id, self.call_id.split('@')[0])
        self.bye = None

    def legs(self):
        return self.callees.legs(self.call_id)

    def rings(self):
        return len(self.legs()) == SHAPES[self.shape] and self.call.got(180)

    def taken_over(self):
        return all(leg.again for leg in self.legs())

    def act(self):
        if 'cancel' in self.deed:
            self.call.cancel()
        elif 'answer' in self.deed:
            self.legs()[-1].answer()
        else:
            for leg in self.legs():
                leg.reject(486)

    def final(self):
        return 487 if 'cancel' in self.deed else 200 if 'answer' in self.deed else 486

    def missing(self):
        """What is still to come; '' when the call has ended as it should. A call that is answered is hung up."""
        finals = {code for code in self.call.codes() if code >= 200}
        if finals != {self.final()}:
            return f'final replies {sorted(finals)}, not {self.final()}'
        if 'cancel' in self.deed and self.call.cancelling.code != 200:
            return f'{self.call.cancelling.code} to CANCEL'
        if self.final() == 200 and not self.bye:
            self.bye = self.call.bye()
        if self.bye and self.bye.code != 200:
            return f'{self.bye.code} to BYE'
        rings_on = [leg.port for leg in self.legs() if not leg.settled]
        return f'ports {rings_on} ring on' if rings_on else ''

    def wrong(self):
        """What must not have happened."""
        twice = [port for port, times in self.callees.rings(self.call_id).items() if times > 1]
        return f'a second call at ports {twice}' if twice else self.missing()


def end_all(cases):
    try:
        wait_until(lambda: not any([case.missing() for case in cases]), 5, 'the end of all calls')
    except LabError:
        pass   # the tests tell which


def play(lab, caller, callees):
    cluster = Cluster(lab, nodes='ab', routing=ROUTING)
    lab.route_all('a')
    cases = {(manner, shape, deed): Case(caller, callees, manner, shape, deed)
             for manner in MANNERS for shape in SHAPES for deed in DEEDS}
    wait_until(lambda: all(case.rings() for case in cases.values()), 5, 'all ring')
    cluster['a'].wait_recorded(callees, *(case.call_id for case in cases.values()))
    lab.route_all('b')
    cluster['a'].kamailio.kill()
    wait_until(lambda: all(case.taken_over() for case in cases.values()), 5, 'INVITEs sent again')
    early = [case for case in cases.values() if 'late' not in case.deed]
    late = [case for case in cases.values() if 'late' in case.deed]
    # It is called after all takeovers, so when fr_timer ends it, theirs is over, too.
    mute = caller.call('mute@lab', 'one-mute')
    for case in early:
        case.act()
    end_all(early)
    mute.wait(408)
    for case in late:
        case.act()
    end_all(late)
    return cases


@pytest.fixture(scope='module')
def outcome():
    with Lab(nodes='ab') as lab, Callees(lab, on_invite=on_invite) as callees, Caller(lab) as caller:
        cases = play(lab, caller, callees)
        yield {name: (case.wrong(), lab.trace.show(case.call_id)) for name, case in cases.items()}
        callees.check()
        caller.check()
        lab.check()


@pytest.mark.parametrize('deed', DEEDS)
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('manner', MANNERS)
def test_nobody_is_harmed(outcome, manner, shape, deed):
    wrong, trace = outcome[manner, shape, deed]
    assert not wrong, f'{wrong}\n{trace}'
