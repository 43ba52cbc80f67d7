"""Redis behind a network that breaks connections, and one that is far too slow."""
import os
import socket
import sys

import pytest

from harness import REPO, free_port, wait_until
from sip import Call

sys.path += [os.path.join(REPO, 'tests', 'e2e'), os.path.join(REPO, 'tests', 'bench')]

import overload  # noqa: E402
from lab.redis_proxy import Proxy  # noqa: E402


@pytest.fixture
def proxy(redis):
    port = free_port()
    made = Proxy(lambda: socket.create_server(('127.0.0.1', port)),
                 lambda: socket.create_connection(('127.0.0.1', redis.port)))
    made.url = f'redis://127.0.0.1:{port}'
    yield made
    made.stop()


def test_a_reset_is_noticed_at_once(proxy, make_node, redis):
    """Not only when an answer is missed for redis_timeout_ms."""
    node = make_node(1, store=proxy.url, redis_timeout_ms=60000)
    proxy.cut_after(1)
    node.daemon.wait_log('connection lost: Connection reset by peer')
    proxy.ok()
    node.daemon.wait_report(store='up')
    node.report_call(180)


def test_a_refused_connection_is_noticed_at_once(make_node, redis):
    node = make_node(1, redis_timeout_ms=60000)
    redis.kill()
    node.daemon.wait_report(store='down')
    redis.start()
    node.daemon.wait_report(store='up')


def test_another_refusal_is_said_as_well(make_node, redis):
    """Though one was said before on the same connection."""
    node = make_node(1)
    redis.do('CONFIG', 'SET', 'maxmemory-policy', 'noeviction')
    redis.do('CONFIG', 'SET', 'maxmemory', '1')
    node.daemon.wait_log('redis refuses: OOM')
    redis.do('CONFIG', 'SET', 'maxmemory', '0')
    redis.do('REPLICAOF', '127.0.0.1', free_port())
    node.kamailio.events(Call().branch_event())
    node.daemon.wait_log('redis refuses: READONLY')


def test_why_it_cannot_connect_again_is_said(make_node, redis):
    """Once for each loss: the first reason is that it has ended, and says nothing of what came then."""
    node = make_node(1)
    for lost in (1, 2):
        redis.kill()
        node.daemon.wait_log('(commands): cannot connect, trying again for ever: Connection refused', count=lost)
        node.daemon.wait_log('(commands): connection lost', count=lost)
        redis.start()
        node.daemon.wait_log('(commands): connected', count=lost + 1)
    assert node.daemon.log().count('(commands): cannot connect') == 2


def test_a_password_that_changed_is_said(make_redis, make_kamailio, make_daemon, tmp_path):
    redis = make_redis(requirepass='right')
    redis.auth = ['right']
    (tmp_path / 'password').write_text('right\n')
    (tmp_path / 'password').chmod(0o400)
    daemon = make_daemon(make_kamailio().start(), store=redis.url, redis_password_file=tmp_path / 'password').start()
    daemon.wait_report(store='up')
    redis.do('CONFIG', 'SET', 'requirepass', 'another')
    redis.auth = ['another']
    redis.do('CLIENT', 'KILL', 'TYPE', 'normal')
    daemon.wait_log('AUTH refused: WRONGPASS')


def test_overload(tmp_path):
    """Ten times too much: what does not fit is counted, the rest is written when it can be."""
    run = overload.Run(str(tmp_path), 3, txns_max=1500)
    run.show()
    shed = run.rows[-1][5]
    assert shed > 0 and run.tracked == len(run.calls) - shed
    assert all(row[2] <= 1500 for row in run.rows)
    wait_until(lambda: run.recovered < 30, 1, 'recovery')
