"""Calls to phones that are registered over TCP, TLS, WS and WSS, with the recipe kamailio-cfg/cookbook/connections.cfg: the phone's
connection is at node a, its calls come to b, and what follows to any node."""
import contextlib
import re
import signal

import pytest

from lab.cluster import CFG
from lab.connections import TRANSPORTS, ConnectedCallees, ConnectingNode, connected_cluster
from lab.lab import ANYCAST, Lab
from lab.phone import Caller, new_branch, request
from lab.policies import by_kind, to
from lab.proc import each, wait_until

PORT = 5080
USER = 'alice'
FORGETFUL = {'SOON_FORGOTTEN': None}
LONG = 15       # a 2xx comes again 3.5 and 7.5 s later, and a dead node is missed after some 3 s


class RegistrarNode(ConnectingNode):
    def start_kamailio(self):
        others = [node for node in self.cluster.nodes if node != self.name]
        uris = [f'"sip:{self.lab.address(node)}:5060"' for node in (self.name, others[0])]
        self.cluster.defines.update(zip(('DMQ_SELF', 'DMQ_OTHER'), uris))
        super().start_kamailio()

    def knows(self, user):
        """Has its registrar heard where the phone is?"""
        return self.kamcmd('ul.lookup', 'location', user).returncode == 0

    def has_forgotten(self):
        """Has its tm no transaction?"""
        return re.search(r'current: 0\b', self.kamcmd('tm.stats').stdout)


class Phone(ConnectedCallees):
    """Registers over its connection."""

    def __init__(self, lab, transport):
        super().__init__(lab, transport, (PORT,), side='caller')

    def reinvited(self, call):
        """Has it got the ACK to the caller's re-INVITE?"""
        return each(self._again.get(call.call_id, ()), lambda leg: leg.acked)

    def register(self):
        """With a Path of its own, which must lead nobody anywhere."""
        aor, branch = f'<sip:{USER}@{ANYCAST}>', new_branch()
        headers = [self.via(PORT, branch), ('From', f'{aor};tag=r'), ('To', aor), ('Call-ID', f'register-{self.transport}'),
                   ('CSeq', '1 REGISTER'), ('Max-Forwards', '70'), ('Contact', f'<{self.contact(USER, PORT)}>'), ('Expires', '600'),
                   ('Path', f'<sip:{self.ip}:5090;lr>')]
        asking = self.ask(PORT, 'REGISTER', branch, request('REGISTER', f'sip:{ANYCAST}', headers))
        wait_until(lambda: asking.code, 5, 'the answer to the REGISTER')
        return asking


class Stage:
    def __init__(self, lab, phone, caller, cluster):
        self.lab, self.phone, self.caller, self.cluster = lab, phone, caller, cluster
        lab.steer(to('a'))
        assert phone.register().code == 200
        wait_until(lambda: each(cluster.nodes, lambda name: cluster[name].knows(USER)), 10, 'all registrars to know the phone')

    def place(self, node, name='call'):
        """A call by way of that node, which rings."""
        self.lab.steer(to(node))
        call = self.caller.call(f'{name}-{node}@lab', USER)
        call.wait(180)
        [leg] = self.phone.legs(call.call_id)
        return call, leg

    def answer(self, call, leg, timeout=5):
        leg.answer()
        call.wait(200, timeout)
        wait_until(lambda: leg.acked, 5, 'the ACK at the phone')
        return call, leg

    def wait_recorded(self, node, *calls):
        """Until the store has all of calls that came to that node and ring: a transaction there, and one where the phone is."""
        def ring(call):
            txns = self.cluster['c'].ask('tx', call_id=call.call_id)['txns']
            return [branch['code'] for txn in txns for branch in txn['branches']] == [180] * len({'a', node})
        wait_until(lambda: each(calls, ring), 5, 'records')

    def kill(self, node):
        self.cluster[node].kamsyncd.kill()
        self.cluster[node].kamailio.kill()

    def expect_entry(self, call, how):
        def entries():
            return [e['how'] for e in self.cluster['c'].ask('cdr', count=100)['cdr'] if e['call_id'] == call.call_id]
        wait_until(entries, 20, f'an entry of {call.call_id}')
        assert entries() == [how], entries()


@contextlib.contextmanager
def stage(transport, defines=(), **options):
    with Lab() as lab, Phone(lab, transport) as phone, Caller(lab) as caller:
        nodes = '|'.join(lab.address(node) for node in lab.nodes)
        cluster = connected_cluster(lab, defines={'NODES': f'"^({nodes})$"', **dict(defines)}, node_class=RegistrarNode,
                                    modules=f'{CFG}/calls_to_phones.cfg', **options)
        yield Stage(lab, phone, caller, cluster)
        phone.check()
        caller.check()
        cluster.stop()
        lab.check()


@pytest.fixture(scope='module', params=TRANSPORTS)
def ready(request):
    with stage(request.param, FORGETFUL) as s:
        yield s


def answered(asking):
    wait_until(lambda: asking.code, 5, 'an answer')
    return asking.code


@pytest.mark.parametrize('ends', ['caller', 'phone'])
@pytest.mark.parametrize('node', 'ab')
def test_call(ready, node, ends):
    """What belongs to it comes to c, from either side."""
    call, leg = ready.answer(*ready.place(node, f'{ends}-ends'))
    ready.lab.steer(by_kind({'SYN': None}, 'c'))
    assert answered(call.within('INVITE')) == 200
    wait_until(lambda: ready.phone.reinvited(call), 5, 'the ACK to the re-INVITE at the phone')
    assert answered(leg.within('INVITE')) == 200
    wait_until(lambda: call.reinvite_acks, 5, 'the ACK to the re-INVITE at the caller')
    assert answered(call.bye() if ends == 'caller' else leg.bye()) == 200
    wait_until(lambda: leg.ended or call.byes, 5, 'the BYE at the other side')
    ready.expect_entry(call, 'completed')
    assert call.reinvites[0].uri == ready.caller.contact('caller', ready.caller.port)
    assert len(ready.phone.connections) == 1, 'nobody connects to a phone'


def test_repeated_200(ready):
    """No tm knows its INVITE any more. It still tells the caller where his ACK has to go."""
    calls = [ready.answer(*ready.place(node, 'repeated')) for node in 'ab']
    wait_until(lambda: each('ab', lambda node: ready.cluster[node].has_forgotten()), 10, 'transactions to end')
    for call, leg in calls:
        leg.repeat()
        wait_until(lambda leg=leg: leg.acks == 2, 5, 'the ACK to the repeated 200')
        first, again = [msg['contact'] for msg in call.replies if msg.code == 200]
        assert first == again
        assert answered(call.bye()) == 200


def test_no_answer(ready):
    """One is cancelled at a third node, one refused."""
    calls = {(what, node): ready.place(node, what) for what in ('cancelled', 'rejected') for node in 'ab'}
    ready.lab.steer(to('c'))
    for (what, _), (call, leg) in calls.items():
        if what == 'rejected':
            leg.reject()
        else:
            assert answered(call.cancel()) == 200
    for (what, _), (call, leg) in calls.items():
        call.wait(486 if what == 'rejected' else 487)
        wait_until(lambda leg=leg: leg.acked, 5, 'the ACK at the phone')
        assert (leg.cancels, len(call.codes())) == (what == 'cancelled', 3), call.codes()
        ready.expect_entry(call, what)


@pytest.mark.parametrize('transport', ['TCP', 'WSS'])
def test_node_that_has_the_call_dies(transport):
    """b, while it rings; the phone's connection is at a. What the phone says at once is lost, or waits, until b is missed: by
    then a has forgotten the INVITE of a 200."""
    with stage(transport, FORGETFUL) as s:
        calls = {what: s.place('b', what) for what in ('answered', 'refused', 'cancelled', 'hung-up')}
        s.wait_recorded('b', *(call for call, _ in calls.values()))
        s.kill('b')
        s.lab.steer(to('c'))
        for what in ('answered', 'hung-up'):
            s.answer(*calls[what], timeout=LONG)
        calls['refused'][1].reject()
        calls['refused'][0].wait(486, LONG)
        call, leg = calls['cancelled']
        assert answered(call.cancel()) == 200
        call.wait(487)
        wait_until(lambda: leg.cancels, 5, 'the CANCEL at the phone')
        assert answered(calls['answered'][0].bye()) == 200 and answered(calls['hung-up'][1].bye()) == 200
        for what, how in (('answered', 'completed'), ('hung-up', 'completed'), ('refused', 'rejected'), ('cancelled', 'cancelled')):
            s.expect_entry(calls[what][0], how)
        assert each(calls.values(), lambda pair: len(s.phone.legs(pair[0].call_id)) == 1), 'the phone rings twice'


def test_node_that_has_the_call_dies_but_is_heard_of_last():
    """b, whose kamsyncd was so slow that a had reported its legs before. What b had is taken over by a or by c."""
    with stage('TCP') as s:
        kamsyncd = s.cluster['b'].kamsyncd
        kamsyncd.signal(signal.SIGSTOP)
        calls = [s.place('b', f'late-{i}') for i in range(6)]
        for call, _ in calls:
            wait_until(lambda call=call: s.cluster['c'].ask('tx', call_id=call.call_id)['txns'], 5, "the record of a's leg")
        kamsyncd.signal(signal.SIGCONT)
        s.wait_recorded('b', *(call for call, _ in calls))
        s.kill('b')
        s.lab.steer(to('c'))
        wait_until(lambda: each('ac', lambda node: s.cluster[node].counters()['takeovers_done']), LONG,
                   "takeovers by a and by c", every=0.1)
        for call, leg in calls:
            assert answered(call.cancel()) == 200
            call.wait(487)
            wait_until(lambda leg=leg: leg.cancels, 5, 'the CANCEL at the phone')
            s.expect_entry(call, 'cancelled')


@pytest.mark.parametrize('transport', ['TCP', 'WSS'])
def test_node_with_the_connection_dies(transport):
    """The caller does not wait for a phone that nobody reaches."""
    with stage(transport) as s:
        calls = [s.place(node, 'left')[0] for node in 'ab']
        for call, node in zip(calls, 'ab'):
            s.wait_recorded(node, call)
        s.kill('a')
        s.lab.steer(to('c'))
        for call in calls:
            call.wait(408, LONG)
            s.expect_entry(call, 'timed out')
        s.caller.call('late@lab', USER).wait(480)
