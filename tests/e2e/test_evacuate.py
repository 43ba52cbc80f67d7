"""kamsyncctl drain --evacuate: the ringing calls of a node go to the others, and its Kamailio is stopped at once.

Everyone sends only what nobody had to send twice: a caller who repeats his INVITE, CANCEL or BYE has missed an answer.
By hand, with as many calls as are wanted:

    KAMSYNC_EVACUATE=1000 KAMSYNC_RATE=200 pytest -s tests/e2e/test_evacuate.py -k empty
"""
import contextlib
import json
import os
import re
import time

import pytest

from lab.cluster import Cluster
from lab.owner_gone import ROUTING, on_invite
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import each, wait_until
from lab.rawsip import Peer, Request
from lab.sipp import Gateway

COUNT = int(os.environ.get('KAMSYNC_EVACUATE', 90))  # calls that ring when their node is emptied
RATE = int(os.environ.get('KAMSYNC_RATE', 20))       # new calls a second at the other nodes
PACE = 300           # calls that begin, or end, in a second
PATIENCE = 20 + COUNT / 20
SHAPES = ('one', 'fork3', 'serial')
ENDS = {'cancel': 487, 'answer': 200, 'reject': 486}


def paced(things):
    """As people do things: not all in one moment."""
    began = time.monotonic()
    for number, thing in enumerate(things):
        time.sleep(max(0, began + number / PACE - time.monotonic()))
        yield thing


def on_any_invite(leg):
    on_invite(leg)
    if 'load' in leg.invite.user:
        leg.answer()


class Load:
    """New calls at a steady pace from now on, each answered at once, and hung up when that is heard."""

    def __init__(self, caller):
        self.caller, self.calls, self.byes, self.goes_on = caller, [], {}, True
        with caller.lock:
            self._next()

    def _next(self):
        for call in self.calls[-2 * RATE:]:
            if call.got(200) and call.call_id not in self.byes:
                self.byes[call.call_id] = call.bye()
        if self.goes_on:
            self.calls.append(self.caller.call(f'load-{len(self.calls)}-{self.caller.port}@lab', 'one-load'))
        if self.goes_on or len(self.byes) < len(self.calls):
            self.caller.after(1 / RATE, self._next)

    def stop_and_check(self):
        self.goes_on = False
        wait_until(lambda: len(self.byes) == len(self.calls) and each(list(self.byes.values()), lambda bye: bye.code), 10,
                   'the end of all new calls')
        assert each(self.byes.values(), lambda bye: (bye.code, bye.tries_needed) == (200, 1))
        assert each(self.calls, lambda call: call.invites == 1)


class Desk:
    def __init__(self, lab, **options):
        self.lab = lab
        self.cluster = Cluster(lab, routing=ROUTING, log_level=0, **options)
        self.callees, self.caller, self.other = Callees(lab, on_invite=on_any_invite), Caller(lab), Caller(lab, 17062)

    def close(self):
        for phone in (self.callees, self.caller, self.other):
            phone.close()

    def check(self):
        for phone in (self.callees, self.caller, self.other):
            phone.check()
        self.cluster.stop()

    def all_at(self, node):
        for side in ('caller', 'gateway'):
            self.lab.route(side, node)

    # --- calls

    def ring(self, count, name):
        """That many calls, which ring; by how each is to end."""
        calls = []
        for number in paced(range(count)):
            shape = SHAPES[number // len(ENDS) % len(SHAPES)]
            calls.append((list(ENDS)[number % len(ENDS)], self.caller.call(f'{name}-{number}@lab', f'{shape}-{name}')))
        wait_until(lambda: all(call.got(180) for _, call in calls), PATIENCE, 'calls that ring')
        return calls

    def pending(self, call):
        return [leg for leg in self.callees.legs(call.call_id) if 0 < leg.code < 200]

    def end(self, calls):
        for what, call in paced(calls):
            if what == 'cancel':
                call.cancel()
            elif what == 'answer':
                self.pending(call)[-1].answer()
            else:
                for leg in self.pending(call):
                    leg.reject(486)

    def check_ended(self, calls):
        wait_until(lambda: all(call.final and call.final.code >= 200 for _, call in calls), PATIENCE, 'final replies')
        assert {call.call_id: call.final.code for what, call in calls if call.final.code != ENDS[what]} == {}
        legs = [leg for _, call in calls for leg in self.callees.legs(call.call_id)]
        wait_until(lambda: each(legs, lambda leg: leg.settled), PATIENCE,
                   'phones at rest')
        assert each((call for _, call in calls), lambda call: set(self.callees.rings(call.call_id).values()) == {1}), 'rang twice'
        assert each((call for _, call in calls), lambda call: call.invites == 1), 'a caller has repeated his INVITE'
        cancels = [call.cancelling for what, call in calls if what == 'cancel']
        assert [asking.tries_needed for asking in cancels if (asking.code, asking.tries_needed) != (200, 1)] == []

    # --- nodes

    def empty(self, node):
        """Drains the node; how long until nothing is left there."""
        began = time.monotonic()
        answer = self.cluster[node].ask('drain', evacuate=True)
        assert answer['ok'], answer
        wait_until(lambda: self.cluster[node].ask('evacuation')['left'] == 0, PATIENCE,
                   lambda: f'{node} to be empty: {self.cluster[node].ask("evacuation")}')
        return time.monotonic() - began

    def start_again(self, name):
        """Another Kamailio and another kamsyncd there, as after an upgrade, and all know of it."""
        node = self.cluster[name]
        node.stop_kamsyncd()
        node.start_kamailio()
        node.start_kamsyncd()
        inc = wait_until(lambda: re.search(r'Kamailio is node .*incarnation ([\d.]+)', node.log()), 10,
                         f'{name} and its new Kamailio know each other')[1]
        others = [self.cluster[other] for other in self.cluster.nodes if other != name]
        wait_until(lambda: all(f'up, incarnation {inc}' in other.log() for other in others)
                   and node.log().count('is up, incarnation') >= len(others), 10, f'all nodes and {name} know each other')
        assert node.ask('undrain')['ok']


@pytest.fixture
def desk(lab):
    with contextlib.closing(Desk(lab)) as the_desk:
        yield the_desk
        the_desk.check()


def test_a_node_is_empty_and_its_kamailio_is_stopped(desk):
    desk.all_at('a')
    calls = desk.ring(COUNT, 'moved')
    node = desk.cluster['a']
    node.wait_recorded(desk.callees, *(call.call_id for _, call in calls))
    desk.all_at('b')
    load = Load(desk.other)
    took = desk.empty('a')
    node.kamailio.stop()
    done = sum(desk.cluster[other].counters()['takeovers_done'] for other in 'bc')
    print(f'{COUNT} ringing calls, {RATE} new ones a second: empty after {took:.2f} s; {done} takeovers by b and c')
    assert all(call.final is None for _, call in calls), 'neither side has heard a word'
    assert done == COUNT == node.counters()['txns_given']
    desk.end(calls)
    desk.check_ended(calls)
    load.stop_and_check()


def test_rolling_upgrade(desk):
    """Each node in turn, under load: a call that began before the first one ends behind the last one."""
    desk.all_at('a')
    calls = desk.ring(COUNT // 3, 'old')
    load = Load(desk.other)
    for node, next_one in zip('abc', 'bca'):
        desk.all_at(next_one)
        desk.empty(node)
        desk.cluster[node].kamailio.stop()
        desk.start_again(node)
        calls += desk.ring(6, f'at-{next_one}')
    desk.end(calls)
    desk.check_ended(calls)
    load.stop_and_check()


def test_without_another_node_nothing_changes(desk):
    desk.all_at('a')
    calls = desk.ring(3, 'kept')
    for other in 'bc':
        desk.cluster[other].kamailio.kill()
    node = desk.cluster['a']
    wait_until(lambda: node.ask('status')['nodes'] == 0, 10, 'a is alone')
    answer = node.ask('drain', evacuate=True)
    assert not answer['ok'] and 'no other node of this version' in answer['error'] and not node.ask('status')['drained']
    desk.end(calls)
    desk.check_ended(calls)


def test_it_is_over_before_its_old_owner_is_told(lab):
    """What kamsyncd had given away was taken and ended while it was dead: tm still has it. The new record, which no longer has
    the INVITE, is written by hand. Afterwards tm takes the same INVITE, which it would have absorbed, for a new one."""
    Gateway(lab)
    cluster, peer, request = Cluster(lab, nodes='ab'), Peer(lab, 'caller', 15500), Request('over@lab')
    a = cluster['a']
    lab.steer(to('a'))
    peer.send(request.invite(peer))
    peer.expect('SIP/2.0 180')
    key = wait_until(lambda: [k for k, r in cluster.records().items() if r['state'] == 'ringing'], 5, 'its record')[0]
    a.kamsyncd.kill()
    a.start_kamsyncd()
    wait_until(lambda: 'Kamailio is node' in a.log(), 5, 'kamsyncd is back')
    wait_until(lambda: a.ask('status')['txns'] == 1, 5, 'what was not acknowledged has been told again')
    a.kamsyncd.kill()
    record = cluster.records()[key]
    head = {'epoch': record['epoch'] + 1, 'owner': 2, 'inc': re.findall(r'up, incarnation (\S+)', a.log())[-1],
            'from': f'{record["epoch"]} 1 {record["inc"]}', 'state': 'failed', 'code': 487, 'done': True}
    rest = {name: value for name, value in record.items() if name not in head and name != 'req'}
    cluster.store.do('SET', key, json.dumps({**head, **rest}, separators=(',', ':')))
    a.start_kamsyncd()
    wait_until(lambda: 'Kamailio is node' in a.log(), 5, 'kamsyncd is back')
    # In the record, or with its own write of what Kamailio has told it once more, whichever comes first.
    wait_until(lambda: 'tm forgets it here' in str(a.ask('trace', call_id=request.call_id)), 5, 'kamsyncd finds it')

    def is_new():
        peer.send(request.invite(peer))
        return sum(p.kind == 'INVITE' for p in lab.trace.at('gateway', request.call_id)) > 1
    wait_until(is_new, 10, 'tm has forgotten it (it remembers what it has let go for 5 s, wt_timer)', every=0.5)
    peer.close()
    cluster.stop()
