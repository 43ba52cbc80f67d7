"""Fixtures: whatever a test starts is ended by its pid, and every kamsyncd must end in order with status 0."""
import pytest

from fake_control import ANSWERS, FakeControl, run_ctl
from fake_kamailio import FakeKamailio
from harness import FINDING, Daemon, Redis, wait_until, without_takeover
from sip import Call, warm_up


def pytest_configure(config):
    config.addinivalue_line('markers', 'alone(why): not beside other tests (./dev test runs two files at a time)')


@pytest.fixture
def make_kamailio():
    made = []

    def make(node=1, **args):
        made.append(FakeKamailio(node, **args))
        return made[-1]
    yield make
    for kamailio in made:
        kamailio.stop()


@pytest.fixture
def kamailio(make_kamailio):
    return make_kamailio().start()


@pytest.fixture
def make_redis(tmp_path):
    made = []

    def make(**args):
        made.append(Redis(str(tmp_path), name=f'redis{len(made) + 1}', **args))
        return made[-1].start()
    yield make
    for redis in made:
        redis.kill()


@pytest.fixture
def redis(make_redis):
    return make_redis()


@pytest.fixture
def make_daemon(tmp_path, make_kamailio, make_redis):
    """Named here so that Kamailio and Redis end after kamsyncd, not before."""
    made = []

    def make(kamailio, **args):
        made.append(Daemon(str(tmp_path), kamailio.port, name=f'kamsyncd{len(made) + 1}', **args))
        return made[-1]
    yield make
    try:
        for daemon in made:
            if daemon.popen and daemon.popen.returncode is None:
                daemon.stop()
    finally:
        for daemon in made:
            daemon.kill()
            print(daemon.tail())  # pytest shows it when the test failed
        assert not [daemon.name for daemon in made if FINDING.search(daemon.log())]


class Node:
    """A Kamailio and the kamsyncd beside it."""

    def __init__(self, kamailio, daemon, redis):
        self.kamailio, self.daemon, self.redis = kamailio, daemon, redis

    def report_call(self, *codes):
        """A call of this node, with these replies so far, whose record is in Redis."""
        call = Call()
        self.kamailio.events(call.branch_event(), *[call.reply_event(code) for code in codes])
        wait_until(lambda: self.redis.do('EXISTS', call.key()), 10, 'the record')
        return call


def wait_met(node, other):
    """Each knows of the other."""
    for here, there in ((node, other), (other, node)):
        here.kamailio.wait_frame('node', id=there.kamailio.node, up=1)


@pytest.fixture
def make_node(make_kamailio, make_daemon, redis):
    """Nodes of one cluster, with quick heartbeats."""
    def make(node, sip=None, **options):
        kamailio = make_kamailio(node, sip=sip).start()
        options = {'store': redis.url, 'heartbeat_ms': 200, 'node_ttl_ms': 2000, **options}
        daemon = make_daemon(kamailio, **options).start()
        kamailio.wait_hello()
        daemon.wait_report(kamailio='up', store='up')
        warm_up(kamailio)
        return Node(kamailio, daemon, redis)
    return make


@pytest.fixture
def two_nodes(make_node):
    """Nodes 1 and 2, which know each other, and which give an orphan back."""
    a, b = make_node(1, **without_takeover()), make_node(2, **without_takeover())
    a.kamailio.wait_frame('node', id=2, up=1)
    b.kamailio.wait_frame('node', id=1, up=1)
    return a, b


@pytest.fixture
def make_control(tmp_path):
    """Made-up kamsyncds for kamsyncctl, with answers of its own in place of the usual ones."""
    made = []

    def make(answers=None, raw=None):
        made.append(FakeControl(tmp_path / f's{len(made)}', {**ANSWERS, **(answers or {})}, raw).start())
        return made[-1]
    yield make
    for daemon in made:
        daemon.stop()


@pytest.fixture
def ask(make_control):
    """Runs kamsyncctl against a made-up kamsyncd with these answers; both are returned."""
    def run(*args, answers=None, raw=None, **more):
        daemon = make_control(answers, raw)
        return run_ctl('-s', daemon.path, *args, **more), daemon
    return run
