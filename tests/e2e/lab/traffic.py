"""Calls that go on whatever happens, each packet to a random node that lives, and what became of each of them.

    traffic = Traffic(cluster, seed, caller, callees, rate=15).start()
    since = traffic.mark()
    ...                                  # an accident
    traffic.settle()                     # no new calls; all that there are end
    traffic.wrong(traffic.since(since))  # {call: what a person would complain of}

The phones must be made with on_invite=answer_or_ring.
"""
import random
import time

from lab.policies import at_random
from lab.proc import LabError, wait_until

RING_S = 0.08                # until a phone that is going to answer does so
TALK_S, CANCEL_S = (0.2, 2.5), (0.15, 1.2)
PATIENCE = 40                # longer than any SIP timer of a caller
KINDS = ('caller', 'cancel', 'callee')   # who ends it


def answer_or_ring(leg):
    """Who is dialed as "talk…" answers."""
    leg.ring()
    if leg.invite.user.startswith('talk'):
        leg.owner.after(RING_S, leg.answer)


class Traffic:
    def __init__(self, cluster, seed, caller, callees, rate=15, steer=True):
        self.cluster, self.seed, self.caller, self.callees, self.rate = cluster, seed, caller, callees, rate
        self.random = random.Random(seed)
        self.alive = ''.join(cluster.nodes)
        self.calls, self.going = [], False
        if steer:
            cluster.lab.steer(lambda packet: at_random(self.seed, self.alive)(packet))

    def start(self):
        self.going = True
        with self.caller.lock:
            self.caller.after(0, self._next)
        return self

    def _next(self):
        """Runs in the caller's thread, at the pace of `rate`."""
        if self.going:
            self.place(KINDS[len(self.calls) % len(KINDS)])
            self.caller.after(1 / self.rate, self._next)

    def place(self, kind, hold=None, dial=None):
        """One call to that user; it ends after `hold` seconds, or some; hold 0: when end() is called."""
        call = self.caller.call(f'{kind}-{len(self.calls)}-{self.seed}@lab',
                                dial or ('ring' if kind == 'cancel' else 'talk'))
        call.kind, call.ending, call.began_s = kind, None, time.time()
        call.hold = self.random.uniform(*(CANCEL_S if kind == 'cancel' else TALK_S)) if hold is None else hold
        self.calls.append(call)
        if call.hold:
            with self.caller.lock:
                self.caller.after(call.hold, self._look, call)
        return call

    def _look(self, call):
        """Ends the call, as soon as it is what it was to be."""
        if call.ending or (call.final and call.final.code >= 300):
            return
        if not self.end(call):
            self.caller.after(0.05, self._look, call)

    def ready(self, call):
        return any(code >= 180 for code in call.codes()) if call.kind == 'cancel' else call.got(200)

    def leg(self, call):
        return next((leg for leg in self.callees.legs(call.call_id) if leg.code == 200), None)

    def end(self, call):
        """Hangs up, in the call's own way; False when it is not yet set up."""
        if not self.ready(call):
            return False
        if call.kind == 'callee':
            leg = self.leg(call)
            if not leg:
                return False
            call.ending = leg.bye()
        else:
            call.ending = call.cancel() if call.kind == 'cancel' else call.bye()
        call.ending_s = time.time()
        return True

    # --- what became of them

    def ended(self, call):
        return bool(call.ending and call.ending.code and call.final and call.final.code >= 200
                    and all(leg.settled for leg in self.callees.legs(call.call_id)))

    def mark(self):
        return len(self.calls)

    def since(self, mark):
        return self.calls[mark:]

    def live(self):
        return [call for call in self.calls if not self.ended(call)]

    def settle(self, calls=None):
        """All end now; those that do not are complained of later."""
        if calls is None:
            self.going = False
        calls = self.calls if calls is None else calls
        try:
            wait_until(lambda: all(self.ended(call) or (not call.hold and not call.ending) for call in calls), PATIENCE,
                       'all calls end', every=0.05)
        except LabError:
            pass

    def complaint(self, call):
        if not self.callees.legs(call.call_id):
            return 'never rang'
        if len(self.callees.legs(call.call_id)) > 1:
            return 'rang twice'
        want = 487 if call.kind == 'cancel' else 200
        if not call.final or call.final.code != want:
            return f'final reply {call.final and call.final.code}, not {want}'
        if not call.ending or call.ending.code != 200:
            return f'its end was answered with {call.ending and call.ending.code}'
        return '' if self.ended(call) else 'an ACK is missing'

    def wrong(self, calls):
        return {call: text for call in calls if (text := self.complaint(call))}

    def repeated(self, calls):
        """Retransmissions on the wire, of any message of these calls."""
        return sum(len(self.cluster.lab.trace.repeated(call.call_id)) for call in calls)

    def answer_ms(self, calls):
        """From the first CANCEL or BYE to its answer."""
        return [1000 * (call.ending.answered - call.ending.began) for call in calls if call.ending and call.ending.code]


# --- the archive

def archive_complaint(call, entries, late_s=0):
    """entries: of this call, as name → text; what is wrong with them. late_s: so late its end may be written."""
    if len(entries) != 1:
        return f'{len(entries)} entries in the archive'
    [entry] = entries
    want = {'cancel': ('cancelled', 'caller')}.get(call.kind, ('completed', call.kind))
    got = entry.get('how'), entry.get('by')
    if got != want:
        return f'ended {got}, not {want}'
    # The script saw it between the first CANCEL or BYE and its answer, which may be late on a machine that stands still.
    off = int(entry['ended']) - 1000 * call.ending_s
    answered = 1000 * ((call.ending.answered or call.ending.began) - call.ending.began)
    return f'its end is {off:+.0f} ms off' if off < -500 or off > answered + 500 + 1000 * late_s else ''
