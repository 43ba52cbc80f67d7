"""Debian's own kamailio.cfg with the patch of kamailio-cfg/stock for its version: a registrar and proxy that people run."""
import glob
import hashlib
import os
import re
import shutil
import subprocess
from collections import Counter

import pytest

from lab.cluster import Cluster, Node
from lab.kamailios import kamailio_of
from lab.lab import ANYCAST, Lab
from lab.policies import by_call, combination_of, combinations, to
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.sipp import Gateway, call

HERE = os.path.dirname(os.path.abspath(__file__))
OURS = os.path.join(HERE, '../../kamailio-cfg')
DIFFS = os.path.join(OURS, 'stock/kamailio-*.cfg.diff')
STOCK = '/etc/kamailio/kamailio.cfg'
# What to dial: the lab's gateway does what the name says (cfg/scenarios/gateway.xml).
CALLEES = ('answer1', 'ring1', 'busy1')


def copy_kamsync(source, directory):
    """kamsync.cfg, and the folder beside it."""
    shutil.copy(os.path.join(source, 'kamsync.cfg'), directory)
    shutil.copytree(os.path.join(source, 'kamsync'), os.path.join(directory, 'kamsync'))


def output(*argv):
    return subprocess.run(argv, capture_output=True, check=True).stdout


def diff():
    """The patch for the installed version."""
    version = re.search(rb'kamailio (\d+\.\d+)', output('kamailio', '-v'))[1].decode()
    return DIFFS.replace('*', version)


def pristine():
    """The stock configuration as the package has it, even if the installed one was changed."""
    conffiles = output('dpkg-query', '-W', '-f=${Conffiles}', 'kamailio').decode()
    wanted = re.search(rf'{STOCK} ([0-9a-f]+)', conffiles)[1]
    if os.path.exists(STOCK):
        with open(STOCK, 'rb') as file:
            installed = file.read()
        if hashlib.md5(installed).hexdigest() == wanted:
            return installed
    for package in glob.glob('/var/cache/apt/archives/kamailio_*.deb'):
        packed = subprocess.run(f'dpkg-deb --fsys-tarfile {package} | tar -xO .{STOCK}', shell=True, capture_output=True)
        if hashlib.md5(packed.stdout).hexdigest() == wanted:
            return packed.stdout
    pytest.fail(f'{STOCK} was changed, and no package is at hand to take the original from: '
                'apt-get install --reinstall -o Dpkg::Options::=--force-confnew kamailio')


def patch_stock(directory):
    with open(f'{directory}/kamailio.cfg', 'wb') as file:
        file.write(pristine())
    subprocess.run(['patch', '-p1', '-s', '-i', diff()], cwd=directory, check=True)
    copy_kamsync(OURS, directory)


@pytest.fixture(scope='module')
def patched(tmp_path_factory):
    """A directory with the patched kamailio.cfg, and kamsync's files beside it."""
    directory = tmp_path_factory.mktemp('stock')
    patch_stock(directory)
    return directory


class StockNode(Node):
    """A node whose Kamailio runs the patched stock configuration with the lab's addresses."""

    def start_kamailio(self):
        directory = self.lab.new_directory(f'{self.name}-stock')
        copy_kamsync(self.cluster.config, directory)
        ours = {'198.51.100.1:5060': f'{ANYCAST}:5060', '192.0.2.11:5060': f'{self.ip}:5060',
                'server_id=1': f'server_id={self.id}'}
        with open(f'{self.cluster.config}/kamailio.cfg') as file:
            # all at once: the lab's anycast address is another's example
            text = re.sub('|'.join(map(re.escape, ours)), lambda found: ours[found[0]], file.read())
        with open(f'{directory}/kamailio.cfg', 'w') as file:
            file.write(text)
        self.kamailio = self.lab.kamailio(self.name, f'{directory}/kamailio.cfg',
                                          {'KAMSYNC_KEYS_FILE': f'"{self.keys}"'}, args=['-n', '2'])


class StockCluster(Cluster):
    node_class = StockNode


def register(lab, node, callee):
    """The callee lives at the gateway. Each node has its own location table, in memory."""
    lab.steer(to(node))
    phone = Peer(lab, 'gateway', 5070)
    phone.send(f'REGISTER sip:{ANYCAST} SIP/2.0\r\n'
               f'Via: SIP/2.0/UDP {phone.ip}:{phone.port};branch=z9hG4bK{node}{callee}\r\n'
               f'From: <sip:{callee}@{ANYCAST}>;tag={node}\r\nTo: <sip:{callee}@{ANYCAST}>\r\n'
               f'Call-ID: register-{callee}-at-{node}@lab\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n'
               f'Contact: <sip:{callee}@{phone.ip}:5060>\r\nExpires: 600\r\nContent-Length: 0\r\n\r\n')
    assert f'{callee}@{phone.ip}' in phone.expect('SIP/2.0 200')
    phone.close()


@pytest.fixture(scope='module')
def cluster(patched):
    with Lab() as lab:
        the_cluster = StockCluster(lab, config=str(patched))
        Gateway(lab, pause=150)  # were its 180 and 200 read at once, by two processes, they could change places
        for node in the_cluster.nodes:
            for callee in CALLEES:
                register(lab, node, callee)
        yield the_cluster
        the_cluster.stop()
        lab.check()


def changes(path):
    """The lines that a patch adds or removes."""
    with open(path) as file:
        return [line for line in file if line.startswith(('+', '-')) and not line.startswith(('+++', '---'))]


def test_the_patch_is_small_and_applies(tmp_path):
    """A few added lines, nothing removed, no fuzz."""
    (tmp_path / 'kamailio.cfg').write_bytes(pristine())
    done = subprocess.run(['patch', '--dry-run', '-p1', '-i', diff()], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'fuzz' not in done.stdout and 'offset' not in done.stdout, done.stdout
    added = [line for line in changes(diff()) if line.strip() != '+']
    assert len(added) <= 16 and not [line for line in added if line.startswith('-')], added


def test_each_version_gets_the_same_lines():
    wanted = changes(diff())
    assert wanted
    for path in glob.glob(DIFFS):
        assert changes(path) == wanted, path


def check(config, cwd):
    """Kamailio's own check of a configuration, started in that directory."""
    return subprocess.run([*kamailio_of(), '-M', '16', '-c', '-f', config], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize('config, cwd', [('{}/kamailio.cfg', '/'), ('kamailio.cfg', '{}'), ('./kamailio.cfg', '{}'),
                                         ('../kamailio.cfg', '{}/stock')])
def test_kamailio_takes_it(patched, config, cwd):
    """From wherever it is started: kamsync.cfg finds what it includes."""
    (patched / 'stock').mkdir(exist_ok=True)
    done = check(config.format(patched), cwd.format(patched))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize('cwd', ['', 'sip', 'sip/ours'])
def test_kamsync_lies_in_another_folder(tmp_path, cwd):
    """Than kamailio.cfg, and than the one where Kamailio is started."""
    os.makedirs(tmp_path / 'sip/ours')
    copy_kamsync(OURS, tmp_path / 'sip/ours')
    config = tmp_path / 'sip/kamailio.cfg'
    config.write_text('server_id=1\nloadmodule "tm.so"\n#!define KAMSYNC_SIP "127.0.0.1:5060"\ninclude_file "ours/kamsync.cfg"\n'
                      'request_route {\n\troute(KAMSYNC_REQUEST);\n}\n')
    done = check(str(config), tmp_path / cwd)
    assert done.returncode == 0, done.stderr[-2000:]
    shutil.rmtree(tmp_path / 'sip/ours/kamsync')
    assert 'cannot open included file: kamsync/modules.cfg' in check(str(config), tmp_path / cwd).stderr


@pytest.mark.alone('80 calls a second, of which nothing may be sent twice')
@pytest.mark.parametrize('scenario, kinds, gateway_gets', [
    ('cancel', ['INVITE', '180', 'CANCEL', '487', 'ACK'], ['INVITE', 'CANCEL', 'ACK']),
    ('call', ['INVITE', '180', '200/INVITE', 'ACK', 'BYE'], ['INVITE', 'ACK', 'BYE']),
    ('rejected', ['INVITE', '486', 'ACK'], ['INVITE', 'ACK']),
])
def test_every_message_to_every_node(cluster, scenario, kinds, gateway_gets):
    """Among them: CANCEL at another node, ACK at the third, replies elsewhere."""
    lab, table = cluster.lab, combinations(kinds)
    lab.trace.clear()
    lab.steer(by_call(table))
    result = call(lab, scenario, calls=len(table), rate=80)
    assert (result.ok, result.failed) == (len(table), 0), result

    def wrong():
        return [call_id for call_id in result.call_ids
                if Counter(lab.trace.received_by('gateway', call_id)) != Counter(gateway_gets)]
    try:
        wait_until(lambda: not wrong(), 5, 'the last packets')
    finally:
        for call_id in wrong()[:1]:
            print(combination_of(call_id, table), lab.trace.show(call_id), sep='\n')
    repeated = lab.trace.repeated()
    assert not repeated, lab.trace.show(repeated[0].call_id)


def test_cancel_that_nobody_owns(cluster):
    """481, where the stock configuration by itself says nothing."""
    cluster.lab.steer(to('b'))
    caller = Peer(cluster.lab, 'caller', 15091)
    caller.send(Request('nobody@lab', dial='ring1').cancel(caller))
    caller.expect('SIP/2.0 481')
    caller.close()
