"""Plain Kamailio nodes, without kamsync: what the lab itself is tested with,
and the picture of what anycast does to SIP when nobody helps."""
import os

from lab.lab import ANYCAST, ANYCAST6

# A record-routing, transaction-stateful proxy, as short as it gets.
CONFIG = '''
debug=1
log_stderror=yes
children=2
auto_aliases=no
dns=no
rev_dns=no
disable_tcp=yes
listen=udp:%(anycast)s:5060
listen=udp:[%(anycast6)s]:5060
loadmodule "tm.so"
loadmodule "tmx.so"
loadmodule "corex.so"
loadmodule "sl.so"
loadmodule "rr.so"
loadmodule "pv.so"
loadmodule "textops.so"
loadmodule "siputils.so"

request_route {
    if (is_method("CANCEL")) {
        # Without its transaction a CANCEL goes nowhere.
        if (t_check_trans()) t_relay();
        exit;
    }
    if (has_totag()) {
        if (loose_route()) {
            t_relay();
            exit;
        }
        # ACK to a negative final reply
        if (is_method("ACK") && t_check_trans()) t_relay();
        exit;
    }
    t_check_trans();
    if (is_method("INVITE")) record_route();
    if (af == INET6) {
        $ru = "sip:" + $rU + "@[%(gateway6)s]:5060";
    } else {
        $ru = "sip:" + $rU + "@%(gateway)s:5060";
    }
    if ($rU =~ "^fork3-") {
        append_branch("sip:$rU@%(gateway)s:5062");
        append_branch("sip:$rU@%(gateway)s:5064");
    }
    t_relay();
}
'''


class Cluster:
    """Nodes that are running, and the lab they are in."""

    def __init__(self, lab, nodes):
        self.lab, self.nodes = lab, nodes


def plain_cluster(lab, nodes=None):
    """Start plain Kamailio on each of the nodes."""
    path = os.path.join(lab.new_directory('plain'), 'plain.cfg')
    with open(path, 'w') as file:
        file.write(CONFIG % {
            'anycast': ANYCAST, 'anycast6': ANYCAST6,
            'gateway': lab.address('gateway'),
            'gateway6': lab.address('gateway', 6)})
    nodes = tuple(nodes or lab.nodes)
    for node in nodes:
        lab.kamailio(node, path)
    return Cluster(lab, nodes)
