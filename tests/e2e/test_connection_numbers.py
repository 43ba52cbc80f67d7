"""Replies at a node that does not have their call, whose Via names a connection by its number there (i=): the node has one of
that number, too, which is another phone's.

The caller's Via names a port at which it listens, and has no rport: so a reply that leaves by address reaches it over a new
connection (RFC 3261, 18.2.2).
"""
import contextlib

from lab.connections import ConnectedCaller, connect_soon, connected_cluster
from lab.lab import Lab
from lab.phone import Callees, response
from lab.policies import by_kind, to
from lab.proc import wait_until


class ListeningCaller(ConnectedCaller):
    def via(self, port, branch=None):
        name, value = super().via(port, branch)
        return name, value.removesuffix(';rport')


def number_of(leg):
    return leg.invite['via'].split(';i=')[1].split(';')[0]


class Stage:
    """A call that rings by way of a; another phone's connection at b has the number that the caller's has at a."""

    def __init__(self, lab, callees, caller, other, cluster):
        self.lab, self.callees, self.caller, self.other, self.cluster = lab, callees, caller, other, cluster
        _, theirs = self.place('b', other)
        self.call, self.leg = self.place('a', caller)
        assert number_of(theirs) == number_of(self.leg)

    def place(self, node, phone):
        self.lab.steer(to(node))
        connect_soon(phone)
        call = phone.call(f'{node}-{phone.port}@lab', 'phone')
        call.wait(180)
        [leg] = self.callees.legs(call.call_id)
        return call, leg

    def strays(self):
        return [msg.text for msg in self.other.connections[0].messages if msg.call_id not in self.other.calls]

    def expect(self, condition, what):
        """Soon, unless the other phone gets it."""
        wait_until(lambda: condition() or self.strays(), 5, what)
        assert not self.strays()

    def check_reply(self, code):
        self.leg.say(code)
        self.expect(lambda: self.call.got(code), f'the {code}')

    def answer_to_bye(self, node):
        """Comes again, to that node."""
        self.lab.steer(to(node))
        [msg] = self.leg.others
        before = self.answers()
        self.callees.send(self.leg.port, response(msg, 200), self.callees.answer_to(msg))
        self.expect(lambda: self.answers() > before, 'the answer to the BYE')

    def answers(self):
        return sum(msg.method == 'BYE' for connection in self.caller.connections for msg in connection.messages)


@contextlib.contextmanager
def stage(**options):
    with Lab(nodes='ab') as lab, Callees(lab) as callees, ListeningCaller(lab, 'TCP', listens=True) as caller, \
            ConnectedCaller(lab, 'TCP', port=17070) as other:
        cluster = connected_cluster(lab, **options)
        yield Stage(lab, callees, caller, other, cluster)
        cluster.stop()
        lab.check()


def test_whether_kamsyncd_is_there_or_not():
    with stage(daemons=False) as s:
        s.lab.steer(to('b'))
        s.check_reply(181)
        for node in 'ab':
            s.cluster[node].start_kamsyncd()
        s.cluster.wait_connected()
        s.check_reply(182)
        s.cluster['b'].kamsyncd.kill()
        s.check_reply(183)
        s.check_reply(200)


def test_its_node_has_died_and_comes_back():
    """It counts its connections anew."""
    with stage() as s, ConnectedCaller(s.lab, 'TCP', port=17071) as third:
        s.leg.answer()
        s.call.wait(200)
        s.lab.steer(by_kind({'200/BYE': None}, 'a'))
        bye = s.call.bye()
        wait_until(lambda: s.leg.ended, 5, 'the BYE at the phone')
        s.cluster['a'].kamailio.kill()
        wait_until(lambda: 'is down' in s.cluster['b'].log(), 10, 'b to know')
        s.answer_to_bye('b')
        assert bye.code == 200
        s.cluster['a'].start_kamailio()
        s.other = third
        assert number_of(s.place('a', third)[1]) == number_of(s.leg)
        s.answer_to_bye('a')
