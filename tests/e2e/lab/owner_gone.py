"""What becomes of a call whose owner is gone: each message of a call, each fate of the owner, each shape of the call.

A row is a generator: it brings its call to where the message is due, yields STRIKE, sends the message, and yields what
it then waits for. So all rows run at the same time, on one cluster, and the fate strikes once.
"""
import os
import signal
import time

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.policies import call_number
from lab.proc import wait_until

ROUTING = os.path.join(CFG, 'owner_gone.cfg')
SHAPES = ('one branch', 'parallel', 'second serial branch')
TWICE = 2          # calls for each cell, whose messages go to different survivors
LIMIT = 14         # seconds after the strike: longer than any fate takes to be noticed, and a timer of 3 s behind it
QUIET = 4.3        # a final reply that nobody acknowledges would have come again (T2)
STRIKE = object()


class Cell:
    """One call of one row and one shape, and what is found out about it."""

    def __init__(self, caller, callees, row, shape, number):
        self.caller, self.callees, self.row, self.shape = caller, callees, row, shape
        self.call_id = f'{row}-{number}-{SHAPES.index(shape)}@lab'
        self.number, self.call, self.struck = number, None, None
        self.worked = None        # seconds from the strike until the message had its effect
        self.waits_for, self.failure = 'its turn', ''

    def place(self, **options):
        """INVITE; returns what to wait for: all phones ring that shall."""
        stem = {'one branch': 'one', 'parallel': 'fork3', 'second serial branch': 'serial'}[self.shape]
        if self.row == '503':
            stem = {'one': 'serial-first', 'fork3': 'fork3-spare'}.get(stem, stem)
        self.call = self.caller.call(self.call_id, f'{stem}-{self.row}', **options)
        return 'phones that ring', lambda: self.settled_but(3 if stem.startswith('fork3') else 1)

    def settled_but(self, count):
        legs = self.legs()
        return (len(self.pending()) == count and all(leg.settled for leg in legs if leg.code >= 200)
                and len(legs) == count + (self.shape == 'second serial branch'))

    def legs(self):
        return self.callees.legs(self.call_id)

    def pending(self):
        return [leg for leg in self.legs() if 0 < leg.code < 200]

    def done(self):
        """The message had its effect now."""
        self.worked = time.monotonic() - self.struck

    def final(self, code):
        return f'{code} at the caller', lambda: self.call.final and self.call.final.code == code

    def all_settled(self, code=None):
        """Nobody rings, nobody waits for an ACK."""
        return self.open_legs, lambda: (
            all(leg.settled and (code is None or leg.code in (code, 503)) for leg in self.legs()))

    def open_legs(self):
        """What all_settled() waits for in vain."""
        return ', '.join(f'port {leg.port} rings on' if leg.code < 200 else f'no ACK to the {leg.code} of port {leg.port}'
                         for leg in self.legs() if not leg.settled)

    def hang_up(self):
        """A BYE from one side or the other."""
        leg = next(leg for leg in self.legs() if leg.code == 200)
        bye = self.call.bye() if self.number % 2 else leg.bye()
        return '200 to BYE', lambda: bye.code == 200

    def answered_call_works(self):
        yield self.final(200)
        yield self.all_settled()
        yield self.hang_up()

    def judge(self, expected):
        """What must hold at the very end, whatever the row waited for."""
        finals = sorted({code for code in self.call.codes() if code >= 200})
        twice = [port for port, rings in self.callees.rings(self.call_id).items() if rings > 1]
        if twice and not self.failure:
            self.failure = f'rings a second time at {twice}'
        elif finals != [expected] and not self.failure:
            self.failure = f'final replies {finals}'


# ---- the rows

def cancel(cell):
    yield cell.place()
    yield STRIKE
    asking = cell.call.cancel()
    yield '200 to CANCEL', lambda: asking.code == 200
    yield cell.final(487)
    cell.done()
    yield cell.all_settled(487)


def ack(cell):
    """The caller has got his 486, and his ACK goes elsewhere."""
    yield cell.place(no_ack=True)
    for leg in cell.pending():
        leg.reject(486)
    yield cell.final(486)
    yield cell.all_settled(486)
    yield STRIKE
    cell.call.ack()
    acked = time.monotonic()

    def last():
        return max(acked, max(msg.time for msg in cell.call.replies))
    yield 'no further 486', lambda: time.monotonic() - last() > QUIET
    cell.worked = last() - acked


def ringing(cell):
    yield cell.place()
    yield STRIKE
    for leg in cell.pending():
        leg.ring()
    yield '180 at the caller', lambda: cell.call.got(180, cell.struck)
    cell.done()
    cell.pending()[0].answer()
    yield from cell.answered_call_works()


def answer(cell):
    yield cell.place()
    yield STRIKE
    cell.pending()[-1].answer()
    yield cell.final(200)
    cell.done()
    yield from cell.answered_call_works()


def busy(cell):
    yield cell.place()
    yield STRIKE
    for leg in cell.pending():
        leg.reject(486)
    yield cell.final(486)
    cell.done()
    yield cell.all_settled(486)


def unavailable(cell):
    """All that ring fail; failure_route sends the call on to another port."""
    yield cell.place()
    yield STRIKE
    for leg in cell.pending():
        leg.reject(503)
    yield 'ringing at the next gateway', cell.pending
    cell.done()
    cell.pending()[0].answer()
    yield from cell.answered_call_works()


def no_answer(cell):
    yield cell.place()
    yield STRIKE
    yield cell.final(408)
    cell.done()
    yield cell.all_settled(487)


def invite_again(cell):
    """Nothing that came back from the owner has reached the caller, so he sends his INVITE again."""
    yield cell.place(deaf=True)
    yield STRIKE
    cell.call.repeat()
    yield '100 or 180 at the caller', cell.call.codes
    cell.done()
    cell.pending()[0].answer()
    yield from cell.answered_call_works()


# what the table calls it: the short name of its calls, the row, the final reply that the caller shall see
ROWS = {
    'CANCEL': ('cancel', cancel, 487),
    'ACK to a 4xx': ('ack', ack, 486),
    '180': ('quiet', ringing, 200),
    '200': ('200', answer, 200),
    '486': ('486', busy, 486),
    '503, `failure_route`': ('503', unavailable, 200),
    'no answer, timer 3 s': ('timer', no_answer, 408),
    'INVITE again': ('invite', invite_again, 200),
}


def on_invite(leg):
    """The phones, before the strike."""
    user = leg.invite.user
    if user.startswith('serial') and leg.port == 5060 and 'first' not in user:
        leg.reject(503)
    elif 'quiet' in user:
        leg.trying()
    else:
        leg.ring()


# ---- the fates

def _kill(cluster):
    cluster['a'].kamailio.kill()


def _restart(cluster):
    cluster['a'].kamailio.kill()
    cluster['a'].start_kamailio()


def _hang(cluster):
    os.killpg(cluster['a'].kamailio.pid, signal.SIGSTOP)


def _cut_off(cluster):
    cluster.lab.unplug('a')


def _cut_path(cluster):
    for other in 'bc':
        cluster.lab.cut('a', other)


# What cannot work, and why: the tests expect it, and the table says it.
CANNOT = {
    'path to it cut': 'The 180 comes in the 1.4 s in which the cut is not yet noticed, and is lost like any packet on a cut path. '
                      'Nobody repeats a provisional reply before a minute is over (RFC 3261 13.3.1.1); a takeover, which '
                      'would make the far end repeat it, is not allowed while the owner lives.',
}

# name: what strikes node a; the nodes that the callers' and the phones' packets go to from then on, of even calls (of odd
# ones the other way round)
FATES = {
    'alive elsewhere': (lambda cluster: None, 'bc'),
    'Kamailio killed': (_kill, 'bc'),
    'Kamailio restarted': (_restart, 'ab'),
    'Kamailio hung': (_hang, 'bc'),
    'host cut off': (_cut_off, 'bc'),
    'path to it cut': (_cut_path, 'bc'),
}


class Steer:
    """Everything to a, until the fate strikes."""

    def __init__(self, nodes):
        self.nodes, self.struck = nodes, False

    def __call__(self, packet):
        if not self.struck:
            return 'a'
        return self.nodes[(call_number(packet.call_id) + (packet.side == 'gateway')) % 2]


# ---- one run

class Run:
    """All cells of one fate."""

    def __init__(self, cluster, fate, callees, caller):
        self.cluster, self.callees, (self.strike, nodes) = cluster, callees, FATES[fate]
        self.steer = Steer(nodes)
        self.cells = {(row, shape): [Cell(caller, callees, name, shape, number) for number in range(TWICE)]
                      for row, (name, _, _) in ROWS.items() for shape in SHAPES}
        self.waiting = {}     # cell: (its generator, what it waits for)
        self.ready = []       # cells before the strike

    def run(self):
        self.cluster.lab.steer(self.steer)
        for (row, _), cells in self.cells.items():
            for cell in cells:
                self._advance(cell, ROWS[row][1](cell))
        wait_until(lambda: self._poll() or not self.waiting, 10, 'all calls where their message is due')
        calls = [cell.call_id for cells in self.cells.values() for cell in cells]
        self.cluster['a'].wait_recorded(self.callees, *calls)
        self._strike()
        deadline = time.monotonic() + LIMIT
        while self.waiting and time.monotonic() < deadline:
            self._poll()
            time.sleep(0.005)
        self._judge()

    def _strike(self):
        self.steer.struck = True
        struck = time.monotonic()
        self.strike(self.cluster)
        for cell, generator in self.ready:
            cell.struck = struck
            self._advance(cell, generator)

    def _poll(self):
        for cell, (generator, condition) in list(self.waiting.items()):
            if condition():
                self._advance(cell, generator)

    def _advance(self, cell, generator):
        self.waiting.pop(cell, None)
        wanted = next(generator, None)
        if wanted is STRIKE:
            self.ready.append((cell, generator))
        elif wanted:
            cell.waits_for, condition = wanted
            self.waiting[cell] = generator, condition

    def _judge(self):
        for cell in self.waiting:
            missing = cell.waits_for
            cell.failure = missing() if callable(missing) else f'no {missing}'.replace('no no further', 'still a')
        for (row, _), cells in self.cells.items():
            for cell in cells:
                cell.judge(ROWS[row][2])


def run(fate):
    """{(row, shape): [Cell, ...]}"""
    with Lab() as lab:
        cluster = Cluster(lab, routing=ROUTING, defines={'KAMSYNC_CLAIM': None})
        with Callees(lab, on_invite=on_invite) as callees, Caller(lab) as caller:
            the_run = Run(cluster, fate, callees, caller)
            the_run.run()
            callees.check()
            caller.check()
            for cells in the_run.cells.values():
                for cell in cells:
                    cell.trace = lab.trace.show(cell.call_id)
        if os.environ.get('KAMSYNC_KEEP_LOGS'):
            lab.keep_logs = True
            print(lab.directory)
        return the_run.cells


# ---- the table

def of_cancel(cell):
    """Which of the caller's CANCELs it was."""
    asking = cell.call.cancelling
    return f" after the caller's {_ordinal(asking.tries_needed)} CANCEL" if asking and asking.tries_needed > 1 else ''


def _ordinal(number):
    return f'{number}{dict([(2, "nd"), (3, "rd")]).get(number, "th")}'


def summary(cells):
    """One entry of the table: a row and a fate, the cells of all shapes."""
    failed = {}
    for shape in SHAPES:
        for cell in cells[shape]:
            if cell.failure:
                failed.setdefault(cell.failure, {})[shape] = True
    good = [cell for shape in SHAPES for cell in cells[shape] if not cell.failure]
    parts = []
    for why, shapes in failed.items():
        everywhere = len(shapes) == len(SHAPES) and not good
        parts.append('**FAILS**' + ('' if everywhere else f' ({", ".join(shapes)})') + f': {why}')
    if good:
        slowest = max(good, key=lambda cell: cell.worked)
        parts.insert(0, f'ok{of_cancel(slowest)} {max(slowest.worked, 0):.1f} s')
    return '; '.join(parts)


def table(outcomes):
    """outcomes: {fate: {(row, shape): cells}}; returns Markdown."""
    lines = ['| | ' + ' | '.join(outcomes) + ' |', '|---' * (len(outcomes) + 1) + '|']
    for row in ROWS:
        entries = [summary({shape: cells[row, shape] for shape in SHAPES}) for cells in outcomes.values()]
        lines.append(f'| {row} | ' + ' | '.join(entries) + ' |')
    lines += [''] + [f'{fate}: {CANNOT[fate]}' for fate in outcomes if fate in CANNOT]
    return '\n'.join(lines) + '\n'
