"""A secret that is changed while calls go on, and strangers at evapi's door, and in its place. (Forged and replayed handovers: test_strays.py.)"""
import contextlib
import itertools
import json
import os
import re
import select
import socket
import threading
import time

import pytest

from lab import netns
from lab.accidents import start, wait_records
from lab.cluster import SECRET
from lab.evapiclient import PORT, EvapiClient, frame, harmless, proof
from lab.handover import alive, handover_header, incarnation, with_header
from lab.lab import ANYCAST
from lab.policies import by_kind
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.ringing import Ringing

# Longer than a block of SHA-256, so it is hashed. In the lab's own, "6" and "\\" become zeros in the script's key (RFC 2104).
NEW = 'the-secret-that-comes-after-it-6\\6-' + 40 * '6'
WAYS = {'ab': by_kind({'CANCEL': 'b', 'ACK': 'b'}, default='a'), 'ba': by_kind({'CANCEL': 'a', 'ACK': 'a'}, default='b')}
_numbers = itertools.count(1)


def set_secrets(node, secret, old):
    """What an administrator does: the files, then a reload."""
    path = os.path.join(node.directory, 'old-secret')
    node.cluster.secret = secret
    with open(path, 'w') as file:
        file.write(old + '\n')
    os.chmod(path, 0o400)
    node.configure(**({'old_secret_file': path} if old else {}))
    said = node.kamailio.log().count('the keys have been read again')
    assert node.ask('reload')['ok']
    wait_until(lambda: node.kamailio.log().count('the keys have been read again') > said, 5, 'Kamailio has the new secrets')


def ring(cluster):
    """Calls in both directions."""
    found = {}
    for way, steering in WAYS.items():
        cluster.lab.steer(steering)
        found[way] = Ringing(cluster.lab, f'secret{next(_numbers)}{way}', 3)
        wait_records(cluster, found[way])
    return found


def cancel_all(cluster, calls):
    """Each at the other node, which finds the owner in Redis; the owner must believe it, at once."""
    for way, ringing in calls.items():
        cluster.lab.steer(WAYS[way])
        ringing.cancel()
        ringing.wait_ended(way[0])
        ringing.close()


def listen():
    try:
        return socket.create_server(('127.0.0.1', PORT))
    except OSError:
        return None


def connect():
    try:
        return socket.create_connection(('127.0.0.1', PORT), timeout=5)
    except OSError:
        return None


def say_hello(claim):
    """What Kamailio answers, with that for a proof; None: as before there were proofs."""
    more = {} if claim is None else {'nonce': '1.2', 'proof': claim}
    return frame({'t': 'hello', 'node': 1, 'inc': '1.1', 'sip': '198.51.100.1:5060', **more})


# Each step on one node after the other; all have done it before the next begins.
STEPS = [(SECRET, NEW), (NEW, SECRET), (NEW, '')]


@pytest.mark.parametrize('settings', [{}, {'cluster': 'edge-2.x'}], ids=['default', 'a name of its own'])
def test_secret_is_changed_without_a_gap(lab, settings):
    """Where the cluster has a name, its nodes prove with what is made of the secret and that."""
    cluster = start(lab, nodes='ab', **settings)
    cancel_all(cluster, ring(cluster))
    for secret, old in STEPS:
        for name in 'ab':
            before = ring(cluster)
            set_secrets(cluster[name], secret, old)
            cancel_all(cluster, before)
            cancel_all(cluster, ring(cluster))
    logs = ''.join(node.kamailio.log() for node in cluster.node.values())
    assert 'wrong proof' not in logs and 'X-Kamsync header' not in logs
    assert not lab.trace.repeated()
    names = cluster.store.keys('*')
    assert names and all(name.startswith(settings.get('cluster', 'kamsync') + ':') for name in names)
    assert all(node.counters()['verdict_cut'] == node.counters()['messages_bad'] == 0 for node in cluster.node.values())
    cluster.stop()


def test_a_second_evapi_client_hears_nothing(lab):
    """Secrets, calls and handovers go to kamsyncd's connection only, before and after it was renewed."""
    cluster = start(lab, nodes='ab')
    strangers = [netns.inside(lab.namespace(name), lambda: socket.create_connection(('127.0.0.1', 8448), timeout=2))
                 for name in 'ab']
    cancel_all(cluster, ring(cluster))
    for name in 'ab':
        set_secrets(cluster[name], SECRET, NEW)
        cluster[name].kamsyncd.kill()
        cluster[name].start_kamsyncd()
    cluster.wait_connected()
    cancel_all(cluster, ring(cluster))
    assert select.select(strangers, [], [], 0)[0] == []
    for stranger in strangers:
        stranger.close()
    cluster.stop()


def test_who_listens_for_kamailio_hears_no_key(lab):
    """Kamailio is down, and any user of the host listens on its port: a tag, and no more; what he says is not believed."""
    cluster = start(lab, nodes='a')
    node, heard = cluster['a'], []
    node.kamailio.kill()
    wait_until(lambda: node.status()['kamailio'] == 'down', 5, 'kamsyncd has noticed')
    listener = wait_until(lambda: netns.inside(lab.namespace('a'), listen), 10, 'the port is free')
    for answer in (b'', say_hello('0' * 64), say_hello('none'), say_hello(None)):
        conn = listener.accept()[0]
        conn.settimeout(3)
        heard.append(conn.recv(65536))
        conn.sendall(answer)
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            heard.append(conn.recv(65536))
        conn.close()
    listener.close()
    said = [json.loads(text.partition(b':')[2][:-1]) for text in heard if text]
    assert len(said) == 4 and all(set(message) == {'t', 'tag'} for message in said), said
    assert len({message['tag'] for message in said}) == 4
    assert 'does not prove that it is our Kamailio' in node.log() and node.counters()['hellos_refused'] >= 2
    node.start_kamailio()
    wait_until(lambda: node.status()['kamailio'] == 'up', 10, 'the real one is believed')
    cluster.stop()


def test_a_strangers_hello_changes_nothing(lab):
    """Any user of the host says hello, with proofs of his own, of before, in between, and is gone again: ignored and logged, and
    calls go on."""
    cluster, begun = start(lab, nodes='ab'), time.monotonic()
    before = ring(cluster)
    old = EvapiClient(lab, 'a', greets=False)
    said = old.hello()
    old.close()
    for tag in (None, 'kamsync-0123456789abcdef-127.0.0.1-1', 'kamsync-x', old.tag):
        for close in (True, False):
            client = EvapiClient(lab, 'a', greets=False)
            hello = client.hello(tag)
            assert (hello is None) == (tag is not None), 'only who tells the truth about his port gets an answer'
            client.prove(hello or said, secret='not-the-secret-of-the-lab')
            client.prove(hello or said)  # the right one, but each has one try
            client.write(harmless(client.next_n()))
            assert not client.wait_acked(1, 0.2) and client.hello() is None
            if close:
                client.close()
    silent = EvapiClient(lab, 'a', greets=False)
    assert silent.hello()
    silent.close()
    cancel_all(cluster, before)
    cancel_all(cluster, ring(cluster))
    log = cluster['a'].kamailio.log()
    lines, seconds = log.count('does not prove to be our kamsyncd: ignored'), time.monotonic() - begun
    assert 1 <= lines <= 2 + seconds // 10, f'a line every 10 s at the most, not {lines} in {seconds:.0f} s'
    assert log.count('kamsyncd is connected') == 1 and cluster['a'].status()['kamailio'] == 'up'
    assert cluster['a'].counters()['hangs'] == 0
    cluster.stop()


class Between(threading.Thread):
    """A user of the host who was there before Kamailio, and stands between it and kamsyncd now."""

    def __init__(self, lab, node):
        super().__init__(daemon=True)
        self.space, self.heard = lab.namespace(node), []
        self.listener = wait_until(lambda: netns.inside(self.space, listen), 10, 'the port is free')
        self.kamsyncd = self.listener.accept()[0]
        self.listener.close()

    def run(self):
        kamailio = wait_until(lambda: netns.inside(self.space, connect), 10, 'evapi listens')
        pairs = {self.kamsyncd: kamailio, kamailio: self.kamsyncd}
        while True:
            for sock in select.select(list(pairs), [], [])[0]:
                try:
                    data = sock.recv(65536)
                except ConnectionResetError:  # kamsyncd closes it with words of Kamailio's unread
                    return
                if not data:
                    return
                self.heard.append(data)
                pairs[sock].sendall(data)


def test_who_stands_in_between_hears_nothing(lab):
    """He hands on each word of both: the tag has the port of kamsyncd's end, which his own is not."""
    cluster = start(lab, nodes='a')
    node = cluster['a']
    node.kamailio.kill()
    between = Between(lab, 'a')
    node.start_kamailio()
    between.start()
    wait_until(lambda: node.status()['kamailio'] == 'up', 20, 'kamsyncd has given that connection up')
    assert len(between.heard) == 1 and b'"t":"hello","tag"' in between.heard[0]
    assert 'does not answer: connecting anew' in node.log()
    cluster.stop()


def test_an_old_answer_to_a_probe_is_not_believed(lab):
    """Hour-old ones, whose proofs are good, come every moment: the clocks stay as they are, hour-old handovers are dropped, fresh ones
    are taken, and a dead node is lost."""
    cluster = start(lab, nodes='ab')
    a, stranger = cluster['a'], Peer(lab, 'caller', 15080)
    before, number = ring(cluster), itertools.count(1)

    def repeat():
        stranger.send(alive(a, f'z9hG4bK-kamsync.2.{next(number)}.kamsync-0123456789abcdef-127.0.0.1-40000', age=3600), to=(a.ip, 5060))
        return False

    for _ in range(20):
        repeat()
    request = Request('hour-old@lab', branch='z9hG4bKhourold')
    message, dropped = request.cancel(stranger), a.kamailio.log().count('an old handover, sent again')
    header = handover_header(a, 'owner', f'udp:{stranger.ip}:{stranger.port}', message, SECRET, incarnation(a), age=3600)
    stranger.send(with_header(message, header), to=(a.ip, 5060))
    wait_until(lambda: a.kamailio.log().count('an old handover, sent again') > dropped, 10, 'it is dropped')
    stranger.expect_nothing('SIP/2.0 481', 0.2)
    cancel_all(cluster, before)
    assert a.kamailio.log().count('an old handover, sent again') == dropped + 1, 'genuine ones are taken'
    cluster['b'].kamsyncd.kill()
    cluster['b'].kamailio.kill()
    wait_until(lambda: repeat() or 'is lost: no heartbeat, no answer' in a.log(), 15, 'b is lost', every=0.1)
    cluster.stop()


FAULTS = {'another secret': {'secret': 'not-the-secret-of-the-lab'}, 'another incarnation': {'inc': '1.000001'},
          'another reason': {'why': 'owner'}, 'a header more': {'more': 'X-More: 1'}, 'none': {}}


@pytest.mark.parametrize('fault', FAULTS)
def test_only_a_proven_probe_is_answered_as_such(lab, fault):
    """Else who heard a probe could have another node prove that the one that it was for is alive."""
    cluster = start(lab, nodes='ab')
    a, prober, wrong = cluster['a'], Peer(lab, 'caller', 15082), FAULTS[fault]
    branch = 'z9hG4bK-kamsync.1.7.kamsync-0123456789abcdef-127.0.0.1-40000'
    message = (f'OPTIONS sip:{a.ip}:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {prober.ip}:{prober.port};branch={branch}\r\n'
               f'From: <sip:kamsync@x>;tag=2\r\nTo: <sip:{a.ip}:5060>\r\nCall-ID: kamsync-probe-2-7\r\nCSeq: 1 OPTIONS\r\n'
               'Max-Forwards: 1\r\nContent-Length: 0\r\n\r\n')
    header = handover_header(a, wrong.get('why', 'probe'), f'udp:{prober.ip}:{prober.port}', message,
                             wrong.get('secret', SECRET), wrong.get('inc', incarnation(a)))
    if 'more' in wrong:
        message = message.replace('\r\nMax', f'\r\n{wrong["more"]}\r\nMax')
    prober.send(with_header(message, header), to=(a.ip, 5060))
    answer = prober.expect('SIP/2.0 200')
    if fault == 'none':
        sec, mac = re.search(r'^X-Kamsync: (\d+) (\w+)\r$', answer, re.MULTILINE).groups()
        assert mac == proof(SECRET, f'alive {sec} {branch}')
    else:
        assert 'X-Kamsync' not in answer
    cluster.stop()


@pytest.mark.parametrize('kind', ['CANCEL', 'BYE', 'reply'])
def test_what_failed_its_proof_is_never_asked_about(lab, kind):
    """b's Kamailio believes nothing, not even what its own kamsyncd gives back (as if something on its way rewrote it): it ends."""
    cluster = start(lab, nodes='ab', log_level=3)
    b, stranger = cluster['b'], Peer(lab, 'caller', 15081)
    request = Request(f'failed-{kind}@lab', branch=f'z9hG4bKfailed{kind}')
    message = request.cancel(stranger)
    if kind == 'BYE':
        message = message.replace('CANCEL', 'BYE').replace('To: <', 'To: <').replace('\r\nCall-ID', ';tag=x\r\nCall-ID', 1)
    if kind == 'reply':
        message = (f'SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP {ANYCAST}:5060;branch=z9hG4bKx.0;srvid=2\r\n'
                   + message.replace('CANCEL', 'INVITE').split('\r\n', 1)[1])
    before = b.counters()['strays']
    header = handover_header(b, 'unknown', f'udp:{stranger.ip}:{stranger.port}', message, 'not-the-secret-of-the-lab',
                             incarnation(b))
    stranger.send(with_header(message, header), to=(b.ip, 5060))
    wait_until(lambda: 'with a wrong proof, removed' in b.kamailio.log(), 10, 'it has come')
    if kind == 'CANCEL':
        stranger.expect('SIP/2.0 481')
    assert b.counters()['strays'] == before
    cluster.stop()


def test_what_kamailio_cannot_read_does_not_go_round(lab):
    """Kamailio finds no header behind one that it cannot read, not even our own in what kamsyncd gives back."""
    cluster = start(lab, nodes='ab', lookup_ms=50)
    b, stranger = cluster['b'], Peer(lab, 'caller', 15083)
    cancel = Request('unread@lab', branch='z9hG4bKunread').cancel(stranger)
    before = b.counters()['strays']
    stranger.send(cancel.replace('\r\n\r\n', "\r\nx-!.%*+_`'~: y\r\n\r\n"), to=(b.ip, 5060))
    after = Request('after@lab', branch='z9hG4bKafter').cancel(stranger)
    for _ in range(3):  # each is answered when kamsyncd has handled what came before it
        stranger.send(after, to=(b.ip, 5060))
        stranger.expect('SIP/2.0 481')
    assert b.counters()['strays'] <= before + 4
    cluster.stop()
