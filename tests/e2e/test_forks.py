"""A fork of which some branches have ended when its owner dies: whatever they said, and whatever comes then, the caller and
the phones see what they see of one plain Kamailio that lives. That is measured in the same run, not written down here."""
import os
import time
from collections import Counter

import pytest

from lab.cluster import CFG, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import LabError, wait_until

ROUTING = os.path.join(CFG, 'forks.cfg')
# What the first gateway of a step says. 408: nothing, so that tm gives it up before the owner dies; silent: it does so later.
SAYS = ('302', '401', '407', '404', '408', '480', '486', '500', '503', '603', 'silent')
# The ports that say so; all others ring.
SHAPES = {'serial': (5060,), 'parallel': (5060,), 'both': (5060, 5062, 5066), 'hunt': (5060,)}
DEEDS = ('cancel', 'answer', 'busy', 'timer')
HEADERS = {'302': ('Contact', '<sip:elsewhere@198.51.100.99>'),
           '401': ('WWW-Authenticate', 'Digest realm="lab", nonce="n401"'),
           '407': ('Proxy-Authenticate', 'Digest realm="lab", nonce="n407"')}
SILENT = ('408', 'silent')


def on_invite(leg):
    """The dialed user says it."""
    shape, says, _ = leg.invite.user.split('-')
    if leg.port not in SHAPES[shape]:
        leg.ring()
    elif says not in SILENT:
        leg.headers = (HEADERS[says],) if says in HEADERS else ()
        leg.reject(int(says))


class Cell:
    """One call."""

    def __init__(self, caller, callees, shape, says, deed):
        self.caller, self.callees, self.shape, self.says, self.deed = caller, callees, shape, says, deed
        self.user = f'{shape}-{says}-{deed}'
        self.call_id = f'{self.user}@lab'
        self.call, self.early, self.struck, self.over = None, None, None, []

    def place(self):
        self.call = self.caller.call(self.call_id, self.user)

    def legs(self):
        return self.callees.legs(self.call_id)

    def ringing(self):
        return [leg for leg in self.legs() if 100 < leg.code < 200]

    def final(self):
        return self.call.final and self.call.final.code

    def rings(self):
        """It has come as far as it comes before the deed: the last step rings, or has failed."""
        ports = {leg.port for leg in self.ringing()}
        last = 5064 if self.shape in ('both', 'hunt') else 5062
        return self.final() or (last in ports and (self.shape != 'both' or self.says in SILENT or 5066 in self.answered()))

    def given_up(self):
        """tm has given up who says nothing: two seconds after it began, so half a second after it sent the INVITE a third time."""
        last = [max([leg.invite.time, *leg.again]) for leg in self.legs() if not leg.code]
        return self.final() or not last or time.monotonic() - max(last) > 1.2

    def answered(self):
        return {leg.port for leg in self.legs() if leg.settled}

    def strike(self):
        self.struck = time.monotonic()
        self.over = [leg for leg in self.legs() if leg.code >= 300 or self.says == '408' and not leg.code]

    def act(self):
        if self.deed != 'timer':
            self.early = self.final()
        if self.final():
            return
        if self.deed == 'cancel':
            self.call.cancel()
        elif self.deed == 'answer':
            self.ringing()[-1].answer()
        elif self.deed == 'busy':
            for leg in self.ringing():
                leg.reject(486)

    def ended(self):
        return self.final() and all(leg.settled or not leg.code for leg in self.legs())

    def view(self):
        """What caller and phones have seen."""
        codes = sorted({code for code in self.call.codes() if code >= 200})
        headers = [name for name, _ in HEADERS.values() if self.final() and self.final() >= 300 and self.call.final[name.lower()]]
        legs = {leg.port: (leg.code, leg.settled, len(self.callees.legs(self.call_id, leg.port))) for leg in self.legs()}
        return {'final': codes, 'headers': headers, 'before the deed': self.early, 'legs': legs,
                'CANCEL': self.call.cancelling.code if self.call.cancelling else None}

    def sent_again(self):
        """Ports that got an INVITE after the owner's death though they had ended."""
        return [leg.port for leg in self.over if any(at > self.struck for at in leg.again)]


def wait(condition, seconds, what):
    try:
        wait_until(condition, seconds, what)
    except LabError:
        pass   # the tests tell which


def place(cells):
    """Those first that take their time before the owner's death, those last that must not."""
    for group in (('408',), [says for says in SAYS if says not in SILENT]):
        for cell in cells.values():
            if cell.says in group:
                cell.place()
    first = [cell for cell in cells.values() if cell.says != 'silent']
    wait_until(lambda: all(cell.rings() and cell.given_up() for cell in first), 10,
               lambda: f'{[cell.user for cell in first if not cell.rings()]} to ring')
    for cell in cells.values():
        if cell.says == 'silent':
            cell.place()
    wait_until(lambda: all(cell.legs() for cell in cells.values()), 5, 'all INVITEs')


def play(lab, kamsync):
    """{(says, shape, deed): Cell}"""
    cluster = Cluster(lab, nodes=lab.nodes, routing=ROUTING, kamsync=kamsync)
    lab.route_all('a')
    with Callees(lab, on_invite=on_invite) as callees, Caller(lab) as caller:
        cells = {(says, shape, deed): Cell(caller, callees, shape, says, deed)
                 for says in SAYS for shape in SHAPES for deed in DEEDS}
        place(cells)
        if kamsync:
            kill(lab, cluster, cells)
        wait(lambda: all(cell.rings() and cell.given_up() for cell in cells.values()), 8, 'all ring')
        for cell in cells.values():
            cell.act()
        wait(lambda: all(cell.ended() for cell in cells.values()), 12, 'the end of all calls')
        callees.check()
        caller.check()
    return cells


def told(node, cell):
    """Its kamsyncd has heard of all that the phones have got and said."""
    known = [branch['code'] for txn in node.ask('tx', call_id=cell.call_id)['txns'] for branch in txn['branches']]
    said = [leg.code for leg in cell.legs() if leg.code > 100]
    return len(known) == len(cell.legs()) and not Counter(said) - Counter(known)


def kill(lab, cluster, cells):
    wait_until(lambda: all(told(cluster['a'], cell) for cell in cells.values() if not cell.final()), 10, 'kamsyncd knows all')
    wait_until(lambda: cluster['a'].status()['unwritten'] == '0', 5, 'all records')
    lab.route_all('b')
    for cell in cells.values():
        cell.strike()
    cluster['a'].kamailio.kill()
    alive = [cell for cell in cells.values() if not cell.final()]
    wait(lambda: all(cell.final() or all(leg.again for leg in cell.ringing()) for cell in alive), 5, 'INVITEs sent again')


@pytest.fixture(scope='module')
def plain():
    with Lab(nodes='a') as lab:
        return {name: cell.view() for name, cell in play(lab, kamsync=False).items()}


@pytest.fixture(scope='module')
def owner_died():
    with Lab(nodes='ab') as lab:
        cells = play(lab, kamsync=True)
        yield {name: (cell.view(), cell.sent_again(), lab.trace.show(cell.call_id)) for name, cell in cells.items()}
        lab.check()


@pytest.mark.parametrize('deed', DEEDS)
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('says', SAYS)
def test_as_plain(owner_died, plain, says, shape, deed):
    view, again, trace = owner_died[says, shape, deed]
    expected = plain[says, shape, deed]
    assert view == expected, trace
    assert not again, f'sent again to {again}\n{trace}'
