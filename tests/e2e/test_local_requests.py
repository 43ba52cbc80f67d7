"""What Kamailio sends of itself: the dispatcher's OPTIONS go out from the anycast address, and their answers come back to
another node. The gateway stays active on all nodes."""
import re
import time

from lab.cluster import CFG, Cluster, Node
from lab.lab import ANYCAST
from lab.phone import Callees
from lab.policies import to
from lab.proc import wait_until


class DispatcherNode(Node):
    def start_kamailio(self):
        with open(f'{self.directory}/dispatcher.list', 'w') as file:
            file.write(f'1 sip:{self.lab.address("gateway")}:5060\n')
        self.cluster.defines = {'CTL': f'"unixs:{self.directory}/ctl"', 'DISPATCHER': f'"{self.directory}/dispatcher.list"'}
        super().start_kamailio()

    def gateway_flags(self):
        """AP: active, and probed; IP: inactive."""
        text = self.lab.run(self.name, ['kamcmd', '-s', f'unixs:{self.directory}/ctl', 'dispatcher.list']).stdout
        return re.search(r'FLAGS: (\w+)', text)[1]


def test_dispatcher_keeps_its_gateway(lab):
    with Callees(lab) as callees:
        lab.steer(to('b'))
        cluster = Cluster(lab, node_class=DispatcherNode, modules=f'{CFG}/local_requests.cfg')
        begun = time.time()

        def asked(node):
            return [p for p in lab.trace.packets if p.side == 'gateway' and not p.outgoing and p.kind == 'OPTIONS'
                    and p.node == node and p.source[0] == ANYCAST]
        wait_until(lambda: all(len(asked(node)) >= 5 for node in 'abc'), 20, 'five OPTIONS of each node')
        assert time.time() - begun > 3, 'tm has given up the first ones by now, if nobody has answered'
        assert {name: node.gateway_flags() for name, node in cluster.node.items()} == dict.fromkeys('abc', 'AP')
        of_a = asked('a')
        assert all('srvid=' in p.text for node in 'abc' for p in asked(node))
        assert len({p.text for p in of_a}) == len(of_a), 'none was sent again'
        callees.check()
        cluster.stop()
