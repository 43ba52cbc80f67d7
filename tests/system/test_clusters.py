"""Two clusters that share one Redis server, with the same node ids: neither hears the other, nor takes its calls."""
import json

import pytest

from fake_control import run_ctl
from harness import SECRET, wait_until
from sip import Call, key_of, open_handover

OTHER_SECRET = 'the-secret-of-another-cluster'


class Cluster:
    """Nodes 1 and 2, each with a call that rings."""

    def __init__(self, make_node, redis, directory, net, database=0, **options):
        self.redis, self.name, self.database = redis, options.get('cluster', 'kamsync'), database
        if database:
            options['store'] = f'{redis.url}/{database}'
        self.nodes = [make_node(i, sip=f'{net}.{i}:5060', control=str(directory / f'{net}.{i}'), **options)
                      for i in (1, 2)]
        self.first, self.second = self.nodes
        self.first.kamailio.wait_frame('node', id=2, up=1)
        self.calls = [self.ring(node) for node in self.nodes]

    @staticmethod
    def ring(node):
        call = Call()
        node.kamailio.events(call.branch_event(), call.reply_event(180))
        node.daemon.wait_report(transactions=1, unwritten=0)
        return call

    def hear(self):
        """Until the first node has heard all that was published before."""
        heard = self.first.daemon.report()['messages_bad']
        place = f'/{self.database}' if self.database else ''
        self.redis.do('PUBLISH', f'{self.name}:to:all{place}', '{}')
        self.first.daemon.wait_report(messages_bad=heard + 1)

    def check_is_well(self):
        """The first node knows the second one and nobody else, and has taken nothing."""
        told = self.first.kamailio.of_type('node')
        assert {frame['sip'] for frame in told} == {self.second.kamailio.sip} and told[-1]['up'] == 1
        self.first.kamailio.stray(self.calls[1].cancel())
        frame = self.first.kamailio.wait_sends(1)[0]
        fields = open_handover(frame, self.first.kamailio.key())[0]
        assert (frame['to'], fields['why'], fields['inc']) == (self.second.kamailio.sip, 'owner',
                                                               self.second.kamailio.inc)
        assert self.first.daemon.report()['takeovers'] == 0

    def live(self):
        """The Call-IDs of all calls that the cluster has."""
        def answer():
            got = json.loads(run_ctl('-s', self.first.daemon.options['control'], '--json', 'calls').stdout)
            return not got['silent'] and got
        return {call['call_id'] for call in wait_until(answer, 10, 'an answer of both nodes')['calls']}

    def names(self):
        return {name.decode() for name in self.redis.do('KEYS', '*', db=self.database)}


def apart(by, *secrets):
    return pytest.param((by, *secrets), id=f'{by}, {"two secrets" if secrets else "one secret"}')


@pytest.fixture(params=[apart('databases'), apart('databases', OTHER_SECRET), apart('names'), apart('names', OTHER_SECRET),
                        apart('databases and names')])
def two_clusters(request, make_node, redis, tmp_path):
    by, *secrets = request.param
    one, other = {}, {'secret': secrets[0]} if secrets else {}
    if 'names' in by:
        one['cluster'], other['cluster'] = 'one', 'one.more'
    if 'databases' in by:
        other['database'] = 1
    return [Cluster(make_node, redis, tmp_path, net, **options) for net, options in
            (('192.0.2', one), ('198.51.100', other))]


def test_each_has_its_own_nodes(two_clusters):
    """The second node of one dies: its call is taken over there, and nobody in the other thinks that its own has died."""
    a, b = two_clusters
    b.second.kamailio.stop()
    b.first.kamailio.wait_frame('node', id=2, up=0)
    b.first.daemon.wait_report(takeovers=1)
    a.hear()
    a.check_is_well()
    for node in a.nodes + b.nodes:
        assert 'is used twice' not in node.daemon.log()


def test_each_has_its_own_calls(two_clusters):
    """kamsyncctl asks all nodes, over the channels; a call that has ended is in one archive."""
    a, b = two_clusters
    for cluster in two_clusters:
        assert cluster.live() == {call.call_id.decode() for call in cluster.calls}
    a.first.kamailio.events(a.calls[0].reply_event(486))
    wait_until(lambda: a.redis.do('XLEN', f'{a.name}:cdr', db=a.database), 5, 'an entry in the archive')
    names = [(cluster, name) for cluster in two_clusters for name in cluster.names()]
    for cluster, name in names:
        assert any(name.startswith(f'{one.name}:') for one in two_clusters if one.database == cluster.database), name
    assert not b.redis.do('EXISTS', f'{b.name}:cdr', db=b.database)
    channels = {(c.name, f'/{c.database}' if c.database else '') for c in two_clusters}
    expected = {f'{name}:{channel}{place}' for name, place in channels for channel in ('nodes', 'to:all', 'to:1', 'to:2')}
    assert {channel.decode() for channel in a.redis.do('PUBSUB', 'CHANNELS')} == expected


def test_one_secret_proves_nothing_to_another_cluster(make_node, redis, tmp_path):
    """Nor does the old one, while it is being changed."""
    keys = set()
    for number, name in enumerate(('kamsync', 'one', 'two')):
        cluster = Cluster(make_node, redis, tmp_path, f'192.0.{number}', cluster=name)
        cluster.first.daemon.reload(old_secret_file=cluster.first.daemon.secret_path)
        cluster.first.kamailio.wait_frame('keys')
        new, old = cluster.first.kamailio.keys()
        assert new == old and new == cluster.second.kamailio.key()
        assert (new == key_of(SECRET)) == (name == 'kamsync')
        keys.add(new)
    assert len(keys) == 3


def test_what_is_announced_without_proof_is_ignored(make_node, redis, tmp_path):
    """Another cluster that was given the same name and database, and not the secret; said once."""
    cluster = Cluster(make_node, redis, tmp_path, '192.0.2')
    record = json.loads(redis.do('GET', 'kamsync:node:2'))
    for number in range(3):
        foreign = {**record, 'sip': '198.51.100.2:5060', 'inc': f'9.{number}', 'beat': record['beat'] + 1000 + number}
        redis.do('PUBLISH', 'kamsync:nodes', json.dumps(foreign))
    cluster.first.daemon.wait_report(nodes_foreign=3)
    cluster.check_is_well()
    assert cluster.first.daemon.log().count('announces is not proven') == 1
