"""Nodes whose own address is an IPv6 address, so that all that they hand over goes over IPv6."""
from lab.cluster import Cluster, Node
from lab.lab import Lab
from lab.phone import Callees, Caller
from lab.proc import each, wait_until


class OwnAddress6(Node):
    def start_kamailio(self):
        self.cluster.defines.update(NODE_SIP=f'"[{self.ip6}]:5060"')
        super().start_kamailio()


def test_cancel_at_another_node_and_death():
    with Lab(nodes='ab') as lab, Callees(lab) as callees, Caller(lab) as caller:
        cluster = Cluster(lab, nodes='ab', node_class=OwnAddress6)
        lab.route_all('a')
        first, second = caller.call('first@lab', 'ring1'), caller.call('second@lab', 'fork3-ring1')
        wait_until(lambda: each(((first, 1), (second, 3)), lambda it: len(callees.legs(it[0].call_id)) == it[1]), 5, 'all ring')
        lab.route_all('b')
        cancel = first.cancel()
        first.wait(487)
        assert cancel.code == 200 and not lab.trace.repeated('first@lab')

        ended, *ring = callees.legs('second@lab')
        ended.reject(486)
        cluster['a'].wait_recorded(callees, 'second@lab')
        [before] = cluster['a'].ask('tx', call_id='second@lab')['txns']
        cluster['a'].kamailio.kill()
        wait_until(lambda: each(ring, lambda leg: leg.again), 5, 'INVITEs sent again')
        ring[0].answer()
        second.wait(200)
        wait_until(lambda: ring[1].cancels and each(ring, lambda leg: leg.acked), 5, 'the other one ends')

        def ended_at_b():
            return [txn for txn in cluster['b'].ask('tx', call_id='second@lab')['txns'] if txn['owner'] == cluster['b'].id and txn['done']]
        [after] = wait_until(ended_at_b, 5, 'the end in the record of the survivor')
        assert [b['to'] for b in after['branches']] == [b['to'] for b in before['branches']], 'the node stands for the one that ended'
        lab.check()
