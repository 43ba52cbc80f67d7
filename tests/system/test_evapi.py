"""The link to Kamailio: whatever arrives, in whatever pieces, and how much may be under way the other way.

evapi loses data silently when more is under way than its reader holds, or when a read ends inside a frame."""
import time

import pytest

from fake_kamailio import events_frame, netstring, text_of
from harness import wait_until
from sip import Call, b64, open_handover, warm_up

WINDOW = 16384  # bytes of payload that may be unacknowledged


@pytest.fixture
def daemon(kamailio, make_daemon):
    """It gives no link up because nobody acknowledges or reads, however long a test takes on a busy machine."""
    daemon = make_daemon(kamailio, hang_ms=60000).start()
    daemon.wait_report(kamailio='up', store='up')
    warm_up(kamailio)
    return daemon


def key_of(kamailio):
    return kamailio.key()


def works(kamailio):
    """The link carries a stray there and back; frames of before may still come."""
    before, call = len(kamailio.of_type('send')), Call()
    kamailio.stray(call.cancel())
    wait_until(lambda: any(open_handover(frame, key_of(kamailio))[1] == call.cancel()
                           for frame in kamailio.of_type('send')[before:]), 10, 'the stray comes back')


# ---- from Kamailio ----

def test_frames_in_single_bytes(kamailio, daemon):
    call = Call()
    kamailio.acks = False  # an ack in the midst of it would be garbage
    stream = (kamailio.events_frame(call.branch_event(), call.reply_event(180))
              + kamailio.events_frame(call.reply_event(183)) + kamailio.stray_frame(call.cancel()))
    for i in range(len(stream)):
        kamailio.write(stream[i:i + 1])
    fields, message = open_handover(kamailio.wait_sends(1)[0], key_of(kamailio))
    assert fields['why'] in ('done', 'owner') and message == call.cancel()
    daemon.wait_report(events_branch=1, events_reply=2, events_foreign=0, frames_bad=0)


def test_burst_of_20000_frames(kamailio, daemon):
    before = daemon.report()['frames_in']
    event = Call().reply_event(180)
    kamailio.write(b''.join(kamailio.events_frame(event) for _ in range(20_000)))
    wait_until(lambda: daemon.report()['events_reply'] == 20_000, 20, 'all events', every=0.05)
    report = daemon.report()
    assert report['frames_in'] >= before + 20_000 and report['frames_lost'] == report['frames_bad'] == 0
    kamailio.wait_frame('ack', events=20_000)


def test_largest_frame(kamailio, daemon):
    call = Call()
    text = text_of({'t': 'events', 'n': 1}) + text_of(call.branch_event())
    kamailio.n = 1
    kamailio.write(netstring((text[:1] + ' ' * (262_144 - len(text)) + text[1:]).encode()))
    daemon.wait_report(events_branch=1, transactions=1)
    assert len(kamailio.connects) == 1


@pytest.mark.parametrize('garbage', [b'GET / HTTP/1.0\r\n\r\n', b'5:hello;', b'262145:', b'9999999', b'007:{"t":1},',
                                     b'-1:,', b':,', b'\x00'])
def test_broken_framing(kamailio, daemon, garbage):
    kamailio.write(garbage)
    daemon.wait_log('framing from Kamailio is lost')
    kamailio.wait_hello(count=2)
    daemon.wait_report(kamailio='up', frames_bad=1, link_ups=2)
    works(kamailio)


@pytest.mark.parametrize('payload', [b'', b'{', b'[]', b'"x"', b'{"t":"what"}', b'{"t":"ack"}', b'\xff', b'[' * 5000,
                                     b'{"t":"ack","n":1,"n":2}', b'{"t":"events","n":-1}',
                                     b'{"t":"stray","k":1,"src":"udp:1.2.3.4:5;a","dst":"udp:[::]:1","msg":4}eA==',
                                     b'{"t":"hello","node":0,"inc":"x","sip":"192.0.2.1:5060","nonce":"1","proof":"2"}'])
def test_bad_frame_costs_only_itself(kamailio, daemon, payload):
    kamailio.write(netstring(payload))
    daemon.wait_report(frames_bad=1)
    works(kamailio)
    assert len(kamailio.connects) == 1


def test_bad_event_costs_only_itself(kamailio, daemon):
    good, event = Call(), Call().branch_event()
    bad = [{**event, 'sent': '*'}, {**event, 'src': 'udp:1.2.3.4:5060\r\nX: y'}, {**event, 'to': 'sctp:1.2.3.4:5'},
           {k: v for k, v in event.items() if k != 'sock'}, {'t': 'what'},
           {'t': 'reply', 'via': b64(b'x'), 'code': 700},
           {**event, 'req': b64(b'no SIP')}, {**event, 'sent': b64(b'no SIP')}]
    texts = [text_of(e) for e in bad] + ['17', '{"t":', text_of(event)[:100]]
    kamailio.n = 1
    kamailio.write(events_frame(1, *texts, text_of(good.branch_event()), text_of(good.reply_event(180))))
    daemon.wait_report(frames_bad=len(texts), transactions=1, events_reply=1)
    kamailio.wait_frame('ack', events=1)


def test_lost_frames_are_counted(kamailio, daemon):
    kamailio.events()
    kamailio.n += 7
    kamailio.events()
    daemon.wait_report(frames_lost=7)


def test_nothing_is_believed_before_hello(make_kamailio, make_daemon):
    kamailio = make_kamailio()
    kamailio.answers_hello = False
    kamailio.start()
    daemon = make_daemon(kamailio).start()
    kamailio.wait_hello()
    kamailio.events(Call().branch_event())
    kamailio.stray(Call().cancel())
    daemon.wait_report(frames_in=2)
    daemon.wait_report(kamailio='down', events_branch=0, strays=0)
    kamailio.say_hello()
    works(kamailio)


# ---- to Kamailio ----

def verdicts(daemon):
    """On strays that nobody has: kamsyncd may be too late to say so, on a busy machine. Each causes one frame."""
    report = daemon.report()
    return report['verdict_unknown'] + report['verdict_unavailable']


def test_window(kamailio, daemon):
    """2,000 strays have their verdict, and nobody acknowledges."""
    kamailio.acks = False
    for count in range(200, 2001, 200):  # at once they would wait for each other: on a busy machine longer than for the store
        for _ in range(200):
            kamailio.stray(Call().cancel())
        wait_until(lambda c=count: verdicts(daemon) == c, 20, 'the verdicts', every=0.02)
    kamailio.wait_sends(1)
    assert len(kamailio.of_type('send')) < 40
    while len(kamailio.of_type('send')) < 2000:
        kamailio.ack_all()
        wait_until(lambda: kamailio.unacked or len(kamailio.of_type('send')) == 2000, 5, 'more frames after the acks')
    print(f'at most {kamailio.most_unacked} bytes were under way')
    assert WINDOW - 2000 < kamailio.most_unacked <= WINDOW
    numbers = [f['n'] for f in kamailio.of_type('send')]
    assert numbers == sorted(set(numbers)), 'each once, in order'
    assert kamailio.torn == 0


def test_frames_are_written_whole(kamailio, make_daemon):
    """Each read of a Kamailio that comes to read only now and then ends where a frame ends."""
    daemon = make_daemon(kamailio, lookup_ms=0, hang_ms=60000).start()
    daemon.wait_report(kamailio='up', store='up')
    for size in [100, 12_000, 17_000, 300, 9_000, 16_000, 5] * 3:
        kamailio.reading = False
        sends = len(kamailio.of_type('send'))
        for _ in range(3):
            kamailio.stray(Call(header=b'X-Pad: %s\r\n' % (b'x' * size)).cancel())
        strays = kamailio.k
        wait_until(lambda n=strays: verdicts(daemon) >= n, 5, 'the verdicts', every=0.02)
        kamailio.reading = True
        kamailio.wait_sends(sends + 3)
    assert kamailio.torn == 0
    assert max(f.size for f in kamailio.frames) > 20_000


def test_stray_too_long_for_kamailio(kamailio, daemon):
    kamailio.stray(Call(header=b'X-Pad: %s\r\n' % (b'x' * 49_000)).cancel())
    daemon.wait_report(strays=1, frames_shed=1)
    works(kamailio)


def test_unacknowledged_sends_are_sent_again(make_kamailio, make_daemon):
    kamailio = make_kamailio()
    kamailio.acks = False
    kamailio.start()
    daemon = make_daemon(kamailio).start()
    daemon.wait_report(kamailio='up')
    for _ in range(3):
        kamailio.stray(Call().cancel())
    first = [f['msg'] for f in kamailio.wait_sends(3)]
    kamailio.close_connection()
    kamailio.acks = True
    again = [f['msg'] for f in kamailio.wait_sends(6)[3:]]
    assert again == first
    works(kamailio)
    new = [f for f in kamailio.frames if f.connection == len(kamailio.connects)]
    assert len(kamailio.connects) == 2 and new[0]['t'] == 'hello'
    # What belongs to the connection before must not come: an old hello would reset the script, an old ack its credit.
    assert [f for f in new[1:] if f['t'] == 'hello'] == []
    assert [f for f in new if f['t'] == 'ack' and f['strays'] > 1] == []


def test_old_sends_are_not_sent_again(kamailio, daemon):
    """After two seconds the caller has sent its CANCEL again, or has given up."""
    kamailio.acks = False
    kamailio.stray(Call().cancel())
    old = kamailio.wait_sends(1)[0]
    kamailio.stop()
    time.sleep(2.2)  # not a guess: 2 s are the limit
    kamailio.acks = True
    kamailio.start()
    kamailio.wait_hello(count=2)
    daemon.wait_report(kamailio='up')
    works(kamailio)
    assert [f['n'] for f in kamailio.of_type('send')].count(old['n']) == 1
    assert daemon.report()['frames_shed'] >= 1


def test_kamailio_stops_reading(kamailio, daemon):
    """kamsyncd reads on, keeps a bounded queue, and recovers."""
    strays = 12_000
    works(kamailio)
    before, memory = daemon.report()['frames_in'], daemon.memory_kb()
    kamailio.reading = False
    message = Call(header=b'X-Pad: %s\r\n' % (b'x' * 1000)).cancel()
    for _ in range(strays // 100):
        kamailio.write(b''.join(kamailio.stray_frame(message) for _ in range(100)))
    wait_until(lambda: daemon.report()['frames_in'] >= before + strays, 20, 'all strays', every=0.05)
    daemon.wait_report(timeout=20, waiting=0)
    grown, report = daemon.memory_kb() - memory, daemon.report()
    print(f'{grown} kB more, {report["frames_shed"]} frames shed, {report["strays_shed"]} strays')
    assert report['frames_shed'] >= strays - 4096 - 100
    assert grown < 100_000
    kamailio.reading = True
    daemon.wait_report(timeout=20, queued=0)
    works(kamailio)
    assert kamailio.torn == 0
