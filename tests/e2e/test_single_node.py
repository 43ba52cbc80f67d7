"""One node, no Redis: kamsyncd keeps the records in its own memory, so ringing calls outlive a restart of Kamailio."""
import pytest

from lab.cluster import Cluster
from lab.owner_gone import ROUTING, on_invite
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import LabError, wait_until

SHAPES = ('one', 'fork3', 'serial')


class Phones:
    def __init__(self, lab, callees, caller):
        self.callees, self.caller = callees, caller
        self.cluster = Cluster(lab, nodes=['a'], store='memory://', redis=False, routing=ROUTING)

    def ring(self, name, shape):
        call = self.caller.call(f'{name}@lab', f'{shape}-{name}')
        count = 3 if shape == 'fork3' else 1
        wait_until(lambda: len(self.ringing(call)) == count, 5, 'phones that ring')
        call.wait(180)
        return call

    def ringing(self, call):
        return [leg for leg in self.callees.legs(call.call_id) if 0 < leg.code < 200]

    def restart(self, *calls):
        """kamsyncd has heard of these calls, Kamailio dies and starts again, and kamsyncd is connected to it."""
        node = self.cluster['a']
        node.wait_recorded(self.callees, *(call.call_id for call in calls))
        node.kamailio.kill()
        node.start_kamailio()
        wait_until(lambda: 'restarted' in node.log(), 10, 'kamsyncd and the new Kamailio know each other')

    def check_ended(self, call):
        legs = self.callees.legs(call.call_id)
        try:
            wait_until(lambda: all(leg.settled for leg in legs), 5, 'all phones at rest')
        except LabError:
            pytest.fail(f'a phone of {call.call_id} rings on, or waits for an ACK')
        assert set(self.callees.rings(call.call_id).values()) == {1}, 'a phone rang a second time'


@pytest.fixture
def phones(lab):
    lab.steer(to('a'))
    with Callees(lab, on_invite=on_invite) as callees, Caller(lab) as caller:
        the_phones = Phones(lab, callees, caller)
        yield the_phones
        callees.check()
        caller.check()
        the_phones.cluster.stop()


def test_ringing_calls_outlive_kamailio(phones):
    """CANCEL, an answer and a rejection after the restart do what they do without one."""
    calls = {(what, shape): phones.ring(f'{what}-{shape}', shape) for what in ('cancel', 'answer', 'busy')
             for shape in SHAPES}
    phones.restart(*calls.values())
    for (what, _), call in calls.items():
        if what == 'cancel':
            call.cancel()
        elif what == 'answer':
            phones.ringing(call)[-1].answer()
        else:
            for leg in phones.ringing(call):
                leg.reject(486)
    for (what, _), call in calls.items():
        call.wait({'cancel': 487, 'answer': 200, 'busy': 486}[what])
        if what == 'cancel':
            wait_until(lambda asking=call.cancelling: asking.code == 200, 5, '200 to CANCEL')
        phones.check_ended(call)
        if what == 'answer':
            bye = call.bye()
            wait_until(lambda asking=bye: asking.code == 200, 5, '200 to BYE')


def test_while_kamailio_is_down(phones):
    """The messages come while nobody listens: they come again, and find what they look for."""
    cancelled, answered = phones.ring('down-cancel', 'one'), phones.ring('down-answer', 'fork3')
    node = phones.cluster['a']
    node.wait_recorded(phones.callees, cancelled.call_id, answered.call_id)
    node.kamailio.kill()
    cancelling = cancelled.cancel()
    phones.ringing(answered)[0].answer()
    node.start_kamailio()
    cancelled.wait(487, 10)
    wait_until(lambda: cancelling.code == 200, 5, '200 to CANCEL')
    answered.wait(200, 10)
    for call in (cancelled, answered):
        phones.check_ended(call)


def test_calls_after_the_restart(phones):
    """A restart leaves nothing behind that hinders new calls."""
    phones.restart()
    call = phones.ring('after', 'one')
    phones.ringing(call)[0].answer()
    call.wait(200)
    phones.check_ended(call)
