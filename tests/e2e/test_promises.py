"""What an owner had begun when it died: a CANCEL that it had accepted, an ACK that got lost, the end of branches that nobody
needs any more, a final reply that did not arrive."""
import pytest

from lab.accidents import LARGE
from lab.cluster import CFG, Cluster
from lab.phone import Callees
from lab.policies import to
from lab.proc import each, wait_until

ROUTING = f'{CFG}/owner_gone.cfg'


class Deaf(Callees):
    """Phones that do not hear the methods of `lost`, as if the network had lost them."""
    lost = ()

    def received(self, port, msg):
        if msg.code or msg.method not in self.lost:
            super().received(port, msg)


@pytest.fixture
def callees(lab):
    with Deaf(lab) as the_callees:
        yield the_callees


def ring(cluster, callees, call, phones):
    wait_until(lambda: len(callees.legs(call.call_id)) == phones and call.got(180), 10, 'all ring')
    cluster['a'].wait_recorded(callees, call.call_id)
    return callees.legs(call.call_id)


def cancel_in_vain(cluster, callees, call):
    """The owner accepts it, but what it sends gets lost. The caller sends it no more, since he has his 200."""
    callees.lost = ('CANCEL',)
    asking = call.cancel()
    wait_until(lambda: asking.code == 200, 3, '200 to CANCEL')
    wait_until(lambda: each(cluster.records().values(), lambda r: r.get('cancelled')), 10, 'its record says so')


def die(lab, cluster, callees):
    cluster['a'].kamailio.kill()
    lab.steer(to('b'))
    callees.lost = ()


def wait_over(cluster):
    wait_until(lambda: each(cluster.records().values(), lambda r: r['done']), 5, 'its record says that it is over')


def archive(cluster):
    """[(how, code)]"""
    entries = wait_until(cluster.store.archive, 5, 'an entry in the archive')
    return [(entry['how'], entry['code']) for entry in entries]


@pytest.mark.parametrize('options', [{}, {'defines': LARGE}, {'takeover': 0}], ids=['small', 'large', 'no-takeover'])
@pytest.mark.parametrize('dial, phones', [('one', 1), ('fork3', 3)])
def test_cancel_that_was_accepted(lab, callees, caller, dial, phones, options):
    cluster = Cluster(lab, nodes='ab', routing=ROUTING, **options)
    lab.steer(to('a'))
    call = caller.call('promise@lab', dial)
    legs = ring(cluster, callees, call, phones)
    cancel_in_vain(cluster, callees, call)
    die(lab, cluster, callees)
    call.wait(487)
    wait_until(lambda: all(leg.settled for leg in legs), 3, 'no phone rings')
    assert [leg.code for leg in legs] == [487] * phones
    assert {code for code in call.codes() if code >= 200} == {487}
    assert archive(cluster) == [('cancelled', '487')]


@pytest.mark.parametrize('options', [{}, {'takeover': 0}], ids=['takeover', 'no-takeover'])
def test_fork_that_was_answered(lab, callees, caller, options):
    """The other phones are not cancelled before the owner dies."""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING, **options)
    lab.steer(to('a'))
    call = caller.call('answered@lab', 'fork3')
    legs = ring(cluster, callees, call, 3)
    callees.lost = ('CANCEL',)
    legs[1].answer()
    call.wait(200)
    wait_over(cluster)
    die(lab, cluster, callees)
    wait_until(lambda: all(leg.settled for leg in legs), 5, 'nobody rings')
    assert [leg.code for leg in legs] == [487, 200, 487]
    assert {code for code in call.codes() if code >= 200} == {200}


@pytest.mark.parametrize('options', [{}, {'takeover': 0}], ids=['takeover', 'no-takeover'])
def test_phone_that_was_given_up(lab, callees, caller, options):
    """It rang too long, the caller has his 408, but the CANCEL got lost."""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING, **options)
    lab.steer(to('a'))
    call = caller.call('given-up@lab', 'one-timer')
    leg, = ring(cluster, callees, call, 1)
    callees.lost = ('CANCEL',)
    call.wait(408, 8)
    wait_over(cluster)
    die(lab, cluster, callees)
    wait_until(lambda: leg.settled, 5, 'it does not ring')
    assert leg.code == 487
    assert {code for code in call.codes() if code >= 200} == {408}
    assert archive(cluster) == [('timed out', '408')]


@pytest.mark.parametrize('options', [{}, {'takeover': 0}], ids=['takeover', 'no-takeover'])
@pytest.mark.parametrize('code', [302, 486, 487])
def test_final_reply_that_got_lost(lab, callees, caller, code, options):
    """The caller rings on until he hears it; the owner would have repeated it. (487: he has cancelled.)"""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING, **options)
    lab.steer(to('a'))
    call = caller.call('unheard@lab', 'one')
    leg, = ring(cluster, callees, call, 1)
    call.deaf = True
    leg.headers = (('Contact', '<sip:elsewhere@198.51.100.99>'),) if code == 302 else ()
    if code == 487:
        call.cancel()
    else:
        leg.reject(code)
    wait_over(cluster)
    cluster['a'].kamailio.kill()
    lab.steer(to('b'))
    call.deaf = False
    call.wait(code)
    assert call.final['contact'] == (leg.headers[0][1] if code == 302 else '')
    assert leg.invites == 1 and leg.settled
    if code != 302:                   # whose caller may come again: its entry waits for that
        assert archive(cluster) == [('cancelled' if code == 487 else 'rejected', str(code))]


def test_cancel_of_a_phone_that_is_silent(lab, callees, caller):
    """It says nothing of the INVITE that is sent again, and rings on until it is cancelled."""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING)
    lab.steer(to('a'))
    call = caller.call('silent@lab', 'one')
    leg, = ring(cluster, callees, call, 1)
    cancel_in_vain(cluster, callees, call)
    leg.manner = 'silence'
    die(lab, cluster, callees)
    call.wait(487, 8)
    wait_until(lambda: leg.settled, 3, 'ACK')


def test_ack_that_got_lost(lab, callees, caller):
    """One phone of a fork has refused; it repeats that until it has its ACK."""
    cluster = Cluster(lab, nodes='ab', routing=ROUTING)
    lab.steer(to('a'))
    call = caller.call('ack@lab', 'fork3')
    legs = ring(cluster, callees, call, 3)
    callees.lost = ('ACK',)
    legs[1].reject(486)
    cluster['a'].wait_recorded(callees, call.call_id)
    die(lab, cluster, callees)
    wait_until(lambda: legs[1].acked, 8, 'ACK')
    legs[0].answer()
    call.wait(200)
    wait_until(lambda: all(leg.settled for leg in legs), 5, 'nobody rings')
    assert [leg.code for leg in legs] == [200, 486, 487]
