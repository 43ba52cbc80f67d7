"""A store of kind cluster: real Redis Clusters, whose slots move, whose masters die, and which grow."""
import signal

import pytest

from harness import RedisError, wait_until
from redis_cluster import BUCKETS, RedisCluster, slot_of
from sip import Call, open_handover


@pytest.fixture
def make_cluster(tmp_path):
    made = []

    def make(**options):
        made.append(RedisCluster(str(tmp_path), **options))
        return made[-1]
    yield make
    for cluster in made:
        cluster.stop()


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    made = RedisCluster(str(tmp_path_factory.mktemp('cluster')))
    yield made
    made.stop()


@pytest.fixture
def cluster(shared):
    """For tests that leave it as it was, but for who has which slot."""
    for master in shared.masters:
        master.do('FLUSHALL')
    return shared


@pytest.fixture
def node(cluster, make_node):
    return make_node(1, store=cluster.url)


@pytest.fixture
def two(cluster, make_node):
    return meet(cluster, make_node)


def meet(cluster, make_node, **options):
    a, b = (make_node(i, store=cluster.url, **options) for i in (1, 2))
    a.kamailio.wait_frame('node', id=2, up=1)
    b.kamailio.wait_frame('node', id=1, up=1)
    return a, b


def ring(node, cluster, call=None):
    """A call whose record gets there."""
    call = call or Call()
    node.kamailio.events(call.branch_event(), call.reply_event(180))
    wait_until(lambda: cluster.has(call.key(True)), 10, f'the record {call.key(True)}')
    return call


def calls_in(cluster, member, count):
    """As many calls, whose names are that member's."""
    calls = []
    while len(calls) < count:
        call = Call()
        if cluster.says(member, slot_of(call.key(True))) == member.port:
            calls.append(call)
    return calls


def all_there(cluster, calls):
    for call in calls:
        wait_until(lambda c=call: cluster.has(c.key(True)), 10, f'the record {call.key(True)}')


def cancel_at(other, call, owner):
    """Its CANCEL is looked up, and goes to its owner."""
    sends = len(other.kamailio.of_type('send'))
    other.kamailio.stray(call.cancel())
    frame = other.kamailio.wait_sends(sends + 1)[sends]
    assert open_handover(frame)[0]['why'] == 'owner' and frame['to'] == owner.kamailio.sip


# ---- ordinary life

def test_calls_are_spread(cluster, two):
    calls = [ring(two[0], cluster) for _ in range(40)]
    found = [len(m.do('KEYS', 'kamsync:*:tx:*')) for m in cluster.masters]
    assert sum(found) == len(calls) and min(found) > 0, found
    assert two[0].daemon.report()['puts_failed'] == 0
    for call in calls[:6]:
        cancel_at(two[1], call, two[0])


def test_a_survivor_finds_all_orphans(cluster, two):
    """Each master is scanned."""
    calls = [ring(two[0], cluster) for _ in range(30)]
    two[0].kamailio.stop()
    def taken():
        invites = [open_handover(frame)[1] for frame in two[1].kamailio.of_type('send')]
        return {call.call_id for call in calls if any(call.call_id in invite for invite in invites)}
    wait_until(lambda: len(taken()) == len(calls), 15, lambda: f'{len(calls)} INVITEs to be sent again: {len(taken())}')


def test_a_started_kamsyncd_learns_its_own(cluster, node):
    calls = [ring(node, cluster) for _ in range(30)]
    node.daemon.kill()
    node.daemon.start()
    node.daemon.wait_report(10, transactions=len(calls))


# ---- a map that is wrong

def test_slot_moves_amid_calls(cluster, two):
    """Some of its keys are here and some there for a while; none is lost, and none goes to the wrong place."""
    a, b = two
    source, to = cluster.masters[0], cluster.masters[1]
    calls = calls_in(cluster, source, 1)
    slot = slot_of(calls[0].key(True))
    while len(calls) < 24:
        call = Call()
        if slot_of(call.key(True)) == slot:
            calls.append(call)
    for call in calls[:8]:
        ring(a, cluster, call)
    cluster.begin_move(slot, to)
    for call in calls[8:16]:
        a.kamailio.events(call.branch_event(), call.reply_event(180))
        cluster.move_keys(slot, source, to)
        cancel_at(b, calls[0], a)
    while cluster.move_keys(slot, source, to):
        pass
    cluster.end_move(slot, source, to)
    for call in calls[16:]:
        a.kamailio.events(call.branch_event(), call.reply_event(180))
    all_there(cluster, calls)
    assert source.do('CLUSTER', 'COUNTKEYSINSLOT', slot) == 0
    for call in calls[-3:]:
        cancel_at(b, call, a)
    assert a.daemon.report()['puts_failed'] == 0
    assert 'redis refuses' not in a.daemon.log() + b.daemon.log()


def test_a_master_is_added(make_cluster, make_node):
    cluster = make_cluster()
    two = meet(cluster, make_node)
    new = cluster.add_master()
    slots = BUCKETS[:20]
    for slot in slots:
        cluster.move(slot, new)
    calls = []
    while len(calls) < 3:
        call = Call()
        if slot_of(call.key(True)) in slots:
            calls.append(ring(two[0], cluster, call))
    assert all(new.do('EXISTS', call.key(True)) for call in calls)
    cancel_at(two[1], calls[0], two[0])


# ---- masters that die

def test_a_master_is_away_and_comes_back_empty(make_cluster, make_node):
    """Without a replica. The others' slots go on (cluster-require-full-coverage no)."""
    cluster = make_cluster(cluster_require_full_coverage='no')
    a, b = meet(cluster, make_node)
    dies = cluster.masters[1]
    lost = [ring(a, cluster, call) for call in calls_in(cluster, dies, 10)]
    others = calls_in(cluster, cluster.masters[0], 6)
    waiting = calls_in(cluster, dies, 5)
    dies.kill()
    a.daemon.wait_log('nobody serves')
    for call in others:
        ring(a, cluster, call)
        cancel_at(b, call, a)
    a.kamailio.events(*[call.branch_event() for call in waiting])
    assert a.daemon.report()['store'] == 'up'
    dies.start()
    cluster.wait_well()
    all_there(cluster, [*lost, *waiting, *others])
    a.daemon.wait_log('all slots are served', count=2)
    cancel_at(b, lost[0], a)
    assert 'announcements alone' not in a.daemon.log() + b.daemon.log()


def test_announcements_alone_are_cut_off(cluster, node):
    """The connection for commands to the same master lives on."""
    node.daemon.wait_log('(announcements): connected')
    heard = next(m for m in cluster.masters if m.do('PUBSUB', 'CHANNELS'))
    heard.do('CLIENT', 'KILL', 'TYPE', 'pubsub')
    node.daemon.wait_log('ended the connection for announcements alone')


def asked(member):
    """Since the last time."""
    found = member.do('INFO', 'commandstats')
    member.do('CONFIG', 'RESETSTAT')
    return found


def test_a_master_falls_silent_while_nothing_is_asked(make_cluster, make_node):
    """Not the one of the nodes' names, nor the one where kamsyncd listens, which is asked what any can answer."""
    cluster = make_cluster(cluster_require_full_coverage='no')
    node = make_node(1, store=cluster.url)
    node.daemon.wait_log('(announcements): connected')
    silent = next(m for m in cluster.masters if m is not cluster.owner('kamsync:{nodes}') and not m.do('PUBSUB', 'CHANNELS'))
    wait_until(lambda: b'cmdstat_scan' not in asked(silent), 30, 'its last scan', every=3)
    silent.signal(signal.SIGSTOP)
    node.daemon.wait_log(f':{silent.seen_port} (commands): no answer in time', 5)
    node.daemon.wait_log('nobody serves')
    silent.signal(signal.SIGCONT)
    node.daemon.wait_log('all slots are served', count=2)


def connected(node, member):
    node.daemon.wait_log(f':{member.seen_port} (commands): connected', 10)


def all_there_at(member, calls):
    def there(call):
        try:
            return member.do('EXISTS', call.key(True))
        except RedisError:
            return False
    for call in calls:
        wait_until(lambda c=call: there(c), 15, f'the record {call.key(True)} at {member.name}')


def test_failover_by_command(make_cluster, make_node):
    cluster = make_cluster(replicas=True)
    a, b = meet(cluster, make_node)
    calls = [ring(a, cluster, call) for call in calls_in(cluster, cluster.masters[2], 5)]
    cluster.failover(cluster.replicas[2])
    wait_until(lambda: not cluster.masters[2].is_master(), 10, 'the master to be a replica')
    late = [ring(a, cluster, call) for call in calls_in(cluster, cluster.replicas[2], 5)]
    all_there_at(cluster.replicas[2], calls + late)
    connected(b, cluster.replicas[2])
    cancel_at(b, late[0], a)


def test_scripts_are_flushed_at_one_master(cluster, node):
    """EVAL takes the place of EVALSHA: no write fails."""
    ring(node, cluster)
    for master in cluster.masters:
        master.do('SCRIPT', 'FLUSH')
    for _ in range(10):
        ring(node, cluster)
    assert node.daemon.report()['puts_failed'] == 0 and 'redis refuses' not in node.daemon.log()


# ---- names and passwords

@pytest.mark.parametrize('options', [
    {'cluster_announce_hostname': 'localhost', 'cluster_preferred_endpoint_type': 'hostname', 'requirepass': 'secret'},
    {'cluster_preferred_endpoint_type': 'unknown-endpoint'},
], ids=['hostname and password', 'unknown endpoint'])
def test_how_nodes_are_named(make_cluster, make_node, tmp_path, options):
    cluster = make_cluster(**options)
    node = make_node(1, store=cluster.url, **with_password(tmp_path, options.get('requirepass')))
    for _ in range(12):
        ring(node, cluster)


def with_password(directory, password):
    """The options of a kamsyncd that knows it."""
    if not password:
        return {}
    (directory / 'password').write_text(password + '\n')
    (directory / 'password').chmod(0o600)
    return {'redis_password_file': directory / 'password'}


def test_a_redirect_to_a_node_with_another_password(make_cluster, make_node, tmp_path):
    """It is said, that slot is served by nobody, and the others go on."""
    cluster = make_cluster(requirepass='secret')
    node = make_node(1, store=cluster.url, **with_password(tmp_path, 'secret'))
    call = calls_in(cluster, cluster.masters[0], 1)[0]
    new = cluster.add_master(requirepass='another')
    cluster.move(slot_of(call.key(True)), new)
    node.kamailio.events(call.branch_event())
    node.daemon.wait_log(f'{new.port} (commands): AUTH refused: WRONGPASS')
    node.daemon.wait_log('nobody serves 1 of the 16384 slots')
    for master in cluster.masters[:3]:
        ring(node, cluster, calls_in(cluster, master, 1)[0])
    assert node.daemon.report()['store'] == 'up' and new.calls('evalsha') == 0
    new.do('CONFIG', 'SET', 'requirepass', 'secret')
    new.auth = ['secret']
    all_there(cluster, [call])


def test_named_nodes_may_be_dead(cluster, make_node):
    """One that lives says where the others are."""
    node = make_node(1, store=f'cluster://127.0.0.1:1,127.0.0.1:{cluster.masters[1].port}')
    for _ in range(12):
        ring(node, cluster)


def test_no_cluster(redis, make_daemon, kamailio):
    daemon = make_daemon(kamailio, store=redis.url.replace('redis://', 'cluster://')).start()
    daemon.wait_log('says: ERR This instance has cluster support disabled')
    assert daemon.report()['store'] == 'down'
