"""A replica near by (store_near): a CANCEL's lookup asks it first. It is right, behind, wrong, away, or stands still."""
import json
import os
import re
import signal

import pytest

from fake_control import run_ctl
from harness import REPO, wait_until, without_takeover
from sip import open_handover
from test_strays import check_handover

PASSWORD = 'its-password'


def rights():
    """The command in docs/security.md, word for word."""
    with open(os.path.join(REPO, 'docs', 'security.md')) as file:
        line = next(line for line in file if line.startswith('    ACL SETUSER kamsync-near '))
    return line.replace('PASSWORD', PASSWORD).split()


class Near:
    """A replica of the store; hold() keeps it as it is, as one that has lost its primary."""

    def __init__(self, redis, make_redis):
        self.primary = redis
        redis.do('CONFIG', 'SET', 'repl-diskless-sync-delay', '0')
        self.redis = make_redis()
        self.follow()

    def follow(self):
        self.redis.do(*rights())
        self.redis.do('REPLICAOF', '127.0.0.1', self.primary.port)
        wait_until(lambda: b'master_link_status:up' in self.redis.do('INFO', 'replication'), 10, 'the replica to follow')

    def hold(self):
        self.redis.do('REPLICAOF', 'NO', 'ONE')

    def has(self, call):
        wait_until(lambda: self.redis.do('EXISTS', call.key()), 5, 'the record in the replica')


@pytest.fixture
def near(redis, make_redis):
    return Near(redis, make_redis)


@pytest.fixture
def nodes(make_node, near, tmp_path):
    """Nodes 1 and 2; the second has the replica."""
    password = tmp_path / 'near-password'
    password.write_text(PASSWORD + '\n')
    password.chmod(0o600)
    a = make_node(1, **without_takeover())
    b = make_node(2, store_near=near.redis.url, near_user='kamsync-near', near_password_file=password,
                  control=tmp_path / 'b.sock', **without_takeover())
    a.kamailio.wait_frame('node', id=2, up=1)
    b.kamailio.wait_frame('node', id=1, up=1)
    b.daemon.wait_log('(near replica): connected')
    wait_until(lambda: near.redis.do('EXISTS', 'kamsync:node:2'), 5, 'its own record there')
    return a, b


def ctl(node, *words):
    return run_ctl('-s', node.daemon.options['control'], *words).stdout


def wait_findings(node, what):
    wait_until(lambda: what in ctl(node, 'doctor'), 30, lambda: f'{what} in {ctl(node, "doctor")}', every=0.1)


def cancelled(node, call, count):
    """A CANCEL for it comes to that node; what kamsyncd has sent then."""
    before = len(node.kamailio.of_type('send'))
    node.kamailio.stray(call.cancel())
    return node.kamailio.wait_sends(before + count)[before:]


def named(node, call):
    """The same, by what the replica says. A busy machine may need more than the 10 ms that it has."""
    for _ in range(50):
        frame = cancelled(node, call, 1)[0]
        if open_handover(frame)[0]['why'] == 'perhaps':
            return frame
    raise AssertionError(f'the replica was never in time: {node.daemon.report()}')


def test_owner_is_found_there_and_nothing_else_is_asked(nodes, near):
    a, b = nodes
    call = a.report_call(180)
    near.has(call)
    frame = named(b, call)
    check_handover(frame, b.kamailio, a.kamailio, 'perhaps', call.cancel())
    at = open_handover(frame)[0]['at'].split('-')[0]
    a.kamailio.events(call.cancel_event(all=f'2.{at}'))
    b.daemon.wait_report(near_found=1, waiting=0)
    report = b.daemon.report()
    assert report['verdict_acted'] + report['near_vain'] == 1
    assert report['lookups'] == report['near_lookups'] - report['verdict_acted'], 'nothing else was asked'
    wait_until(lambda: re.search(r'^near +up$', ctl(b, 'status'), re.M), 5, 'near in the status')


def test_what_it_does_not_have_yet_is_in_the_store(nodes, near):
    a, b = nodes
    near.hold()
    call = a.report_call(180)
    frame = cancelled(b, call, 1)[0]
    check_handover(frame, b.kamailio, a.kamailio, 'owner', call.cancel())
    b.daemon.wait_report(near_lookups=1, near_found=0, lookups=1)
    wait_findings(b, 'warning near_behind')
    near.follow()
    near.has(call)
    wait_until(lambda: 'the near replica' not in ctl(b, 'doctor'), 30, 'no finding', every=0.1)


def test_whom_it_names_may_not_have_it_any_more(nodes, near, make_node, redis):
    """Another node has it by now: the first one does not act, and both get the CANCEL under one name."""
    a, b = nodes
    c = make_node(3, **without_takeover())
    b.kamailio.wait_frame('node', id=3, up=1)
    call = a.report_call(180)
    near.has(call)
    near.hold()
    record = json.loads(redis.do('GET', call.key()))
    record.update(epoch=record['epoch'] + 1, owner=3, inc=c.kamailio.inc)
    redis.do('SET', call.key(), json.dumps(record), 'PX', 60000)
    first = named(b, call)
    second = b.kamailio.wait_sends(b.kamailio.of_type('send').index(first) + 2)[-1]
    check_handover(first, b.kamailio, a.kamailio, 'perhaps', call.cancel())
    check_handover(second, b.kamailio, c.kamailio, 'owner', call.cancel())
    names = {open_handover(frame)[0]['at'].split('-')[0] for frame in (first, second)}
    assert len(names) == 1
    b.daemon.wait_report(near_found=1, near_vain=1)


def test_away_and_back(nodes, near):
    a, b = nodes
    call = a.report_call(180)
    near.redis.kill()
    b.daemon.wait_log('(near replica): connection lost')
    check_handover(cancelled(b, call, 1)[0], b.kamailio, a.kamailio, 'owner', call.cancel())
    b.daemon.wait_report(near_failed=1, lookups=1, store='up')
    wait_findings(b, 'is away')
    near.redis.start()
    near.follow()
    b.daemon.wait_log('(near replica): connected', 10, 2)
    near.has(call)
    check_handover(named(b, call), b.kamailio, a.kamailio, 'perhaps', call.cancel())


def test_stands_still(nodes, near):
    a, b = nodes
    call = a.report_call(180)
    near.has(call)
    near.redis.signal(signal.SIGSTOP)
    check_handover(cancelled(b, call, 1)[0], b.kamailio, a.kamailio, 'owner', call.cancel())
    b.daemon.wait_report(near_failed=1, lookups=1, store='up')
    near.redis.signal(signal.SIGCONT)


def test_without_rights_it_is_no_use_and_no_harm(nodes, near):
    a, b = nodes
    call = a.report_call(180)
    near.redis.do('ACL', 'SETUSER', 'kamsync-near', '-get')
    check_handover(cancelled(b, call, 1)[0], b.kamailio, a.kamailio, 'owner', call.cancel())
    b.daemon.wait_log('the near replica refuses: NOPERM')
    wait_findings(b, 'the near replica refuses: NOPERM')


def test_other_lookups_go_to_the_store(nodes, near):
    a, b = nodes
    call = a.report_call(486)
    near.has(call)
    b.kamailio.stray(call.ack())
    check_handover(b.kamailio.wait_sends(1)[0], b.kamailio, a.kamailio, 'owner', call.ack())
    assert b.daemon.report()['near_lookups'] == 0
