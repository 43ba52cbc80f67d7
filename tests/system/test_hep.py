"""What a HEP server (HOMER) sees of handovers and takeovers."""
import ipaddress
import time

import pytest

from fake_kamailio import DST, SRC
from harness import wait_until
from hep_server import LOG, SIP, HepServer
from sip import Call, b64

PASSWORD = 'a-password-for-homer'


@pytest.fixture
def server():
    server = HepServer()
    yield server
    server.close()


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / 'hep'
    path.write_text(PASSWORD + '\n')
    path.chmod(0o400)
    return path


def way(packet):
    """From where to where, as text; and what."""
    ends = [(f'[{a}]' if a.version == 6 else str(a)) + f':{port}'
            for a, port in ((packet['src'], packet['src_port']), (packet['dst'], packet['dst_port']))]
    return (*ends, packet['payload'])


def without_transport(text):
    return text.removeprefix('udp:')


def test_handover(make_node, server, secret):
    """As it came, as it was handed over, and the decision; and nothing of ordinary calls."""
    a = make_node(1, hep=server.at)
    b = make_node(2, hep=server.at, hep_password_file=secret, hep_id=2011)
    a.kamailio.wait_frame('node', id=2, up=1)
    b.kamailio.wait_frame('node', id=1, up=1)
    before = time.time()
    call = a.report_call(180)
    a.report_call(180, 200)
    b.kamailio.stray(call.cancel())
    b.kamailio.wait_sends(1)
    came, handed, decided = server.wait(3)
    assert way(came) == (without_transport(SRC), without_transport(DST), call.cancel())
    assert way(handed) == (b.kamailio.sip, a.kamailio.sip, call.cancel())
    assert decided['payload'] == f'stray CANCEL from={SRC}: owner, owner=1'.encode()
    for packet, kind in ((came, SIP), (handed, SIP), (decided, LOG)):
        assert (packet['type'], packet['agent'], packet['transport']) == (kind, 2011, 17)
        assert (packet['call_id'], packet['name'], packet['password']) == (call.call_id, b.daemon.options['name'].encode(), PASSWORD.encode())
        assert before - 1 < packet['seconds'] + packet['microseconds'] / 1e6 < time.time() + 1
    b.daemon.wait_report(hep_sent=3, hep_dropped=0)
    a.daemon.wait_report(hep_sent=0)


def test_all_got_it_at_once(make_node, server):
    """In a small cluster the script hands a CANCEL to all: the way to the one that has acted is shown."""
    a, b = make_node(1), make_node(2, hep=server.at)
    b.kamailio.wait_frame('node', id=1, up=1)
    a.kamailio.wait_frame('node', id=2, up=1)
    call, at = a.report_call(180), f'{time.time():.3f}.1'
    a.kamailio.events(call.cancel_event(all=f'2.{at}'))
    wait_until(lambda: b'"cancelled":true' in a.redis.record(call.key()), 5, 'the record says so')
    b.kamailio.events({'t': 'stray', 'src': SRC, 'dst': DST, 'all': at, 'msg': b64(call.cancel())})
    came, handed, decided = server.wait(3)
    assert way(handed) == (b.kamailio.sip, a.kamailio.sip, call.cancel()) and came['type'] == SIP
    assert b': acted, owner=1' in decided['payload']
    assert not [f for f in b.kamailio.of_type('send') if f['to'] == a.kamailio.sip], 'kamsyncd has not handed it over'


def test_takeover(make_node, server):
    """The INVITE, from its caller into the new Kamailio."""
    a, b = make_node(1), make_node(2, hep=server.at)
    b.kamailio.wait_frame('node', id=1, up=1)
    call = a.report_call(180)
    b.kamailio.unreachable.add(1)
    a.daemon.kill()
    seen = [p for p in wait_until(lambda: len(server.seen()) >= 2 and server.seen(), 20, server.seen) if p['call_id'] == call.call_id]
    assert way(seen[1]) == (without_transport(SRC), b.kamailio.sip, call.invite()) and seen[1]['agent'] == 2
    assert seen[0]['payload'].startswith(b'its node is gone: the INVITE goes back into') and seen[0]['type'] == LOG


def test_two_families(kamailio, make_daemon, server):
    """A packet has one: the IPv4 address becomes a mapped one."""
    make_daemon(kamailio, hep=server.at, lookup_ms=0).start().wait_report(kamailio='up')
    kamailio.stray(Call().cancel(), src='udp:[2001:db8::7]:5062', dst='udp:192.0.2.5:5060')
    packet = server.wait(1)[0]
    assert way(packet)[0] == '[2001:db8::7]:5062' and packet['dst'].ipv4_mapped == ipaddress.ip_address('192.0.2.5')


@pytest.mark.parametrize('size', [0, 1, 1400, 30000, 40000])
def test_lengths(kamailio, make_daemon, server, size):
    """Each is shown whole, or dropped and counted; Call-ID and message as long as they come."""
    daemon = make_daemon(kamailio, hep=server.at, lookup_ms=0).start()
    daemon.wait_report(kamailio='up')
    call = Call(call_id=b'c"\xff' + b'i' * size)
    kamailio.stray(call.cancel())
    wait_until(lambda: (r := daemon.report())['hep_sent'] + r['hep_dropped'] >= 2, 10, 'both packets')
    sent = daemon.report()['hep_sent']
    assert len(server.wait(sent)) == sent and (daemon.report()['hep_dropped'] > 0) == (size == 40000)
    assert all(p['call_id'] == call.call_id for p in server.seen())


def test_flood(kamailio, make_daemon, server):
    """1,000 packets a second, whatever comes."""
    daemon = make_daemon(kamailio, hep=server.at, lookup_ms=0).start()
    daemon.wait_report(kamailio='up')
    begun = time.monotonic()
    for _ in range(1500):
        kamailio.stray(Call().cancel())
    wait_until(lambda: (r := daemon.report())['hep_sent'] + r['hep_dropped'] >= 3000, 30, 'all packets')
    report, seconds = daemon.report(), time.monotonic() - begun
    assert 1000 <= report['hep_sent'] <= 1000 * (seconds + 2)
    assert report['hep_dropped'] or seconds > 3


def test_nobody_listens(kamailio, make_daemon, server):
    """Kamailio has its verdicts all the same."""
    at = server.at
    server.close()
    daemon = make_daemon(kamailio, hep=at, lookup_ms=0).start()
    daemon.wait_report(kamailio='up')
    for _ in range(50):
        kamailio.stray(Call().cancel())
    kamailio.wait_sends(50, timeout=20)


def test_reload_keeps_its_texts(kamailio, make_daemon, server, secret):
    daemon = make_daemon(kamailio, hep=server.at, hep_password_file=secret, lookup_ms=0).start()
    daemon.wait_report(kamailio='up')
    daemon.reload(log_level='debug')
    daemon.wait_log('settings reloaded')
    kamailio.stray(Call().cancel())
    assert server.wait(1)[0]['password'] == PASSWORD.encode()
    daemon.reload(hep='127.0.0.1:1')
    daemon.wait_log("a change of 'hep' needs a restart")
