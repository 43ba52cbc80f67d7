"""kamsyncctl doctor: one thing after the other is broken in a real cluster, and it says just that, from another node."""
import contextlib
import json
import os
import subprocess

import pytest

from lab.cluster import KAMSYNCD, SECRET, Cluster
from lab.lab import Lab
from lab.proc import wait_until

pytestmark = pytest.mark.one_redis('what is wrong with its settings')

KAMSYNCCTL = os.path.join(os.path.dirname(KAMSYNCD), 'ctl/kamsyncctl')
# Of a lab: Redis is on a host of its own, without a password, and keeps nothing on disk.
OF_THE_LAB = {'redis_archive', 'redis_password', 'redis_tls'}
STATUS = {'error': 2, 'warning': 1}
CFG = '''server_id=1
#!define KAMSYNC_SIP "192.0.2.11:5060"
listen=udp:{first}:5060
listen=udp:{second}:5060
loadmodule "tm.so"
#!ifdef {wanted}
#!define WITH_KAMSYNC_RIGHT_HERE
#!endif
{include}
request_route {{
    {above}
#!ifdef WITH_KAMSYNC_RIGHT_HERE
    route(KAMSYNC_REQUEST);
#!endif
    exit;
}}
'''


class Ward:
    def __init__(self):
        self.lab = Lab()
        try:
            self.cluster = Cluster(self.lab, heartbeat_ms=300, node_ttl_ms=1500)
        except BaseException:
            self.lab.close()
            raise

    def run(self, *args, at='a'):
        return subprocess.run([KAMSYNCCTL, '--socket', f'{self.cluster[at].directory}/control.sock', 'doctor', *args],
                              capture_output=True, text=True, timeout=20, env={**os.environ, 'LC_ALL': 'C.UTF-8'})

    def ask(self, at='a'):
        done = self.run('--json', at=at)
        answer = json.loads(done.stdout)
        worst = max((STATUS.get(f['severity'], 0) for f in answer['findings']), default=0)
        assert done.returncode == worst and not done.stderr, done
        return answer

    def found(self, at='a'):
        """{check: ids of the nodes that say so}, without the lab's own."""
        nodes = {}
        for finding in self.ask(at)['findings']:
            if finding['check'] not in OF_THE_LAB:
                nodes.setdefault(finding['check'], set()).update(finding['nodes'])
        return {check: sorted(ids) for check, ids in nodes.items()}

    def wait(self, expected, at='a', what=''):
        wait_until(lambda: self.found(at) == expected, 25, lambda: f'{what or expected}; found: {self.found(at)}', every=0.1)

    def text(self, check, at='a'):
        return wait_until(lambda: next((f for f in self.ask(at)['findings'] if f['check'] == check), None), 10, f'a finding of {check}')

    def redis(self, *words):
        """And the nodes connect anew, and look: else they look every ten seconds."""
        self.lab.redis_cli(*words)
        self.lab.redis_cli('CLIENT', 'KILL', 'TYPE', 'normal')

    def restart_kamailio(self, name):
        self.cluster[name].kamailio.kill()
        self.cluster[name].start_kamailio()

    def restart_kamsyncd(self, name):
        self.cluster[name].stop_kamsyncd()
        self.cluster[name].start_kamsyncd()

    @contextlib.contextmanager
    def kamailio(self, name, modules=None, **defines):
        """That node's Kamailio with these, for a while."""
        before = self.cluster.defines
        self.cluster.defines, self.cluster.modules = {**before, **defines}, modules
        try:
            self.restart_kamailio(name)
            yield
        finally:
            self.cluster.defines, self.cluster.modules = before, None
            self.restart_kamailio(name)
        self.wait({}, what='all is well again')


@pytest.fixture(scope='module')
def ward():
    the_ward = Ward()
    try:
        the_ward.wait({})
        yield the_ward
        the_ward.cluster.stop()
    finally:
        the_ward.lab.close()


def test_a_healthy_cluster(ward):
    answer = wait_until(lambda: not (got := ward.ask())['silent'] and got, 10, 'an answer of all nodes')
    assert [(n['node'], n['name'], n['kamailio'], n['store']) for n in sorted(answer['nodes'], key=lambda n: n['node'])] == [
        (1, 'a', 'up', 'up'), (2, 'b', 'up', 'up'), (3, 'c', 'up', 'up')]
    assert {f['check'] for f in answer['findings']} == OF_THE_LAB
    assert all(f['severity'] == 'advice' and sorted(f['nodes']) == [1, 2, 3] for f in answer['findings'])
    done = wait_until(lambda: (got := ward.run()).returncode == 0 and got, 10, 'an answer of all nodes')
    print(done.stdout)
    assert done.stdout.startswith('All is well: 3 nodes answered\n')
    assert len(done.stdout.splitlines()) <= 24 and '\nLooked at ' in done.stdout


def test_server_id_0(ward):
    with ward.kamailio('c', NODE_ID=0):
        ward.wait({'hello': [3]})
        assert 'set server_id in kamailio.cfg' in ward.text('hello')['write']


def test_server_id_of_another_node(ward):
    """Node 3 is gone then, which the others say, too."""
    with ward.kamailio('c', NODE_ID=2):
        wait_until(lambda: ward.found('c').keys() == {'server_id', 'nodes'}, 15, lambda: ward.found('c'))
        print(ward.run().stdout)
        assert 'node id 2 is used twice' in ward.text('server_id')['what']


def test_address_left_at_its_default(ward):
    with ward.kamailio('c', NODE_SIP='"127.0.0.1:5060"'):
        ward.wait({'address': [3]})


def test_address_at_which_nobody_listens(ward):
    with ward.kamailio('c', NODE_SIP='"198.51.100.3:5070"'):
        ward.wait({'listen': [3], 'probes': [1, 2, 3]})
        assert 'listen=udp:198.51.100.3:5070' in ward.text('listen')['write']


def test_evapi_for_all(ward):
    with ward.kamailio('c', EVAPI='"0.0.0.0:8448"'):
        ward.wait({'evapi_open': [3]})


def test_without_kamsync_cfg(ward):
    """As if its include_file stood within an #!ifdef that is off; and the same with an evapi of the script's own."""
    with ward.kamailio('c', WITHOUT_KAMSYNC=None):
        ward.wait({'evapi': [3]})
    own = os.path.join(ward.lab.directory, 'evapi.cfg')
    with open(own, 'w') as file:
        file.write('loadmodule "evapi.so"\nmodparam("evapi", "bind_addr", "127.0.0.1:8448")\n')
    with ward.kamailio('c', modules=own, WITHOUT_KAMSYNC=None):
        ward.wait({'script': [3]})


def test_another_secret(ward):
    ward.cluster.secret = 'not-the-secret-of-the-lab-cluster'
    ward.restart_kamsyncd('c')
    try:
        ward.wait({'secret': [1, 2, 3]})
        print(ward.run().stdout)
    finally:
        ward.cluster.secret = SECRET
        ward.restart_kamsyncd('c')
    ward.wait({})


def test_a_kamsyncd_is_away(ward):
    ward.cluster['c'].stop_kamsyncd()
    ward.wait({'nodes': [1, 2]})
    assert ward.run(at='c').returncode == 2
    ward.cluster['c'].start_kamsyncd()
    ward.wait({})


def test_redis_policy_and_memory(ward):
    for setting, value, good, check in (('maxmemory-policy', 'allkeys-lru', 'noeviction', 'redis_policy'),
                                        ('maxmemory', '1', '0', 'redis_memory')):
        if check == 'redis_memory':
            used = ward.lab.redis_cli('INFO', 'memory').split('used_memory:')[1].split()[0]
            value = str(int(int(used) * 1.1))
        ward.redis('CONFIG', 'SET', setting, value)
        ward.wait({check: [1, 2, 3]})
        ward.redis('CONFIG', 'SET', setting, good)
        ward.wait({})


def test_a_right_in_redis_is_missing(ward):
    """No call has ended, so nothing was refused yet."""
    ward.redis('ACL', 'SETUSER', 'default', '-xadd', '-script|load')
    ward.wait({'redis_rights': [1, 2, 3]})
    assert 'ACL SETUSER default +script|load +xadd ' in ward.text('redis_rights')['write']
    ward.redis('ACL', 'SETUSER', 'default', '+@all')
    ward.wait({})


def test_redis_is_away(ward):
    """The others cannot be asked."""
    ward.cluster.store.signal(19)
    wait_until(lambda: set(ward.found()) == {'redis'}, 15, lambda: ward.found())
    ward.cluster.store.signal(18)
    ward.wait({})


@pytest.mark.parametrize('found, change', [
    (set(), {}),
    ({'cfg_include'}, {'wanted': 'NEVER_DEFINED'}),
    ({'cfg_include'}, {'include': ''}),
    ({'cfg_first'}, {'above': 'if (src_ip == 192.0.2.1) exit;'}),
    (set(), {'above': 'force_rport(); # of all'}),
    ({'cfg_listen'}, {'first': '192.0.2.11', 'second': '198.51.100.1'}),
], ids=['good', 'ifdef', 'no include', 'late', 'force_rport', 'sockets'])
def test_a_kamailio_cfg(ward, tmp_path, found, change):
    """kamailio -c says that each of them is good."""
    here = os.path.dirname(os.path.abspath(__file__))
    os.symlink(os.path.join(here, '../../kamailio-cfg/kamsync'), tmp_path / 'kamsync')
    os.symlink(os.path.join(here, '../../kamailio-cfg/kamsync.cfg'), tmp_path / 'kamsync.cfg')
    parts = {'first': '198.51.100.1', 'second': '192.0.2.11', 'wanted': 'KAMAILIO_5', 'above': '',
             'include': '#!ifdef WITH_KAMSYNC_RIGHT_HERE\ninclude_file "kamsync.cfg"\n#!endif', **change}
    if parts['wanted'] != 'NEVER_DEFINED':
        parts['wanted'] = 'KAMSYNC_SIP'
    path = tmp_path / 'kamailio.cfg'
    path.write_text(CFG.format(**parts))
    done = ward.run('--json', '--kamailio', str(path))
    assert {f['check'] for f in json.loads(done.stdout)['findings'] if f['check'].startswith('cfg_')} == found, done


def test_a_kamailio_cfg_that_is_none(ward, tmp_path):
    done = ward.run('--kamailio', str(tmp_path / 'nothing'))
    assert done.returncode == 2 and 'No such file' in done.stderr
