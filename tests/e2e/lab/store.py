"""The store of a lab's cluster: one Redis, or a Redis Cluster of three masters (`./dev test --store cluster`).

    store = cluster.store
    store.keys(store.names('tx:*'))      # of all transactions, in the names of either layout (docs/redis-keys.md)
    store.do('DEL', key)                 # at who has that key
    store.archive('one@lab')             # its entries, from wherever they are
"""
import functools
import os
import sys

from lab import netns
from lab.lab import REDIS_PORT
from lab.redis_tools import MASTERS

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../system'))
from harness import READ_RECORD, Redis  # noqa: E402
from redis_cluster import Member, RedisCluster  # noqa: E402


class OnStore:
    """A server of the system tests, on the lab's host `store`."""

    def __init__(self, lab, *args, **options):
        self.host, self.namespace = lab.address('store'), lab.namespace('store')
        super().__init__(*args, bind='0.0.0.0 ::', protected_mode='no', **options)
        lab.procs.append(self)

    def launch(self, argv):
        super().launch(['ip', 'netns', 'exec', self.namespace, *argv])

    def connect(self):
        return netns.inside(self.namespace, super().connect)


class StoreRedis(OnStore, Redis):
    pass


class StoreMember(OnStore, Member):
    pass


class Store:
    """members: servers that have keys of their own; cluster: the first word of these."""
    layout = node = ''

    def __init__(self, cluster, members):
        self.cluster, self.members = cluster, members

    def kill(self):
        for member in self.members:
            member.kill()

    def start(self):
        """After kill(): empty."""
        for member in self.members:
            member.start()

    def signal(self, number):
        for member in self.members:
            member.signal(number)

    def drop_clients(self):
        for member in self.members:
            member.do('CLIENT', 'KILL', 'LADDR', f'{member.host}:{member.port}', 'SKIPME', 'yes')

    # --- what is in it

    def names(self, kind):
        """A pattern for tx:…, claim:…, call:… or cdr."""
        return self.layout.format(cluster=self.cluster, kind=kind)

    def node_record(self, number):
        return self.do('GET', self.node.format(cluster=self.cluster, number=number)).decode()

    def keys(self, pattern):
        return [key.decode() for member in self.members for key in member.do('KEYS', pattern)]

    def of_each(self, pattern, command, *words):
        """{key: what that command says of it}"""
        found = {}
        for member in self.members:
            keys = member.do('KEYS', pattern)
            found.update(zip((key.decode() for key in keys), member.do_all([(command, key, *words) for key in keys])))
        return found

    def records(self, pattern):
        """{key: text} of transactions."""
        found = {}
        for member in self.members:
            keys = member.do('KEYS', pattern)
            found.update(zip((key.decode() for key in keys), member.do_all([('EVAL', READ_RECORD, 1, key) for key in keys])))
        return found

    def archive(self, call_id=None):
        """Its entries, in the order of their ids; by default those of all calls."""
        entries = [entry for found in self.of_each(self.names('cdr'), 'XRANGE', '-', '+').values() for entry in found]
        entries.sort(key=lambda entry: [int(number) for number in entry[0].split(b'-')])
        fields = [[word.decode() for word in words] for _, words in entries]
        return [entry for entry in (dict(zip(words[::2], words[1::2])) for words in fields)
                if call_id in (None, entry['call_id'])]


class OneRedis(Store):
    layout, node = '{cluster}:{kind}', '{cluster}:node:{number}'

    def __init__(self, lab, cluster):
        redis = StoreRedis(lab, lab.new_directory('redis'), port=REDIS_PORT).start()
        super().__init__(cluster, [redis])
        self.url, self.do = redis.url, redis.do


class ThreeMasters(Store):
    layout, node = '{cluster}:{{b??}}:{kind}', '{cluster}:{{nodes}}:{number}'

    def __init__(self, lab, cluster):
        self.servers = RedisCluster(lab.new_directory('redis'), member=functools.partial(StoreMember, lab))
        super().__init__(cluster, self.servers.masters)
        self.url, self.do = self.servers.url, self.servers.do

    def start(self):
        super().start()
        self.servers.wait_well()


def make_store(lab, cluster, masters=None):
    return (ThreeMasters if (masters or MASTERS) > 1 else OneRedis)(lab, cluster)
