"""What the tests of accidents share: a cluster with a gateway, calls that must not notice, and their wishes."""
from lab.cluster import Cluster
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.sipp import Caller, Gateway

# an INVITE to a, its CANCEL and ACK elsewhere
STRAY = by_kind({'CANCEL': 'b', 'ACK': 'c'}, default='a')
# a CANCEL goes the way that it takes in a large cluster: to nobody before kamsyncd has looked it up
LARGE = {'KAMSYNC_ALL_MAX': 0}


def start(lab, **options):
    Gateway(lab)
    return Cluster(lab, **options)


class Ordinary:
    """Calls of three kinds, all to node a, while something else happens."""

    def __init__(self, lab, calls=240, rate=80):
        self.lab = lab
        lab.steer(to('a'))
        self.callers = [Caller(lab, scenario, calls=calls // 3, rate=rate // 3)
                        for scenario in ('call', 'cancel', 'rejected')]

    def wait_under_way(self, share=0.25):
        wanted = share * sum(caller.calls for caller in self.callers)
        wait_until(lambda: len(self.lab.trace.call_ids()) >= wanted, 20, 'calls under way', every=0.02)

    def wait_undisturbed(self):
        for caller in self.callers:
            result = caller.wait()
            assert (result.ok, result.failed, result.retransmissions) == (caller.calls, 0, 0), result
        repeated = self.lab.trace.repeated()
        assert not repeated, self.lab.trace.show(repeated[0].call_id)


def kill_kamsyncd(cluster, names='abc'):
    """Until Kamailio has noticed, too."""
    for name in names:
        node = cluster[name]
        gone = node.kamailio.log().count('kamsyncd is gone')
        node.kamsyncd.kill()
        wait_until(lambda: node.kamailio.log().count('kamsyncd is gone') > gone, 10, 'Kamailio notices')


def restart_kamsyncd(cluster):
    for node in cluster.node.values():
        node.start_kamsyncd()
    cluster.wait_connected()


def wait_records(cluster, calls, timeout=5):
    """Until Redis has a record of each call."""
    def all_there():
        there = ' '.join(cluster.keys())
        return all(call_id in there for call_id in calls.call_ids)
    wait_until(all_there, timeout, 'a record of each call', every=0.05)


def cancel_by_lookup(cluster, calls):
    """CANCEL at b: found in Redis, not by asking everybody."""
    cluster.lab.steer(STRAY)
    before = cluster['b'].counters()
    calls.cancel()
    calls.wait_ended('a')
    after = cluster['b'].counters()
    assert cluster.defines.get('KAMSYNC_ALL_MAX') == 0
    assert after['verdict_owner'] - before['verdict_owner'] == len(calls.call_ids)
    assert after['verdict_unavailable'] == before['verdict_unavailable']
