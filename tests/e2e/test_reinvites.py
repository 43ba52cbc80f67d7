"""Every message of three re-INVITEs of a call, one accepted, one rejected, one cancelled, to every node: the caller and the far end
must see what they see on one node, as in test_combinations.py.

Each step waits until the far end has the ACK of the one before: that and the INVITE behind it may be at two nodes, and cross.
"""
import time
from collections import Counter

import pytest

from lab.cluster import Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller, Leg
from lab.policies import by_call, combination_of, combinations, to
from lab.proc import LabError, wait_until

pytestmark = pytest.mark.alone('80 calls a second, of which nothing may be sent twice')

KINDS = ['INVITE', '486', 'CANCEL', '487', 'ACK']
WISHES = {'answer': 200, 'reject': 486, 'ring': 487}    # what X-Lab says, and what the caller gets
REFUSED = (3, 4)        # CSeq of the last two
RATE = 80
ROUND_TRIP_S = 0.005    # before the 200 to a CANCEL and the 487 (cfg/scenarios/gateway.xml says why)


class Phone(Callees):
    def __init__(self, lab):
        super().__init__(lab, ports=(5060,), on_invite=self._on_first)
        self.on_reinvite = lambda leg: getattr(Leg, leg.invite['x-lab'])(leg)

    def _on_first(self, leg):
        leg.ring()
        self.after(0.1, leg.answer)    # its 180 and 200 are not read at once, by two processes

    def _on_cancel(self, port, msg):
        self.after(ROUND_TRIP_S, self._reply, port, msg, 200)
        self.after(3 * ROUND_TRIP_S, self._by_branch[port, msg.branch].say, 487)


def talk(call, phone):
    """The steps of a call: yields what it waits for."""
    yield lambda: call.got(200) and phone.legs(call.call_id)[0].acked
    for count, (wish, code) in enumerate(WISHES.items(), 1):
        asking = call.within('INVITE', headers=(('X-Lab', wish),))
        if wish == 'ring':
            yield lambda: asking.provisional == 180
            cancelling = call.cancel_reinvite()
            yield lambda: cancelling.code == 200
        yield lambda: asking.code == code and len(phone.again(call.call_id)) == count and phone.again(call.call_id)[-1].acked
    bye = call.bye()
    yield lambda: bye.code == 200


def play(phone, caller, count):
    """So many calls; returns their Call-IDs when all have ended."""
    began, call_ids, waiting = time.monotonic(), [f'reinvite-{number}@lab' for number in range(count)], {}

    def go_on():
        """One more step of each call that has what it waits for; and a new one, if it is time for that."""
        placed = len(waiting)
        if placed < count and time.monotonic() >= began + placed / RATE:
            steps = talk(caller.call(call_ids[placed], 'one'), phone)
            waiting[call_ids[placed]] = steps, next(steps)
        for call_id, (steps, condition) in list(waiting.items()):
            if condition and condition():
                waiting[call_id] = steps, next(steps, None)
        return len(waiting) == count and not any(condition for _, condition in waiting.values())
    wait_until(go_on, 30 + count / RATE, lambda: f'the end of {[c for c, (_, wants) in waiting.items() if wants]}', every=0.002)
    return call_ids


def views(lab, call_id):
    """How often the caller and the far end have got each message. An ACK to a rejection reaches the far end twice if it went to
    another node (proto/messages.md says why), with the branch of the re-INVITE, so that a server transaction absorbs it."""
    seen = {'caller': Counter(), 'gateway': Counter()}
    for packet in lab.trace.of(call_id):
        if not (packet.outgoing or may_repeat(packet)):
            seen[packet.side][f'{packet.kind}/{packet.cseq_method}'] += 1
    return seen


def may_repeat(packet):
    return (packet.dup and not packet.outgoing and packet.side == 'gateway' and packet.kind == 'ACK' and packet.cseq in REFUSED
            and packet.branch.startswith('z9hG4bK'))


@pytest.fixture(scope='module')
def on_one_node():
    """The view of it, as measured on a single plain Kamailio."""
    with Lab() as lab, Phone(lab) as phone, Caller(lab) as caller:
        Cluster(lab, kamsync=False, log_level=0)
        lab.steer(to('a'))
        [call_id] = play(phone, caller, 1)
        assert not lab.trace.repeated()
        return views(lab, call_id)


def test_seen_as_on_one_node(lab, on_one_node):
    cluster, table = Cluster(lab, log_level=0), combinations(KINDS)
    lab.steer(by_call(table))
    with Phone(lab) as phone, Caller(lab) as caller:
        call_ids = play(phone, caller, len(table))

        def different():
            return [call_id for call_id in call_ids if views(lab, call_id) != on_one_node]
        try:
            wait_until(lambda: not different(), 5, 'the last packets')
        except LabError:
            call_id = different()[0]
            pytest.fail(f'{len(different())} of {len(table)} differ, such as {combination_of(call_id, table)}:\n'
                        f'{lab.trace.show(call_id)}\n on one node: {on_one_node}')
        repeated = [packet for packet in lab.trace.repeated() if not may_repeat(packet)]
        assert not repeated, lab.trace.show(repeated[0].call_id)
        phone.check()
        caller.check()
    cluster.stop()
