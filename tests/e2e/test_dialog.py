"""Policy "owner" with the real dialog module: requests within a call go to the node that has its dialog."""
import itertools
import re
import time

import pytest

from lab.cluster import CFG, Node
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.talking import Talk, steer_split

DIALOG = f'{CFG}/dialog.cfg'
CONFIRMED, OVER = '4', '5'       # states of the dialog module
_numbers = itertools.count(1)


class DialogNode(Node):
    def start_kamailio(self):
        self.cluster.defines = {'KAMSYNC_DIALOG_OWNER': None, 'CTL': f'"unixs:{self.directory}/ctl"'}
        super().start_kamailio()

    def dialogs(self):
        """{Call-ID: state}"""
        text = self.lab.run(self.name, ['kamcmd', '-s', f'unixs:{self.directory}/ctl', 'dlg.list']).stdout
        return dict(re.findall(r'call-id: (\S+).*?\n\s*state: (\d)', text, re.S))

    def accounted(self, call, method='BYE'):
        """The lines that acc wrote about it."""
        return [line for line in self.kamailio.log().splitlines()
                if 'ACC: ' in line and f'method={method};' in line and f'call_id={call.call_id};' in line]


class Dialogs(Talk):
    def __init__(self, **options):
        super().__init__(node_class=DialogNode, routing=DIALOG, modules=DIALOG, **options)

    def accounted(self, call, method='BYE'):
        return [name for name, node in self.cluster.node.items() for _ in node.accounted(call, method)]

    def dialogs(self, call):
        """{node: state} of the dialogs that are not over yet."""
        states = {name: node.dialogs().get(call.call_id, OVER) for name, node in self.cluster.node.items()
                  if node.kamailio.running}
        return {name: state for name, state in states.items() if state != OVER}


@pytest.fixture(scope='module')
def talk():
    with Dialogs() as the_talk:
        yield the_talk
        the_talk.check()


@pytest.fixture
def call(talk):
    call = talk.place(f'dialog-{next(_numbers)}')
    wait_until(lambda: talk.dialogs(call) == {'a': CONFIRMED}, 5, 'its dialog')
    return call


def over(talk, call, by, node='a'):
    """The dialog is gone, accounted for once, and the archive has the call once."""
    assert talk.wait_ended(call)['by'] == by
    wait_until(lambda: not talk.dialogs(call), 5, 'no dialog left')
    wait_until(lambda: talk.accounted(call), 5, 'the BYE accounted for')
    assert talk.accounted(call) == [node] and talk.cdrs(call) == 1


def test_bye_elsewhere(talk, call):
    assert talk.request(call, 'BYE', 'b') == 200
    over(talk, call, 'caller')
    assert len(talk.seen(call, 'BYE')) == 1
    assert 'srvid=1' in talk.seen(call, 'BYE')[0].text    # a has sent it
    wait_until(lambda: not talk.cluster['a'].dialogs(), 10, 'an empty dlg.list')


def test_bye_of_the_callee_elsewhere(talk, call):
    talk.lab.steer(to('c'))
    assert talk.answer(talk.leg(call).bye()) == 200 and call.byes == 1
    over(talk, call, 'callee')


def test_bye_at_the_owner(talk, call):
    assert talk.request(call, 'BYE', 'a') == 200
    over(talk, call, 'caller')


def test_bye_from_both_sides(talk, call):
    steer_split(talk, 'b', 'c')
    byes = call.bye(), talk.leg(call).bye()
    assert {talk.answer(bye) for bye in byes} <= {200, 481}
    talk.wait_ended(call)
    wait_until(lambda: not talk.dialogs(call), 5, 'no dialog left')
    assert talk.cdrs(call) == 1


@pytest.mark.parametrize('method', ['INVITE', 'UPDATE', 'INFO', 'REFER'])
def test_other_requests_elsewhere(talk, call, method):
    assert talk.request(call, method, 'b') == 200
    (msg,) = talk.seen(call, method)
    assert 'srvid=1' in msg.text
    assert talk.dialogs(call) == {'a': CONFIRMED}
    assert talk.request(call, 'BYE', 'c') == 200
    over(talk, call, 'caller')


def test_ack_elsewhere(talk):
    """The dialog must see it, else it ends the call after a minute (noack_timeout)."""
    talk.lab.steer(by_kind({'ACK': 'b'}, default='a'))
    call = talk.caller.call('ack-elsewhere@lab', 'one')
    call.wait(200)
    wait_until(lambda: talk.leg(call).acked, 5, 'ACK')
    wait_until(lambda: talk.dialogs(call) == {'a': CONFIRMED}, 10, 'ACK in the dialog')
    assert talk.request(call, 'BYE', 'b') == 200
    over(talk, call, 'caller')


def test_dialog_that_times_out(talk):
    """Kamailio itself ends the call after two seconds, with BYEs to both, and for kamsync.

    Its dialog timer counts whole seconds (get_ticks()), so two of them can be over after little more than one.
    """
    call = talk.place('timeout', dial='short')
    # dialog sends both from its timer's process: a 200 to the first before the second is sent, and that is not sent any more
    talk.caller.bye_takes = 0.02
    talk.lab.steer(to('b'))          # where their 200s go, too
    record = talk.wait_ended(call)
    assert record['by'] == 'kamailio' and 900 < record['duration_ms'] < 4500
    wait_until(lambda: call.byes and talk.leg(call).ended, 5, 'BYE to both')
    answered = time.monotonic()
    wait_until(lambda: not talk.dialogs(call), 8, 'no dialog left')
    assert talk.cdrs(call) == 1
    # their 200s have found the way from b to a: else the BYEs would come again
    wait_until(lambda: time.monotonic() - answered > 1.2, 3, 'time for a BYE to come again')
    assert call.byes == 1 and len(talk.seen(call, 'BYE')) == 1


def test_owner_killed():
    """Nobody has the dialog any more: the requests go on from where they come in, and the call ends."""
    with Dialogs() as talk:
        calls = [talk.place(f'killed-{number}') for number in range(2)]
        ringing = talk.place('ringing', dial='ring')
        talk.cluster['a'].wait_recorded(talk.callees, ringing.call_id)
        talk.cluster['a'].kamailio.kill()
        assert talk.request(calls[0], 'INVITE', 'b') == 200
        assert talk.request(calls[0], 'BYE', 'b') == 200
        talk.lab.steer(to('c'))
        assert talk.answer(talk.leg(calls[1]).bye()) == 200
        for call, by, node in zip(calls, ('caller', 'callee'), 'bc'):
            over(talk, call, by, node)
        # the call that rang is taken over, with a dialog of its own on the survivor
        talk.lab.steer(to('b'))
        talk.leg(ringing).ring()
        wait_until(lambda: talk.record(ringing)['node'] in (2, 3), 10, 'another node has it')
        node = 'abc'[talk.record(ringing)['node'] - 1]
        other = 'b' if node == 'c' else 'c'
        talk.lab.steer(to(node))
        talk.leg(ringing).answer()
        ringing.wait(200)
        wait_until(lambda: talk.record(ringing)['state'] == 'answered', 5, 'answered')
        wait_until(lambda: talk.dialogs(ringing) == {node: CONFIRMED}, 5, 'a dialog')
        assert talk.request(ringing, 'BYE', other) == 200
        over(talk, ringing, 'caller', node)
        talk.check()
