"""HTTP: what it answers, the same as kamsyncctl, as proto/http.json says; and what it refuses."""
import base64
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import jsonschema
import pytest

from fake_control import CTL
from harness import REPO, SLOWER, free_port, run_kamsyncd, wait_until
from http_client import get, talk, with_http
from sip import Call

API = json.loads(pathlib.Path(REPO, 'proto', 'http.json').read_text())
HOSTILE = '><script>alert(1)</script>\x7f\u202e\u00fc'
NOT_UTF8 = b'caf\xe9\xff'


def check(path, answer):
    """The answer is one that proto/http.json knows for that path and status."""
    template = re.sub(r'^(/v1/(?:call|tx|trace)/).+', r'\1{call_id}', path.split('?')[0])
    content = API['paths'][template]['get']['responses'][str(answer.code)]['content']
    (kind, media), = content.items()
    assert answer.headers['Content-Type'] == kind
    if kind == 'application/json':
        schema = {**media['schema'], 'components': API['components']}
        jsonschema.Draft202012Validator(schema).validate(answer.json())


def quote(data):
    """Each byte percent-encoded: what is not encoded as well must be the same."""
    return ''.join(f'%{byte:02x}' for byte in data)


def ctl(daemon, *words):
    out = subprocess.run([*CTL, '-s', daemon.control, '--json', *words], capture_output=True, check=True).stdout
    return json.loads(out)


def ask(daemon, path):
    """What all nodes answer; one may be late, which the answer says, and a question too many has to come again."""
    def whole():
        answer = get(daemon.port, path)
        busy = answer.code == 503 and answer.json()['reason'] == 'busy'
        return None if busy or answer.json().get('silent') else answer
    return wait_until(whole, 10, f'a whole answer to {path}')


def without_times(value):
    """Without what is another from moment to moment; the counters have a test of their own."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ('seen_ms', 'counters')}
    return [without_times(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
def cluster(make_kamailio, make_daemon, redis):
    """Two nodes with a call each that rings, one that is answered, one that has ended, and a stray."""
    kamailios = [make_kamailio(node).start() for node in (1, 2)]
    daemons = [with_http(make_daemon, k, store=redis.url, heartbeat_ms=200, node_ttl_ms=2000) for k in kamailios]
    kamailios[0].wait_frame('node', id=2, up=1)
    kamailios[1].wait_frame('node', id=1, up=1)
    ringing, answered = Call(display=HOSTILE), Call(call_id=b'a/b?c%20d+@' + NOT_UTF8)
    gone = Call()
    kamailios[0].events(ringing.branch_event(), ringing.reply_event(180), gone.branch_event(), gone.reply_event(486))
    kamailios[1].events(answered.branch_event(), answered.reply_event(180), answered.reply_event(200))
    wait_until(lambda: len(redis.transactions()) == 3, 10, 'the records')
    wait_until(lambda: redis.do('XLEN', 'kamsync:cdr') == 1, 10, 'the archive')
    kamailios[1].stray(ringing.cancel())
    kamailios[1].wait_sends(1)
    return daemons, {'ringing': ringing, 'answered': answered, 'gone': gone}


def test_each_answer_is_the_one_of_kamsyncctl(cluster):
    (daemon, other), calls = cluster
    ids = {name: quote(call.call_id) for name, call in calls.items()}
    answered = calls['answered'].call_id
    questions = {
        '/v1/status': ['status'], '/v1/nodes': ['nodes'], '/v1/calls': ['calls'], '/v1/cdr': ['cdr'],
        '/v1/calls?state=ringing&limit=5': ['calls', '--state', 'ringing', '--limit', '5'],
        '/v1/calls?node=2&caller=alice%40ex': ['calls', '--node', '2', '--caller', 'alice@ex'],
        '/v1/calls?callee=bob': ['calls', '--callee', 'bob'], '/v1/calls?order=oldest': ['calls'],
        '/v1/cdr?count=1': ['cdr', '-n', '1'],
        f'/v1/call/{ids["ringing"]}': ['call', calls['ringing'].call_id],
        f'/v1/call/{ids["answered"]}': ['call', answered],
        f'/v1/tx/{ids["ringing"]}': ['tx', calls['ringing'].call_id],
        f'/v1/tx/{ids["answered"]}': ['tx', answered],
        f'/v1/trace/{ids["ringing"]}': ['trace', calls['ringing'].call_id],
    }
    for path, words in questions.items():
        def same(path=path, words=words):
            answer = ask(daemon, path)
            assert answer.code == 200, answer.body
            check(path, answer)
            return without_times(answer.json()) == without_times(ctl(daemon, *words)) and answer
        answer = wait_until(same, 10, lambda path=path, words=words: f'{path}: {get(daemon.port, path).body}, {ctl(daemon, *words)}')
        assert not re.search(rb'[^\x20-\x7e\n]', answer.body.replace(b'\x7f', b'')), 'ASCII'
    assert len(ask(daemon, '/v1/calls').json()['calls']) == 2
    assert ask(other, '/v1/call/' + ids['answered']).json()['calls'][0]['call_id'] == {
        'base64': base64.b64encode(answered).decode()}


def test_views_say_who_sees_whom(cluster):
    (daemon, _), _ = cluster
    answer = ask(daemon, '/v1/views')
    check('/v1/views', answer)
    views = {view['node']: view for view in answer.json()['views']}
    assert {id_: {seen['id']: seen['state'] for seen in view['sees']} for id_, view in views.items()} == {
        1: {1: 'self', 2: 'up'}, 2: {1: 'up', 2: 'self'}}
    assert [views[node]['calls'] for node in (1, 2)] == [ask(daemon, f'/v1/calls?node={node}').json()['total'] for node in (1, 2)]


def test_newest_calls_and_those_of_one_party(cluster):
    (daemon, _), calls = cluster
    oldest, newest = (ask(daemon, f'/v1/calls?order={order}') for order in ('oldest', 'newest'))
    check('/v1/calls', newest)
    begun = [call['trying'] for call in newest.json()['calls']]
    assert begun == sorted(begun, reverse=True) == [call['trying'] for call in oldest.json()['calls']][::-1]
    assert len(begun) == 2
    assert ask(daemon, '/v1/calls?party=bob').json()['total'] == ask(daemon, '/v1/calls?party=alice').json()['total'] == 2
    assert ask(daemon, '/v1/calls?party=carol').json()['total'] == 0


def test_answers_of_others_come_at_once(cluster):
    """Those of the store and of the other node, for which a question waits."""
    (daemon, _), _ = cluster
    for path in ('/v1/cdr', '/v1/calls'):
        took = []
        for _ in range(5):
            begun = time.monotonic()
            assert get(daemon.port, path).code == 200
            took.append(time.monotonic() - begun)
        assert sorted(took)[2] < 0.1 * SLOWER, (path, took)


def test_counters_are_those_of_the_status(cluster):
    (daemon, _), _ = cluster
    before, status, after = get(daemon.port, '/v1/counters'), ctl(daemon, 'status'), get(daemon.port, '/v1/counters')
    check('/v1/counters', after)
    counted = status['counters']
    assert list(after.json()['counters']) == list(counted) and counted['frames_in'] > 0
    assert [name for name, value in counted.items()
            if not before.json()['counters'][name] <= value <= after.json()['counters'][name]] == []
    assert get(daemon.port, '/v1/status').json()['counters']['frames_in'] >= counted['frames_in']


def test_paths_of_the_document_are_those_of_the_code():
    code = pathlib.Path(REPO, 'daemon', 'http', 'routes.c').read_text()
    routes = re.findall(r'^    \{"(/[^"]+)", ROUTE_', code, re.M)
    assert sorted(re.sub('/$', '/{call_id}', route) for route in routes) == sorted(API['paths']) and len(routes) > 9
    taken = {(f'/v1/{cmd}', name) for cmd, name in re.findall(r'\{"(\w+)", "(\w+)", KIND_', code)}
    assert taken == {(path, p['name']) for path, item in API['paths'].items()
                     for p in item['get'].get('parameters', []) if p['in'] == 'query'}
    jsonschema.Draft202012Validator.check_schema({'$defs': API['components']['schemas']})


@pytest.mark.parametrize('path, code, reason', [
    ('/v1/call/nobody', 404, 'absent'), ('/v1/calls?limit=0', 400, 'wrong'), ('/v1/calls?limit=1001', 400, 'wrong'),
    ('/v1/calls?limit=-1', 400, 'wrong'), ('/v1/calls?limit=1e3', 400, 'wrong'), ('/v1/calls?node=0', 400, 'wrong'),
    ('/v1/calls?limit=99999999999999999999', 400, 'wrong'), ('/v1/calls?limit=1&limit=2', 400, 'wrong'),
    ('/v1/calls?colour=red', 400, 'wrong'), ('/v1/calls?limit', 400, 'wrong'), ('/v1/cdr?count=1001', 400, 'wrong'),
    ('/v1/cdr?after=x', 400, 'wrong'), ('/v1/cdr?after=-1', 400, 'wrong'), ('/v1/cdr?limit=3', 400, 'wrong'),
    ('/v1/status?' + '&'.join(f'a{i}=1' for i in range(9)), 400, 'wrong')])
def test_wrong_questions(kamailio, make_daemon, path, code, reason):
    daemon = with_http(make_daemon, kamailio)
    answer = get(daemon.port, path)
    check(path, answer)
    assert (answer.code, answer.json()['reason']) == (code, reason), answer.body


@pytest.mark.parametrize('path', ['/v1/call/%zz', '/v1/call/%', '/v1/call/a%00b'])
def test_wrong_escapes(kamailio, make_daemon, path):
    """libmicrohttpd 1.0.10 refuses these itself, in words of its own."""
    answer = get(with_http(make_daemon, kamailio).port, path)
    assert answer.code == 400
    if 'Content-Type' in answer.headers:
        check(path, answer)
        assert answer.json()['reason'] == 'wrong'


@pytest.mark.parametrize('path', ['/v1', '/v1/', '/v1/call/', '/v1/call', '/v1/drain', '/v1/undrain', '/v1/reload',
                                  '/v1/status/', '/V1/status', '//v1/status', '/metricsx', '/../etc/passwd', '*',
                                  'http://127.0.0.1/v1/status'])
def test_nothing_else_is_there(kamailio, make_daemon, path):
    daemon = with_http(make_daemon, kamailio)
    assert get(daemon.port, path).code in (404, 400)
    assert daemon.report()['drained'] == 'no'


def test_plus_is_a_plus(cluster):
    (daemon, _), _ = cluster
    assert ask(daemon, '/v1/calls?caller=al+ice').json()['calls'] == []
    assert len(ask(daemon, '/v1/calls?caller=sip:alice@example.com').json()['calls']) == 2


@pytest.mark.parametrize('method', ['POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'PATCH', 'PRI', 'get'])
def test_only_get_and_head(kamailio, make_daemon, method):
    daemon = with_http(make_daemon, kamailio)
    answer = get(daemon.port, '/v1/status', method)
    assert (answer.code, answer.headers['Allow']) == (405, 'GET, HEAD')
    head = get(daemon.port, '/v1/status', 'HEAD')
    assert head.code == 200 and not head.body and int(head.headers['Content-Length']) > 500


@pytest.mark.parametrize('more', [b'Content-Length: 5\r\n\r\nhello', b'Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
                                  b'Content-Length: 18446744073709551615\r\n\r\n'])
def test_no_bodies(kamailio, make_daemon, more):
    daemon = with_http(make_daemon, kamailio)
    answer = talk(daemon.port, b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n' + more)
    assert re.match(rb'HTTP/1.1 4(13|00) ', answer), answer


def test_browsers_are_not_led_here(kamailio, make_daemon):
    """A name that its owner lets point to 127.0.0.1."""
    daemon = with_http(make_daemon, kamailio)
    for name in ('evil.example', 'evil.example:80', f'localhost.evil.example:{daemon.port}', '127.0.0.1.evil.example', '', '[x]'):
        assert get(daemon.port, '/v1/calls', Host=name).code == 403, name
    for name in ('localhost', f'LOCALHOST:{daemon.port}', '127.0.0.1', f'127.0.0.1:{daemon.port}', '[::1]', f'[::1]:{daemon.port}'):
        answer = get(daemon.port, '/v1/calls', Host=name)
        assert answer.code == 200 and 'Access-Control-Allow-Origin' not in answer.headers, name
    assert talk(daemon.port, b'GET /healthz HTTP/1.0\r\n\r\n')[8:13] == b' 200 '


def test_long_url(kamailio, make_daemon):
    daemon = with_http(make_daemon, kamailio)
    assert get(daemon.port, '/v1/tx/' + 'a' * 4088).code == 200
    assert get(daemon.port, '/v1/tx/' + 'a' * 4089).code == 414


# Whether the node should get calls

def test_ready_as_the_ready_file_says(tmp_path, make_kamailio, make_daemon):
    kamailio, ready = make_kamailio().start(), tmp_path / 'ready'
    daemon = with_http(make_daemon, kamailio, ready_file=ready, hang_ms=300)

    def says(reason):
        answer = get(daemon.port, '/readyz')
        check('/readyz', answer)
        return answer.json().get('reason') == reason and (answer.code == 200) == (reason is None) == ready.exists()

    def wait(reason):
        wait_until(lambda: says(reason), 10, lambda: f'{reason}, not {get(daemon.port, "/readyz").body}; file: {ready.exists()}')
        assert get(daemon.port, '/healthz').json() == {'ok': True}
    wait(None)
    daemon.signal(signal.SIGUSR2)
    wait('drained')
    daemon.signal(signal.SIGUSR2)
    wait(None)
    kamailio.acks = False
    kamailio.events(Call().branch_event())
    daemon.reload(log_level='debug')  # a frame that Kamailio should acknowledge
    wait('kamailio hangs')
    kamailio.acks = True
    kamailio.ack_all()
    wait(None)
    kamailio.stop()
    wait('kamailio away')
    kamailio.start()
    wait(None)


# The port

def listening(daemon):
    """The TCP addresses on which it listens, as the kernel writes them."""
    inodes = {os.readlink(f'/proc/{daemon.popen.pid}/fd/{fd}') for fd in os.listdir(f'/proc/{daemon.popen.pid}/fd')}
    rows = [line.split() for name in ('tcp', 'tcp6') if os.path.exists(f'/proc/net/{name}')
            for line in pathlib.Path('/proc/net', name).read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[3] == '0A' and f'socket:[{row[9]}]' in inodes]


def test_no_port_without_the_option(kamailio, make_daemon):
    daemon = make_daemon(kamailio).start()
    kamailio.wait_hello()
    assert listening(daemon) == []


def test_port_alone_is_loopback(kamailio, make_daemon):
    daemon = with_http(make_daemon, kamailio)
    assert listening(daemon) == [f'0100007F:{daemon.port:04X}']


@pytest.mark.parametrize('address, host', [('127.0.0.2', '127.0.0.2'), ('[::1]', '::1'), ('0.0.0.0', '127.0.0.1')])
def test_address_of_choice(kamailio, make_daemon, address, host):
    if ':' in host:
        try:
            socket.create_server((host, 0), family=socket.AF_INET6).close()
        except OSError:
            pytest.skip('needs ::1')
    port = free_port()
    daemon = make_daemon(kamailio, http_listen=f'{address}:{port}').start()
    assert get(port, '/healthz', host=host).code == 200
    assert ('whoever reaches it can read all calls' in daemon.log()) == (address == '0.0.0.0')
    assert get(port, '/healthz', host=host, Host='node1.example').code == (200 if address == '0.0.0.0' else 403)


def test_port_in_use_is_said(tmp_path, kamailio, make_daemon):
    with socket.create_server(('127.0.0.1', 0)) as other:
        port = other.getsockname()[1]
        daemon = make_daemon(kamailio, http_listen=port).start()
        daemon.wait_log(f"http_listen '{port}': Address already in use")
        kamailio.wait_hello()


def test_restart_takes_the_port_again(kamailio, make_daemon):
    daemon = with_http(make_daemon, kamailio)
    for end in (daemon.kill, daemon.stop):
        get(daemon.port, '/healthz')
        end()
        daemon.start()
        assert get(daemon.port, '/healthz').code == 200


def test_change_needs_a_restart(kamailio, make_daemon):
    daemon = with_http(make_daemon, kamailio)
    daemon.reload(http_listen=free_port())
    daemon.wait_log("a change of 'http_listen' needs a restart")
    assert get(daemon.port, '/healthz').code == 200


@pytest.mark.parametrize('value, good', [('9190', True), ('127.0.0.1:9190', True), ('[::1]:9190', True), ('0', False),
                                         ('65536', False), ('localhost:9190', False), ('127.0.0.1', False), ('x', False)])
def test_setting_is_checked(tmp_path, value, good):
    conf = tmp_path / 'c'
    conf.write_text(f'http_listen = {value}\n')
    out = run_kamsyncd('--check', '-c', conf)
    assert (out.returncode == 0) == good and ('http_listen' in out.stderr) != good


def test_end_while_a_question_waits(cluster):
    """For the other node, which hangs."""
    (daemon, other), _ = cluster
    other.signal(signal.SIGSTOP)
    try:
        with socket.create_connection(('127.0.0.1', daemon.port)) as s:
            s.sendall(b'GET /v1/calls HTTP/1.1\r\nHost: localhost\r\n\r\n')
            assert get(daemon.port, '/healthz').code == 200, 'so it has got the other one, too'
            daemon.signal(signal.SIGTERM)
            daemon.signal(signal.SIGINT)  # at once
            daemon.wait_exit(10)
    finally:
        other.signal(signal.SIGCONT)


def test_silent_node(cluster):
    (daemon, other), _ = cluster
    other.signal(signal.SIGSTOP)
    try:
        answer = get(daemon.port, '/v1/calls')
    finally:
        other.signal(signal.SIGCONT)
    check('/v1/calls', answer)
    assert answer.json()['silent'] == [2] and len(answer.json()['calls']) == 1


def test_store_away(make_kamailio, make_daemon, redis):
    daemon = with_http(make_daemon, make_kamailio().start(), store=redis.url)
    wait_until(lambda: get(daemon.port, '/readyz').code == 200, 8, 'ready')
    redis.kill()
    daemon.wait_report(store='down')
    answer = get(daemon.port, '/v1/cdr')
    check('/v1/cdr', answer)
    assert (answer.code, answer.json()['reason']) == (503, 'away')
    assert get(daemon.port, '/readyz').code == 200, 'calls go on'
