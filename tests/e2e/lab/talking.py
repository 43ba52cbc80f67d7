"""Answered calls on a cluster, and what becomes of requests within them."""
import contextlib

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.policies import to
from lab.proc import wait_until

CALLS = f'{CFG}/calls.cfg'
ASK = (('X-Ask', 'yes'),)


@contextlib.contextmanager
def all_at_a(lab, **options):
    """A cluster that gets all at node a, and phones that do what they are told."""
    cluster = Cluster(lab, **options)
    lab.steer(to('a'))
    with Callees(lab) as callees, Caller(lab) as caller:
        yield cluster, callees, caller
        callees.check()
        caller.check()
    cluster.stop()


class Stage:
    """What has a lab, a cluster, callees and a caller, and ends with them."""

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.callees.close()
        self.caller.close()
        if kind:
            self.lab.keep_logs = True
            print(f'the logs are kept in {self.lab.directory}')
        self.end()

    def end(self):
        self.lab.close()

    def check(self):
        self.callees.check()
        self.caller.check()
        self.cluster.stop()
        self.lab.check()


class Talk(Stage):
    """A lab with a cluster, phones that answer whoever calls them, and their calls."""

    def __init__(self, **options):
        self.lab = Lab()
        try:
            self.cluster = Cluster(self.lab, **{'routing': CALLS, **options})
            self.callees = Callees(self.lab, on_invite=self._on_invite)
            self.caller = Caller(self.lab)
        except BaseException:
            self.lab.close()
            raise

    @staticmethod
    def _on_invite(leg):
        leg.ring()
        if 'ring' not in leg.invite.user:
            leg.answer()

    # --- calls

    def place(self, name, at='a', dial='one', headers=()):
        """A call through that node; returns it when its record says so."""
        self.lab.steer(to(at))
        call = self.caller.call(f'{name}@lab', dial, headers=headers)
        state = 'ringing' if 'ring' in dial else 'answered'
        call.wait(180 if state == 'ringing' else 200)
        wait_until(lambda: self.record(call).get('state') == state, 5, f'{state} in the record of {name}')
        if state == 'answered':
            wait_until(lambda: self.leg(call).acked, 5, f'ACK of {name}')
        return call

    def leg(self, call):
        return self.callees.legs(call.call_id)[0]

    def request(self, call, method, at, headers=(), **options):
        """A request within the call that arrives at that node: its answer's code."""
        self.lab.steer(to(at))
        return self.answer(call.within(method, headers=headers, **options))

    def answer(self, asking, timeout=5):
        wait_until(lambda: asking.code, timeout, f'an answer to {asking.text.splitlines()[0]}')
        return asking.code

    def seen(self, call, method):
        """The requests of that method that the far end has got within the call."""
        return [msg for msg in self.leg(call).others if msg.method == method]

    # --- what kamsync knows

    def record(self, call, node='c'):
        answer = self.cluster[node].ask('call', call_id=call.call_id)
        return answer['calls'][-1] if answer['ok'] else {'state': answer['error'], 'vars': {}}

    def wait_ended(self, call, node='c'):
        wait_until(lambda: self.record(call, node).get('state') == 'ended', 6, f'the end of {call.call_id}')
        return self.record(call, node)

    def wait_var(self, call, value, name='greeting'):
        wait_until(lambda: self.record(call)['vars'].get(name) == value, 5, f'{name} = {value!r} in the record')

    def cdrs(self, call):
        """How many entries the archive has of that call, straight from the store."""
        return len(self.cluster.store.archive(call.call_id))


def known(msg):
    """X-Known as a dictionary; 'state' is its first word."""
    state, *pairs = msg['x-known'].split(' ')
    return {'state': state, **dict(pair.split('=', 1) for pair in pairs)}


def steer_split(talk, caller, gateway):
    """What the caller sends goes to one node, what the far end sends to another."""
    talk.lab.steer(lambda packet: caller if packet.side == 'caller' else gateway)
