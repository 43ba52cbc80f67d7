"""The caller's INVITE comes again, at another living node: one call all the same, with nothing set for it.

b's kamsyncd learns within milliseconds that it is the second: its Kamailio forgets the transaction without a word, so that nobody
hears a 408 of it half a minute later, and a phone that only b has called is cancelled.
"""
import os
import signal
import time

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import wait_until

FR_TIMER_S = 32      # longer than tm's fr_timer (30 s), after which b said 408
QUIET_S = 1.7        # b would have sent the INVITE again after 0.5 and 1.5 s


class Desk:
    """A cluster, phones, and who gets which packet: {Call-ID: {kind: node}}; an INVITE goes to a, and again to b."""

    def __init__(self, lab, **options):
        self.lab, self.ways = lab, {}
        self.cluster = Cluster(lab, **options)
        lab.steer(self.way)
        self.callees, self.caller = Callees(lab), Caller(lab)

    def way(self, packet):
        ways = self.ways.get(packet.call_id, {})
        if packet.kind == 'INVITE':
            return 'b' if packet.occurrence and packet.side == 'caller' else 'a'
        return ways.get((packet.kind, packet.port), ways.get(packet.kind, ways.get('default', 'a')))

    def call(self, name, dial='one', **ways):
        """It rings at a."""
        call_id = f'{name}@lab'
        self.ways[call_id] = {'default': ways.pop('default', 'a'), **{k.lstrip('_'): v for k, v in ways.items()}}
        call = self.caller.call(call_id, dial)
        call.wait(180)
        self.cluster['a'].wait_recorded(self.callees, call_id)
        return call

    def again(self, call):
        """The same INVITE."""
        with self.caller.lock:
            call._send('INVITE', call.uri, call.branch, more=call.more)

    def seconds(self):
        return self.cluster['b'].counters()['txns_second']

    def twice(self, name, *args, **options):
        call, before = self.call(name, *args, **options), self.seconds()
        self.again(call)
        wait_until(lambda: self.seconds() > before, 5, 'b knows that it is the second')
        return call

    def leg(self, call, port=5060):
        return self.callees.legs(call.call_id, port)[0]

    def live(self):
        return {name: node.ask_all('calls')['total'] for name, node in self.cluster.node.items()}

    def archive(self):
        """{Call-ID: [how]}"""
        found = {}
        for entry in self.cluster.store.archive():
            found.setdefault(entry['call_id'], []).append(entry['how'])
        return found

    def expect_archive(self, **hows):
        wanted = {f'{name.replace("_", "-")}@lab': [how] for name, how in hows.items()}
        wait_until(lambda: wanted.items() <= self.archive().items(), 5, lambda: f'{wanted}, is {self.archive()}')

    def close(self):
        self.callees.check()
        self.caller.check()
        self.callees.close()
        self.caller.close()
        self.cluster.stop()
        self.lab.check()


@pytest.fixture(scope='module')
def desk():
    with Lab() as lab:
        the_desk = Desk(lab)
        yield the_desk
        the_desk.close()


@pytest.fixture(scope='module')
def two_gateways():
    with Lab() as lab:
        the_desk = Desk(lab, routing=os.path.join(CFG, 'claims.cfg'))
        yield the_desk
        the_desk.close()


def expect_one_phone(desk, call):
    assert desk.callees.rings(call.call_id) == {5060: 1}


@pytest.mark.parametrize('replies', 'abc')
@pytest.mark.parametrize('cancel', 'abc')
def test_cancel(desk, replies, cancel):
    call = desk.twice(f'cancel-{cancel}-{replies}', default=replies, CANCEL=cancel)
    call.cancel()
    call.wait(487)
    wait_until(lambda: call.cancelling.code == 200 and desk.leg(call).settled, 5, 'the phone is cancelled')
    expect_one_phone(desk, call)
    desk.expect_archive(**{f'cancel_{cancel}_{replies}': 'cancelled'})
    assert {code for code in call.codes() if code >= 200} == {487}, call.codes()


@pytest.mark.parametrize('replies', 'abc')
def test_answer_and_bye(desk, replies):
    call = desk.twice(f'answer-{replies}', default=replies)
    desk.leg(call).answer()
    call.wait(200)
    wait_until(lambda: desk.leg(call).acked, 5, 'the ACK')
    bye = call.bye()
    wait_until(lambda: bye.code == 200, 5, 'the 200 to the BYE')
    assert desk.leg(call).cancels == 0 and call.final.code == 200
    desk.expect_archive(**{f'answer_{replies}': 'completed'})


@pytest.mark.parametrize('replies', 'abc')
def test_rejected(desk, replies):
    call = desk.twice(f'busy-{replies}', default=replies)
    desk.leg(call).reject(486)
    call.wait(486)
    wait_until(lambda: desk.leg(call).settled, 5, 'the ACK')
    desk.expect_archive(**{f'busy_{replies}': 'rejected'})


@pytest.mark.parametrize('replies', 'ac')
def test_nothing_more_is_said(desk, replies):
    """Rings on and talks on for longer than any timer of b's: no 408, no CANCEL, no INVITE; and nothing is left behind."""
    rings = desk.twice(f'rings-{replies}', default=replies)
    talks = desk.twice(f'talks-{replies}', default=replies)
    desk.leg(talks).answer()
    talks.wait(200)
    wait_until(lambda: desk.leg(talks).acked, 5, 'the ACK')
    invites = desk.leg(rings).invites, desk.leg(talks).invites
    time.sleep(FR_TIMER_S)    # what must not happen
    assert (desk.leg(rings).invites, desk.leg(talks).invites) == invites
    assert max(rings.codes()) < 200 and set(talks.codes()) <= {100, 180, 200}
    assert desk.leg(rings).cancels == desk.leg(talks).cancels == 0
    rings.cancel()
    bye = talks.bye()
    rings.wait(487)
    wait_until(lambda: bye.code == 200, 5, 'the 200 to the BYE')
    desk.expect_archive(**{f'rings_{replies}': 'cancelled', f'talks_{replies}': 'completed'})
    wait_until(lambda: set(desk.live().values()) == {0}, 5, lambda: f'no call is shown: {desk.live()}')


@pytest.mark.parametrize('replies', 'abc')
def test_another_gateway(two_gateways, replies):
    """b has called another phone: that one is cancelled, and the good call knows nothing of it, wherever its replies go."""
    desk = two_gateways
    call = desk.twice(f'elsewhere-{replies}', default=replies)
    second = wait_until(lambda: desk.callees.legs(call.call_id, 5062), 5, 'the second phone')[0]
    wait_until(lambda: second.settled, 5, 'the second phone is cancelled')
    assert second.code == 487
    time.sleep(QUIET_S)       # what must not happen
    assert desk.leg(call).code == 180 and not desk.leg(call).cancels and max(call.codes()) < 200
    assert second.cancels == 1 and second.invites == 1
    desk.leg(call).answer()
    call.wait(200)
    wait_until(lambda: desk.leg(call).acked, 5, 'the ACK')
    bye = call.bye()
    wait_until(lambda: bye.code == 200 and desk.leg(call).ended, 5, 'the BYE')
    desk.expect_archive(**{f'elsewhere_{replies}': 'completed'})


@pytest.mark.parametrize('replies', 'abc')
def test_another_gateway_answers_or_refuses(two_gateways, replies):
    """The second phone says 486 by itself, just when b has learnt: not the good call's answer."""
    desk = two_gateways
    call = desk.call(f'refuses-{replies}', default=replies)
    desk.again(call)
    second = wait_until(lambda: desk.callees.legs(call.call_id, 5062), 5, 'the second phone')[0]
    wait_until(lambda: second.cancels, 5, 'the CANCEL')
    wait_until(lambda: second.settled, 5, 'the ACK')
    call.cancel()
    call.wait(487)
    wait_until(lambda: desk.leg(call).settled, 5, 'the good call is cancelled')
    desk.expect_archive(**{f'refuses_{replies}': 'cancelled'})


class Asleep:
    """b's kamsyncd, which hears of the INVITE only afterwards: what its Kamailio did meanwhile must come to a."""

    def __init__(self, desk):
        self.kamsyncd = desk.cluster['b'].kamsyncd

    def __enter__(self):
        self.kamsyncd.signal(signal.SIGSTOP)

    def __exit__(self, *_):
        self.kamsyncd.signal(signal.SIGCONT)


def wait_over(desk, call):
    """a's transaction has ended, too: its record says so, or has ended its life."""
    def is_over():
        return all(txn['done'] for txn in desk.cluster['a'].ask('tx', call_id=call.call_id)['txns'])
    wait_until(is_over, 10, lambda: f"it is over: {desk.cluster['a'].ask('tx', call_id=call.call_id)}")


@pytest.mark.parametrize('dial, ports', [('one', (5060,)), ('fork3-x', (5060, 5062, 5064))])
def test_cancel_that_the_second_acted_upon(desk, dial, ports):
    call = desk.call(f'cancel-early-{dial}', dial, CANCEL='b', _487='b')
    with Asleep(desk):
        desk.ways[call.call_id]['180'] = 'b'
        rang = call.codes().count(180)
        desk.again(call)
        # or more often: b sends the INVITE again if the phone is slow
        wait_until(lambda: call.codes().count(180) >= rang + len(ports), 5, 'it rings at b, too')
        call.cancel()
        call.wait(487)
    wait_until(lambda: all(desk.leg(call, port).settled for port in ports), 10, 'all are cancelled')
    wait_over(desk, call)
    desk.expect_archive(**{f'cancel_early_{dial.replace("-", "_")}': 'cancelled'})


@pytest.mark.parametrize('code, how', [(486, 'rejected'), (200, 'completed')])
def test_final_reply_that_came_to_the_second(desk, code, how):
    call = desk.call(f'final-early-{code}', **{f'_{code}': 'b'})
    with Asleep(desk):
        desk.again(call)
        wait_until(lambda: desk.leg(call).invites == 2, 5, 'the INVITE of b')
        desk.leg(call).say(code)
        call.wait(code)
        wait_until(lambda: desk.leg(call).acked, 5, 'the ACK')
    wait_over(desk, call)
    if code == 200:
        bye = call.bye()
        wait_until(lambda: bye.code == 200, 5, 'the BYE')
    assert call.final.code == code
    desk.expect_archive(**{f'final_early_{code}': how})
