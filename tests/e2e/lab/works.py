"""What test_works_with.py does with each script: the same three trials, on a lab of two nodes.

    with Stage(row) as stage:        # a lab, phones, a cluster with the row's script
        stage.all_trials()           # ['yes', 'yes', 'waited 5 s in vain for: …', 'yes']
"""
import contextlib
import os

from lab.cluster import CFG, CONFIG, COOKBOOK, Cluster
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import LabError, wait_until

OURS = os.path.dirname(CONFIG)
WORKS = os.path.join(CFG, 'works')


def edited(lab, edit):
    """node.cfg with one text in place of another, and the files that it includes beside it."""
    directory = lab.new_directory('edited')
    for name in ('kamsync.cfg', 'kamsync'):
        os.symlink(os.path.join(os.path.abspath(OURS), name), os.path.join(directory, name))
    with open(CONFIG) as file:
        text = file.read()
    assert edit[0] in text
    path = os.path.join(directory, 'node.cfg')
    with open(path, 'w') as file:
        file.write(text.replace(*edit))
    return path


class Stage:
    def __init__(self, row):
        self.row = row
        with contextlib.ExitStack() as self.stack:
            self.lab = self.stack.enter_context(Lab(nodes='ab'))
            self.callees = self.stack.enter_context(Callees(self.lab, on_invite=row.on_invite))
            self.caller = self.stack.enter_context(Caller(self.lab))
            self.lab.route_all('a')
            self.cluster = self._cluster(row)
            for node in 'ab':
                row.prepare(self, node)
            self.stack = self.stack.pop_all()

    def _cluster(self, row):
        values = {name: value and value(self.lab) for name, value in row.defines.items()}
        script = row.script and os.path.abspath(os.path.join(COOKBOOK if row.recipe else WORKS, row.script))
        return (row.cluster or Cluster)(
            self.lab, nodes='ab', defines={'GATEWAY': f'"{self.lab.address("gateway")}:5060"', **values}, routing=script,
            modules=script if row.modules else None, config=row.config(self.lab) or CONFIG)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return self.stack.__exit__(*error)

    def check(self):
        self.callees.check()
        self.caller.check()
        self.lab.check()

    # --- trials

    def all_trials(self):
        """What each says, and what else the row looks at: 'yes', or what went wrong."""
        calls = {}

        def tried(trial):
            try:
                calls[trial] = trial()
                return 'yes'
            except (LabError, AssertionError) as error:
                return (str(error) or repr(error)).splitlines()[0]
        results = [tried(trial) for trial in (self.cancel, self.bye, lambda: self.row.before(self), self.death)]
        if calls.keys() >= {self.bye, self.death}:
            results.append(tried(lambda: self.row.after(self, calls[self.bye], calls[self.death])))
        also = next((text for text in (results[2], *results[4:]) if text != 'yes'), 'yes')
        return [*results[:2], results[3], also]

    def place(self, name):
        """A call by way of node a, which rings."""
        self.lab.route_all('a')
        call = self.caller.call(f'{name}@lab', self.row.dial, **self.row.call(self))
        call.wait(180)
        return call, self.callees.legs(call.call_id)[-1]

    def answer(self, call, leg):
        self.row.rings(leg)
        leg.answer()
        call.wait(200)
        wait_until(lambda: leg.acked, 5, 'the ACK at the phone')
        self.row.answered(call, leg)

    def hang_up(self, call, leg):
        bye = call.bye()
        wait_until(lambda: leg.ended and bye.code == 200, 5, 'the BYE at the phone, and its answer')

    def cancel(self):
        call, leg = self.place('cancel')
        self.lab.route_all('b')
        cancel = call.cancel()
        call.wait(487)
        wait_until(lambda: cancel.code == 200 and leg.cancels == 1 and leg.acked, 5, '200, and CANCEL and ACK at the phone')
        assert not self.lab.trace.repeated(call.call_id), 'a retransmission'

    def bye(self):
        call, leg = self.place('bye')
        self.answer(call, leg)
        self.lab.route_all('b')
        self.hang_up(call, leg)
        assert not self.lab.trace.repeated(call.call_id), 'a retransmission'
        return call, leg

    def death(self):
        """Of node a, while a call rings."""
        call, leg = self.place('death')
        self.cluster['a'].wait_recorded(self.callees, call.call_id)
        self.lab.route_all('b')
        self.cluster['a'].kamailio.kill()
        wait_until(lambda: leg.again, 5, 'the INVITE again')
        self.answer(call, leg)
        self.hang_up(call, leg)
        assert len(self.callees.legs(call.call_id)) == 1, 'the phone rings twice'
        return call, leg
