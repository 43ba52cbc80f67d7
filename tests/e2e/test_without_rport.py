"""A phone on a connection whose Via has no rport: all replies come over its connection (RFC 3261, 18.2.2), also what another node
or kamsyncd has handed back; nobody listens at the port that the Via names."""
import pytest

from lab.connections import ConnectedCaller, connected_cluster, take_over
from lab.lab import Lab
from lab.phone import Callees
from lab.policies import to
from lab.proc import wait_until


class WithoutRport(ConnectedCaller):
    def via(self, port, branch=None):
        name, value = super().via(port, branch)
        return name, value.replace(';rport', '')


@pytest.mark.parametrize('transport', ['TCP', 'TLS'])
def test_cancel_at_another_node(transport):
    """Of a call that rings, and of none; then that of a node that has died."""
    with Lab(nodes='ab') as lab, Callees(lab) as callees, WithoutRport(lab, transport) as caller:
        cluster = connected_cluster(lab)
        lab.steer(to('a'))
        first, unknown, last = (caller.call(f'{name}@lab', 'phone') for name in ('first', 'unknown', 'last'))
        for call in (first, unknown, last):
            call.wait(180)
        lab.steer(to('b'))
        caller.connect()
        cancel = first.cancel()
        first.wait(487)
        wait_until(lambda: cancel.code == 200, 5, 'the answer')
        assert first.final.connection is caller.connections[0] and cancel.answer.connection is caller.connections[1]
        unknown.branch = 'z9hG4bKof-no-call'
        cancel = unknown.cancel()
        wait_until(lambda: cancel.code == 481, 5, 'the answer')

        cluster['a'].wait_recorded(callees, 'last@lab')
        take_over(lab, 'a', by='b')
        cluster['a'].kamsyncd.kill()
        cluster['a'].kamailio.kill()
        cancel = last.cancel()
        last.wait(487, 10)
        wait_until(lambda: cancel.code == 200, 10, 'the answer')
        assert last.final.connection is cancel.answer.connection is caller.connections[1]
        wait_until(lambda: callees.legs('last@lab')[0].cancels, 5, 'the CANCEL at the phone')
        cluster.stop()
        lab.check()
