"""An owner that was taken for dead comes back, its transactions still in its Kamailio. Survivors have taken its calls over,
and the claim decides: it goes quiet, and what reaches it goes to the new owner."""
import os
import re
import signal
import time

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.owner_gone import ROUTING
from lab.phone import Callees, Caller
from lab.policies import at_random, call_number, to
from lab.proc import LabError, each, wait_until
from lab.seeds import new_seed

COPIES = 3
SHAPES = {'one': 1, 'fork3': 3}       # how many gateways ring
# What is done after it came back, and the one final reply that the caller shall see. Meanwhile: while it was away.
DEEDS = {'cancel': 487, 'answer': 200, 'busy': 486, 'cancel meanwhile': 487, 'answer meanwhile': 200, 'no answer': 408}


class CutOff:
    """The host's cable is pulled."""
    timer = 'patience'

    def harm(self, cluster):
        cluster.lab.unplug('a')

    def mend(self, cluster):
        cluster.lab.plug('a')


class Hung:
    """Its Kamailio stands still; the host and kamsyncd do not."""
    timer = 'timer'

    def harm(self, cluster):
        os.killpg(cluster['a'].kamailio.pid, signal.SIGSTOP)

    def mend(self, cluster):
        os.killpg(cluster['a'].kamailio.pid, signal.SIGCONT)


class Case:
    """One call. tm's timer for a call that nobody answers runs out after the return of the old owner: first there, and
    later at the new one, which has begun later."""

    def __init__(self, world, number, shape, deed):
        self.world, self.shape, self.deed, self.bye = world, shape, deed, None
        self.call_id = f'back-{number}-{shape}-{deed}@lab'.replace(' ', '-')
        timer = world.fate.timer if deed == 'no answer' or 'meanwhile' in deed else ''
        self.call = world.caller.call(self.call_id, f'{shape}-{timer}')

    def legs(self):
        return self.world.callees.legs(self.call_id)

    def rings(self):
        return len(self.legs()) == SHAPES[self.shape] and self.call.got(180)

    def act(self):
        if 'cancel' in self.deed:
            self.call.cancel()
        elif 'answer' in self.deed and self.deed != 'no answer':
            self.legs()[-1].answer()
        elif self.deed == 'busy':
            for leg in self.legs():
                leg.reject(486)

    def missing(self):
        """What is still to come; '' when the call has ended. A call that is answered is hung up."""
        if not self.call.final:
            return 'no final reply'
        if self.call.cancelling and self.call.cancelling.code != 200:
            return f'{self.call.cancelling.code} to CANCEL'
        if self.call.final.code == 200 and not self.bye and 'meanwhile' not in self.deed:
            self.hang_up()
        if self.bye and self.bye.code != 200:
            return f'{self.bye.code} to BYE'
        open_legs = [leg.port for leg in self.legs() if not leg.settled]
        return f'ports {open_legs} are open' if open_legs else ''

    def hang_up(self):
        leg = next(leg for leg in self.legs() if leg.code == 200)
        self.bye = self.call.bye() if call_number(self.call_id) % 2 else leg.bye()

    def saw(self):
        """What the caller and the phones saw, in short."""
        finals = sorted({(msg.code, msg.to_tag) for msg in self.call.replies if msg.code >= 200})
        return (f'caller: final {", ".join(str(code) for code, _ in finals)}; phones: rings '
                f'{list(self.world.callees.rings(self.call_id).values())}, final {[leg.code for leg in self.legs()]}'
                + (f'; BYE: {self.bye.code}' if self.bye else ''))

    def wrong(self, fight=True):
        finals = [code for code, _ in {(msg.code, msg.to_tag) for msg in self.call.replies if msg.code >= 200}]
        if finals != [DEEDS[self.deed]]:
            return f'final replies {finals}'
        if any(count != 1 for count in self.world.callees.rings(self.call_id).values()):
            return 'rang twice'
        return self.missing() or (self.fight() if fight else '')

    def fight(self):
        """What the old owner said of the transaction after its return. ACK and BYE may go by any node."""
        said = [packet for packet in self.world.lab.trace.of(self.call_id)
                if packet.node == 'a' and not packet.outgoing and packet.time > self.world.mended
                and packet.kind != 'ACK' and packet.cseq_method != 'BYE']
        return f'the old owner said {said}' if said else ''


class World:
    """All calls of one fate."""

    deeds, others = tuple(DEEDS), 'bc'

    def __init__(self, lab, fate, callees, caller, seed, routing=ROUTING):
        self.lab, self.fate, self.callees, self.caller = lab, fate, callees, caller
        self.cluster = Cluster(lab, routing=routing)
        self.mended, self.seed, self.cases = 0.0, seed, []

    def ring(self):
        self.lab.steer(to('a'))
        self.cases = [Case(self, number, shape, deed)
                      for number in range(COPIES) for shape in SHAPES for deed in self.deeds]
        wait_until(lambda: all(case.rings() for case in self.cases), 5, 'all ring')
        self.cluster['a'].wait_recorded(self.callees, *(case.call_id for case in self.cases))

    def run(self):
        self.ring()
        self.away()
        self.back()
        self.lab.steer(at_random(self.seed))
        self.end([case for case in self.cases if 'meanwhile' not in case.deed])

    def away(self):
        self.fate.harm(self.cluster)
        self.lab.steer(at_random(self.seed, self.others))
        wait_until(lambda: all(each(case.legs(), lambda leg: leg.again) for case in self.cases), 10, 'all taken over')
        self.end([case for case in self.cases if 'meanwhile' in case.deed])

    def back(self):
        """Until it knows that all its calls are others' now, and the others that it lives."""
        self.mended = time.monotonic()
        self.fate.mend(self.cluster)
        wait_until(lambda: self.cluster['a'].counters()['txns_lost'] == len(self.cases), 10, 'it gives up all its calls')
        wait_until(lambda: all(self.state_of_a(name) == 'up' for name in self.others), 10, 'it is up for the others')

    def state_of_a(self, name):
        return re.findall(r'node 1 \(a\) at \S+ is (\w+)', self.cluster[name].log())[-1]

    @staticmethod
    def end(cases):
        for case in cases:
            case.act()
        try:
            wait_until(lambda: not any([case.missing() for case in cases]), 12, 'the end of all calls')
        except LabError:
            pass   # the tests tell which


@pytest.fixture(scope='module', params=[CutOff(), Hung()], ids=['cut off', 'hung'])
def world(request):
    """All calls of one fate, at once; the tests then look at what became of them."""
    seed = new_seed()
    with Lab() as lab, Callees(lab) as callees, Caller(lab) as caller:
        the_world = World(lab, request.param, callees, caller, seed)
        the_world.run()
        for case in the_world.cases:
            print(f'{case.call_id}: {case.saw()}')
        yield the_world
        callees.check()
        caller.check()
        lab.check()


@pytest.mark.parametrize('deed', DEEDS)
@pytest.mark.parametrize('shape', SHAPES)
def test_they_do_not_fight(world, shape, deed):
    for case in world.cases:
        if (case.shape, case.deed) == (shape, deed):
            assert not case.wrong(), f'{case.wrong()}, KAMSYNC_SEED={world.seed}\n{world.lab.trace.show(case.call_id)}'


def kill_new_owner(cluster, cases):
    """b dies, and a, which has lost them to b, takes them over again."""
    seen = {leg: len(leg.again) for case in cases for leg in case.legs()}
    cluster.lab.steer(to('a'))
    cluster['b'].kamailio.kill()
    wait_until(lambda: all(len(leg.again) > count for leg, count in seen.items()), 10, 'taken over once more')


def test_there_and_back():
    """What was lost to a node that dies, too, comes home."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        world = World(lab, Hung(), callees, caller, 1, os.path.join(CFG, 'come_back.cfg'))
        world.others, world.deeds = 'b', ('cancel', 'answer', 'busy')
        world.ring()
        world.away()
        world.back()
        kill_new_owner(world.cluster, world.cases)
        world.mended = time.monotonic()
        world.end(world.cases)
        for case in world.cases:
            wrong = case.wrong(fight=False)
            assert not wrong, f'{wrong}\n{lab.trace.show(case.call_id)}'
