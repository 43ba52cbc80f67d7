"""Redirects must not change the order of writes to a record: an older one over a newer one of the same node would stay, since only
epochs are compared. The masters are made up, so that each answer comes when the test says."""
import re

import pytest

from fake_redis import DO, MOVED, NOSCRIPT, FakeCluster
from harness import wait_until
from redis_cluster import slot_of
from sip import Call


@pytest.fixture
def cluster():
    made = FakeCluster(2)
    yield made
    made.stop()


class Bed:
    """A call whose INVITE is written at the first master, which answers no more from then on. Each further event is one more write."""

    def __init__(self, cluster, node):
        self.cluster, self.node = cluster, node
        self.first, self.second = cluster.masters
        self.call = next(call for call in iter(Call, None) if cluster.owner_of(slot_of(call.key(True))) is self.first)
        self.slot = slot_of(self.call.key(True))
        self.code = 179
        beat = wait_until(self.beat, 10, 'a beat')
        wait_until(lambda: self.beat() > beat + 1, 10, 'beats')  # what it writes before it has read the first it writes again
        node.kamailio.events(self.call.branch_event())
        wait_until(lambda: cluster.executed, 10, 'the record')
        self.first.holds = True
        for count in range(2, 5):
            self.write()
            self.first.wait_came(count)

    def beat(self):
        with self.cluster.lock:
            return max((int(beat) for value in self.cluster.values.values() for beat in re.findall(rb'"beat":(\d+)', value)),
                       default=0)

    def write(self):
        self.code += 1
        self.node.kamailio.events(self.call.reply_event(self.code))

    def wait_order(self):
        """The last one is executed, and each one behind those that were sent before it."""
        executed, last = self.cluster.executed, b'"code":%d,' % self.code
        wait_until(lambda: any(last in value for _, value in executed), 10, 'the last write')
        sent = list(dict.fromkeys(self.first.came + self.second.came))
        order = [sent.index(value) for _, value in executed]
        assert order == sorted(order), order
        assert self.cluster.values[self.call.key(True).encode()] == sent[-1]

    def release(self, *hows):
        """And kamsyncd has read it: at a MOVED, it asks for the map."""
        asked = self.asked()
        self.first.release(*hows)
        if MOVED in hows:
            wait_until(lambda: self.asked() > asked, 10, 'kamsyncd to ask for the map')

    def asked(self):
        return self.first.asked + self.second.asked


@pytest.fixture
def bed(cluster, make_node):
    return Bed(cluster, make_node(1, store=cluster.url, redis_timeout_ms=20000, node_ttl_ms=20000))


def test_all_are_redirected(bed):
    """None is sent again before the last of them is answered, and what comes meanwhile waits behind them."""
    bed.cluster.owner[bed.slot] = 1
    bed.release(MOVED)
    bed.write()
    bed.node.daemon.wait_report(puts=5)
    bed.release(MOVED)
    assert not bed.second.came
    bed.release(MOVED)
    bed.wait_order()
    assert bed.second.came[:3] == bed.first.came[1:4]


@pytest.mark.parametrize('said, owner', [(MOVED, 1), (NOSCRIPT, 0)])
def test_one_is_refused_and_the_next_is_executed(bed, said, owner):
    """The slot was away for a moment, or another node has loaded the script meanwhile: the older record comes too late."""
    bed.cluster.owner[bed.slot] = owner
    bed.release(said)
    bed.cluster.owner[bed.slot] = 0
    bed.release(DO)
    assert not bed.second.came
    bed.first.holds = False
    bed.release(DO)
    bed.write()
    bed.wait_order()
