"""Hostile clients of the HTTP port: whatever they do, kamsyncd works on, its memory is bounded, and the port is there again
when they are gone."""
import os
import re
import socket
import threading
import time

import pytest

from harness import SLOWER, wait_until
from http_client import dial, get, read_all, talk, with_http
from sip import Call

pytestmark = pytest.mark.alone('STALL_S, and SHARE of the processor')

CONNECTIONS_MAX, PER_ADDRESS_MAX = 64, 32  # daemon/http/http.c
CUT_S = 10      # so long a request, or the reading of its answer, may take
SHARE = 0.22    # of the time, which HTTP and a few strays may take
STALL_S = 0.3   # longest that a stray may wait meanwhile; it is answered at once otherwise
HEAD = b'HEAD /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n'  # the work of an answer, and little to read
GET = b'GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n'


class Crowd:
    """Connections, closed at the end."""

    def __init__(self):
        self.all = []

    def add(self, s):
        self.all.append(s)
        return s

    def close(self):
        for s in self.all:
            s.close()


@pytest.fixture
def crowd():
    crowd = Crowd()
    yield crowd
    crowd.close()


@pytest.fixture
def daemon(make_kamailio, make_daemon, redis):
    kamailio = make_kamailio().start()
    daemon = with_http(make_daemon, kamailio, store=redis.url)
    daemon.kamailio = kamailio
    return daemon


def stray_s(daemon):
    """How long a stray takes that the store has to be asked about: an INVITE that nobody knows."""
    sends = len(daemon.kamailio.of_type('send'))
    begun = daemon.kamailio.stray(Call().invite())
    wait_until(lambda: len(daemon.kamailio.of_type('send')) > sends, 10, 'the verdict', every=0.0005)
    return time.monotonic() - begun


def check_works(daemon, times=20):
    """Strays are answered as always. One of them may meet a moment in which this machine does something else."""
    took = sorted(stray_s(daemon) for _ in range(times))
    assert took[times - 2] < STALL_S * SLOWER, took


def connections(daemon):
    return int(re.search(rb'^kamsync_http_connections (\d+)', get(daemon.port, '/metrics').body, re.M)[1])


def descriptors(daemon):
    return len(os.listdir(f'/proc/{daemon.popen.pid}/fd'))


def cpu_s(daemon):
    return sum(map(int, open(f'/proc/{daemon.popen.pid}/stat').read().rsplit(')', 1)[1].split()[11:13])) / os.sysconf('SC_CLK_TCK')


def report_calls(daemon, count):
    """Live calls with long names: an answer that fits into no socket."""
    for start in range(0, count, 20):
        calls = [Call(call_id=f'{i:0200}') for i in range(start, start + 20)]
        daemon.kamailio.events(*[call.branch_event() for call in calls])
        wait_until(lambda start=start: daemon.report()['transactions'] >= start + 20, 20, 'the calls')


def ask_without_reading(crowd, port, path=b'/v1/calls?limit=1000'):
    s = crowd.add(dial(port, window=2048))
    s.sendall(GET % path)
    return s


def test_slow_readers(daemon, crowd):
    """They ask for much and read nothing: each is cut off, and holds its answer only until then."""
    report_calls(daemon, 1000)
    size = len(get(daemon.port, '/v1/calls?limit=1000').body)
    assert size > 400000
    before = daemon.memory_kb()
    for _ in range(8):
        ask_without_reading(crowd, daemon.port)
    begun = time.monotonic()
    check_works(daemon)
    wait_until(lambda: connections(daemon) == 1, CUT_S + 10, lambda: f'{connections(daemon)} connections', every=0.1)
    assert time.monotonic() - begun > CUT_S / 2, 'who reads slowly has some time'
    assert daemon.memory_kb() - before < 100000
    assert get(daemon.port, '/v1/calls?limit=1000').code == 200


def test_one_who_reads_byte_by_byte_is_cut_off(daemon, crowd):
    """Something moves all the time, so it is never idle."""
    report_calls(daemon, 1000)
    size = len(get(daemon.port, '/v1/calls?limit=1000').body)
    s = ask_without_reading(crowd, daemon.port)
    begun = time.monotonic()
    got = 0
    try:
        while part := s.recv(1000):
            got += len(part)
            time.sleep(0.025)
    except ConnectionResetError:
        pass
    assert CUT_S - 1 < time.monotonic() - begun < (CUT_S + 10) * SLOWER and 200 < got < size


def drip(s, data, stop):
    """A byte every 50 ms, until it is over or the other end closes."""
    try:
        for byte in data:
            if stop.wait(0.05):
                return
            s.sendall(bytes([byte]))
    except OSError:
        pass


def test_requests_that_come_byte_by_byte(daemon, crowd):
    stop, begun = threading.Event(), time.monotonic()
    slow = [crowd.add(dial(daemon.port)) for _ in range(PER_ADDRESS_MAX - 2)]
    threads = [threading.Thread(target=drip, args=(s, b'GET /healthz HTTP/1.1\r\nX: ' + b'a' * 5000, stop)) for s in slow]
    for thread in threads:
        thread.start()
    try:
        check_works(daemon)
        assert get(daemon.port, '/healthz').code == 200, 'the last ones are for others'
        for s in slow:
            read_all(s)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert time.monotonic() - begun < (CUT_S + 10) * SLOWER
    wait_until(lambda: connections(daemon) == 1, 5, lambda: f'{connections(daemon)} connections')


def test_many_connections(daemon, crowd):
    """No address may have all of them, and none takes descriptors that kamsyncd needs."""
    before = descriptors(daemon)
    for last in (1, 2, 3):
        for _ in range(100):
            s = crowd.add(socket.socket())
            s.bind((f'127.0.0.{last}', 0))
            s.settimeout(10)
            s.connect(('127.0.0.1', daemon.port))
    check_works(daemon)
    assert descriptors(daemon) - before <= CONNECTIONS_MAX + 1
    assert daemon.report()['kamailio'] == 'up'
    wait_until(lambda: descriptors(daemon) == before, 30, 'idle ones are closed', every=0.1)
    assert get(daemon.port, '/healthz').code == 200


def test_one_address_leaves_room_for_others(daemon, crowd):
    for _ in range(CONNECTIONS_MAX + 10):
        s = crowd.add(socket.socket())
        s.bind(('127.0.0.9', 0))
        s.settimeout(10)
        s.connect(('127.0.0.1', daemon.port))
    assert connections(daemon) <= PER_ADDRESS_MAX + 1


@pytest.mark.parametrize('request_', [
    b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ' + b'a' * 100000 + b'\r\n\r\n',
    b'GET /healthz HTTP/1.1\r\nHost: localhost\r\n' + b''.join(b'X%d: a\r\n' % i for i in range(20000)) + b'\r\n',
    b'GET /' + b'a' * 100000 + b' HTTP/1.1\r\nHost: localhost\r\n\r\n',
    b'GET /v1/call/' + b'%41' * 1400 + b' HTTP/1.1\r\nHost: localhost\r\n\r\n',
    b'G' * 100000, b'\r\n' * 50000, b'\0' * 1000 + b'\r\n\r\n', b'GET /healthz\r\n\r\n', b'GET\r\n\r\n',
    b'GET /healthz HTTP/9.9\r\n\r\n', b'GET /healthz HTTP/1.1\r\n\r\n', b'GET /healthz HTTP/1.1\r\n : x\r\n\r\n',
    b'GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', b'\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03' + b'\0' * 500,
    b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n',
], ids=lambda r: r[:24].decode('latin1'))
def test_odd_requests(daemon, request_):
    """Refused, or answered; and always ended."""
    answer = talk(daemon.port, request_, last=True)
    assert not answer or re.match(rb'HTTP/1\.[01] (200|4\d\d|505) ', answer), answer[:200]
    assert len(request_) < 4000 or b' 200 ' not in answer[:20]
    check_works(daemon, 3)
    assert get(daemon.port, '/healthz').code == 200


def test_pipelined_requests(daemon):
    """Many at once, on many connections: each is answered in its turn, and kamsyncd has time for other things."""
    count = 150
    last = b'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(talk(daemon.port, HEAD * count + last)))
               for _ in range(PER_ADDRESS_MAX)]
    begun, used = time.monotonic(), cpu_s(daemon)
    for thread in threads:
        thread.start()
    check_works(daemon)
    for thread in threads:
        thread.join()
    assert cpu_s(daemon) - used < SHARE * SLOWER * (time.monotonic() - begun) + 0.05
    assert [answer.count(b'HTTP/1.1 200 OK') for answer in answers] == [count + 1] * PER_ADDRESS_MAX


def test_questions_one_after_the_other(daemon):
    """As fast as can be, by several clients: most are told to come again, and what is not a question is served all the time."""
    until, codes, lock = time.monotonic() + 3, [], threading.Lock()

    def ask():
        while time.monotonic() < until:
            answer = get(daemon.port, '/v1/nodes')
            with lock:
                codes.append((answer.code, answer.headers.get('Retry-After')))
    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    check_works(daemon)
    assert get(daemon.port, '/metrics').code == get(daemon.port, '/healthz').code == 200
    for thread in threads:
        thread.join()
    assert set(codes) == {(200, None), (503, '1')}
    assert codes.count((200, None)) <= 50 + 4 * 50, 'a second in advance, then fifty a second'


def test_clients_that_are_gone(daemon):
    """They ask and do not wait; many of the answers find nobody."""
    before = descriptors(daemon)
    for _ in range(200):
        with dial(daemon.port) as s:
            s.sendall(GET % b'/v1/calls')
    check_works(daemon)
    wait_until(lambda: descriptors(daemon) == before, 20, 'all are closed', every=0.1)
    wait_until(lambda: get(daemon.port, '/v1/calls').code == 200, 10, 'an answer')
