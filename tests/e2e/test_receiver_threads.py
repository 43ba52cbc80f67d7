"""udp_receiver_mode=1 of Kamailio 6: a thread for each socket reads, and one group of processes works for all of them."""
import pytest

from lab.cluster import Cluster
from lab.kamailios import versions
from lab.lab import Lab
from lab.policies import by_call, combinations
from lab.sipp import Gateway, call

pytestmark = pytest.mark.skipif(min(versions()) < (6,), reason='needs Kamailio 6')
MODE = 'async_workers_group="name=udp;workers=4"\nudp_receiver_mode=1\n'
KINDS = ['INVITE', '180', 'CANCEL', '487', 'ACK']


@pytest.fixture(scope='module')
def cluster(tmp_path_factory):
    settings = tmp_path_factory.mktemp('mode') / 'mode.cfg'
    settings.write_text(MODE)
    with Lab() as lab:
        the_cluster = Cluster(lab, modules=settings, log_level=0)
        Gateway(lab, pause=150)
        yield the_cluster
        the_cluster.stop()
        lab.check()


@pytest.mark.parametrize('rate', [80, 400])
def test_every_message_to_every_node(cluster, rate):
    lab, table = cluster.lab, combinations(KINDS)
    lab.trace.clear()
    lab.steer(by_call(table))
    result = call(lab, 'cancel', calls=len(table), rate=rate)
    assert (result.ok, result.failed) == (len(table), 0), result
