"""What goes wrong with a Redis that runs, for each kind of store: calls go on, a stray at another node is looked up or goes to all
nodes, what was missed is written, and the log and kamsyncctl doctor say what it is and what to do."""
import json
import re
import socket

import pytest

from conftest import Node, wait_met
from fake_control import run_ctl
from harness import wait_until
from sip import Call, open_handover
from store_faults import (aof_rewrite, evicting, has_evicted, idle_timeout, kill_connections, make_store, maxclients, misconf,
                          pubsub_limit, script_flush)
from test_tls import certificates, tls  # noqa: F401


def of_kind(request, directory, **sentinel):
    """With a kamsyncd that has no TLS, that kind is skipped."""
    if request.param == 'tls':
        request.getfixturevalue('tls')
    return make_store(request.param, directory, lambda: request.getfixturevalue('certificates'), **sentinel)


@pytest.fixture(scope='module', params=['single', 'sentinel', 'tls'])
def store(request, tmp_path_factory):
    made = of_kind(request, str(tmp_path_factory.mktemp(request.param)), down_ms=5000)
    yield made
    made.stop()


class Bed:
    """Two nodes: calls ring at the first, and their CANCELs reach the second."""

    def __init__(self, store, nodes):
        self.store, self.nodes = store, nodes
        self.a, self.b = nodes

    def ring(self):
        call = Call()
        self.a.kamailio.events(call.branch_event(), call.reply_event(180))
        return call

    def has(self, call):
        return self.store.do('EXISTS', call.key())

    def wait_has(self, *calls):
        for call in calls:
            wait_until(lambda c=call: self.has(c), 10, 'the record')

    def rung(self, count=1):
        calls = [self.ring() for _ in range(count)]
        self.wait_has(*calls)
        return calls

    def why(self, call):
        """What its CANCEL is given: the owner, or all nodes."""
        count = len(self.b.kamailio.of_type('send')) + 1
        self.b.kamailio.stray(call.cancel())
        return open_handover(self.b.kamailio.wait_sends(count)[-1])[0]['why']

    def is_found(self, call):
        """Or is given to all nodes, as by a slow Redis; nothing else is right."""
        why = self.why(call)
        assert why in ('owner', 'unavailable')
        return why == 'owner'

    def works(self, *calls):
        """All is written, and is found."""
        self.wait_has(*calls)
        for node in self.nodes:
            node.daemon.wait_report(10, store='up')
        for call in calls:
            wait_until(lambda c=call: self.is_found(c), 10, 'the owner to be found')

    def wait_doctor(self, check, *words):
        """It finds that, and says these words of it."""
        def found():
            done = run_ctl('-s', self.b.daemon.control, 'doctor', '--json')
            return {f['check']: f'{f["what"]} -> {f["write"]}' for f in json.loads(done.stdout)['findings']}
        wait_until(lambda: all(word in found().get(check, '') for word in words), 15, lambda: f'{check}, {words}: {found()}',
                   every=0.1)

    def wait_log(self, *words):
        """In one line."""
        pattern = re.compile('.*'.join(map(re.escape, words)))
        wait_until(lambda: pattern.search(self.b.daemon.log()), 10, lambda: f'{words} in {self.b.daemon.tail()}')

    def silent(self):
        for node in self.nodes:
            assert not re.search('redis refuses|connection lost', node.daemon.log())


@pytest.fixture
def bed(store, make_kamailio, make_daemon, tmp_path):
    store.do('FLUSHALL')
    nodes = []
    for number in (1, 2):
        kamailio = make_kamailio(number).start()
        daemon = make_daemon(kamailio, store=store.url, heartbeat_ms=300, node_ttl_ms=2000,
                             control=tmp_path / f'kamsyncd{number}.sock', **store.options).start()
        kamailio.wait_hello()
        daemon.wait_report(10, kamailio='up', store='up')
        nodes.append(Node(kamailio, daemon, store.redis))
    wait_met(*nodes)
    return Bed(store, nodes)


@pytest.mark.parametrize('policy', ['allkeys-random', 'volatile-random'])
def test_evicted(bed, policy):
    """Records of calls that ring are thrown away: no CANCEL is refused for that, and whose owner is asked for is written again."""
    calls = bed.rung(30)
    bed.store.do('CONFIG', 'RESETSTAT')
    with evicting(policy)(bed.store, bed.nodes), bed.store.console() as do:
        bed.wait_log(f'set maxmemory-policy noeviction, not {policy}')
        bed.wait_doctor('redis_policy', f'set maxmemory-policy noeviction, not {policy}')

        def missing():
            return has_evicted(do) and [call for call in calls if not do('EXISTS', call.key())]
        gone = wait_until(missing, 10, 'records to be thrown away')
        for call in gone[:5]:
            bed.is_found(call)
    bed.works(*bed.rung(), *gone[:5])


def test_maxclients(bed):
    """There is no room for a connection that has ended."""
    call = bed.rung()[0]
    with maxclients(bed.store, bed.nodes):
        bed.wait_doctor('redis', 'maxclients')
        bed.wait_log('maxclients')
        assert bed.why(call) == 'unavailable'
        missed = bed.ring()
    bed.works(call, missed)


def test_misconf(bed):
    """It takes no writes, and refuses PING for that, too. What is there can be looked up, also by a new connection."""
    call = bed.rung()[0]
    with misconf(bed.store, bed.nodes), bed.store.console() as do:
        missed = bed.ring()
        bed.wait_log('redis refuses: MISCONF', '-> its disk is full or not writable: see its log')
        kill_connections(do)
        bed.b.daemon.wait_log('(commands): connected', count=2)
        wait_until(lambda: bed.is_found(call), 10, 'the owner to be found')
        bed.wait_doctor('redis_refuses', 'MISCONF', 'its disk is full or not writable')
    bed.works(call, missed)


def test_pubsub_limit(bed):
    """A kamsyncd that stood still is cut off from announcements, and from nothing else."""
    call = bed.rung()[0]
    with pubsub_limit(bed.store, bed.nodes):
        bed.wait_log('(announcements): connection lost')
        bed.wait_log('ended the connection for announcements alone', 'client-output-buffer-limit pubsub')
        bed.wait_doctor('redis_announcements', 'client-output-buffer-limit pubsub')
        assert '(commands): connection lost' not in bed.b.daemon.log()
    bed.works(call, *bed.rung())


def is_ended(sock):
    """Orderly or by a reset."""
    try:
        return sock.recv(1) == b''
    except ConnectionResetError:
        return True


def test_idle_timeout(bed):
    """Redis ends connections that are idle for more than a second: none is, not even while Kamailio is away."""
    bed.b.kamailio.stop()
    with idle_timeout(bed.store, bed.nodes), socket.create_connection(('127.0.0.1', bed.store.redis.port), 10) as idle:
        assert is_ended(idle)
    bed.silent()


def test_script_flush(bed):
    """Once Redis has forgotten the scripts, the next write loads them again."""
    bed.rung()
    with script_flush(bed.store, bed.nodes):
        bed.works(*bed.rung(3))
    bed.silent()


def test_aof_rewrite(bed):
    calls = bed.rung(10)
    with aof_rewrite(bed.store, bed.nodes):
        calls += bed.rung(10)
    bed.works(*calls)
    bed.silent()


def own_address():
    """Of this host, beside 127.0.0.1; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(('192.0.2.1', 9))
        except OSError:
            pytest.skip('needs an address that is not 127.…')
        return s.getsockname()[0]


def test_protected_mode(make_redis, make_kamailio, make_daemon):
    """Redis listens on all addresses, asks no password, and so takes nobody from elsewhere."""
    address = own_address()
    redis = make_redis(bind=f'127.0.0.1 {address}', protected_mode='yes')
    daemon = make_daemon(make_kamailio().start(), store=f'redis://{address}:{redis.port}').start()
    daemon.wait_log('-> by its protected-mode Redis takes other hosts only with a password')
    redis.do('CONFIG', 'SET', 'protected-mode', 'no')
    daemon.wait_report(10, store='up')
