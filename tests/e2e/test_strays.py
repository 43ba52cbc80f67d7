"""Strays one by one: what nobody owns, what comes too late, what is forged, and what is spelled oddly."""
import itertools

import pytest

from lab.cluster import SECRET, Cluster
from lab.handover import handover_header, incarnation, with_header
from lab.lab import ANYCAST, Lab
from lab.policies import by_kind, to
from lab.proc import wait_until
from lab.rawsip import Peer, Request
from lab.sipp import Gateway

COMPACT = ('v', 'f', 't', 'i', 'm', 'l')
_ports = itertools.count(15090)


@pytest.fixture(scope='module')
def cluster():
    with Lab() as lab:
        the_cluster = Cluster(lab)
        Gateway(lab)
        Gateway(lab, 5062)
        Gateway(lab, family=6)
        yield the_cluster
        the_cluster.stop()
        lab.check()


@pytest.fixture
def caller(cluster):
    peer = Peer(cluster.lab, 'caller', next(_ports))
    yield peer
    peer.close()


def cancel_elsewhere(cluster, caller, request, invite=None):
    """INVITE to a, CANCEL to b, ACK to c: the caller gets 200 and 487, the gateway one CANCEL, and all is quiet after."""
    lab = cluster.lab
    lab.steer(by_kind({'CANCEL': 'b', 'ACK': 'c'}, default='a'))
    caller.send(invite or request.invite(caller))
    caller.expect('SIP/2.0 180')
    caller.send(request.cancel(caller))
    replies = caller.expect_all(['SIP/2.0 200', 'SIP/2.0 487'])
    caller.send(request.ack(caller, replies['SIP/2.0 487']))
    # an ACK that does not arrive shows as a second 487 after 500 ms
    caller.expect_nothing('SIP/2.0 487', 0.8)


def test_cancel_that_nobody_owns(cluster, caller):
    cluster.lab.steer(to('b'))
    caller.send(Request('nobody@lab').cancel(caller))
    assert 'raw' in caller.expect('SIP/2.0 481')


def test_cancel_and_ack_of_a_call_that_is_over(cluster, caller):
    request = Request('over@lab', branch='z9hG4bKover')
    cancel_elsewhere(cluster, caller, request)
    cluster.lab.steer(to('c'))
    caller.send(request.cancel(caller))
    caller.expect('SIP/2.0 ')  # 200 while the owner still has the transaction, else 481
    caller.send(request.ack(caller, 'To: <sip:x>;tag=y'))
    caller.expect_nothing('SIP/2.0', 0.3)


def test_merged_invites_are_told_apart(cluster, caller):
    """One Call-ID and CSeq, two branches: two transactions, and a CANCEL ends only its own."""
    cluster.lab.steer(by_kind({'CANCEL': 'b'}, default='a'))
    first, second = (Request('merged@lab', branch=f'z9hG4bKmerged{n}', dial=dial)
                     for n, dial in enumerate(('ring1', 'second-5062ring'), 1))
    for request in (first, second):
        caller.send(request.invite(caller))
        caller.expect('SIP/2.0 180')
    wait_until(lambda: len(cluster.records('*merged@lab*')) == 2, 10, 'two records')
    caller.send(first.cancel(caller))
    final = caller.expect('SIP/2.0 487', having='branch=z9hG4bKmerged1')
    caller.send(first.ack(caller, final))
    caller.expect_nothing('SIP/2.0 487', 0.3)
    caller.send(second.cancel(caller))
    caller.send(second.ack(caller, caller.expect('SIP/2.0 487', having='branch=z9hG4bKmerged2')))


@pytest.mark.parametrize('request_', [
    pytest.param(Request('plain@lab', branch='z9hG4bKodd0'), id='ordinary'),
    pytest.param(Request('compact@lab', branch='z9hG4bKodd1', names=COMPACT), id='compact headers'),
    pytest.param(Request('vias@lab', branch='z9hG4bKodd2',
                         more_vias=', SIP/2.0/UDP 203.0.113.7:5062;branch=z9hG4bKbefore;srvid=2'), id='two Vias in a line'),
    pytest.param(Request('quote"back\\slash{brace}%41%', branch='z9hG4bKodd3'), id='odd Call-ID'),
    pytest.param(Request("it's<me>[a](b)?/:c", branch='z9hG4bKodd4'), id='another odd Call-ID'),
    pytest.param(Request('display@lab', branch='z9hG4bKodd5', display='"A \\"b\\"  c; d, e" '), id='display name'),
    pytest.param(Request('folded@lab', branch='z9hG4bKodd6', headers='Subject: one\r\n two\r\n\tthree\r\n'),
                 id='folded header'),
])
def test_spellings(cluster, caller, request_):
    cancel_elsewhere(cluster, caller, request_)


@pytest.mark.parametrize('call_ids', [('p/q@lab', 'p%2Fq@lab'), ('p"q@lab', 'p%22q@lab', 'p%2522q@lab'), ('p{q:@lab', 'p%7Bq%3A@lab'),
                                      ("p'Q@lab", "p'q@lab")])
def test_call_ids_that_differ_only_in_encoding(cluster, caller, call_ids):
    """As many calls, though all else in them is the same, and a CANCEL elsewhere ends only its own."""
    cluster.lab.steer(by_kind({'CANCEL': 'b', 'ACK': 'c'}, default='a'))
    before = set(cluster.records())
    requests = [Request(call_id, branch='z9hG4bKencoded') for call_id in call_ids]
    for request in requests:
        caller.send(request.invite(caller))
        caller.expect('SIP/2.0 180')

    def recorded():
        return [r['call_id'] for key, r in cluster.records().items() if key not in before]
    wait_until(lambda: sorted(recorded()) == sorted(call_ids), 10, lambda: f'a record of each, not {recorded()}')
    for request in requests:
        caller.send(request.cancel(caller))
        final = caller.expect('SIP/2.0 487', having=f'Call-ID: {request.call_id}\r\n')
        caller.send(request.ack(caller, final))
        caller.expect_nothing('SIP/2.0 487', 0.2)
    for call_id in call_ids:
        wait_until(lambda c=call_id: 'ACK' in cluster.lab.trace.received_by('gateway', c), 5, 'the ACK')
        assert cluster.lab.trace.received_by('gateway', call_id) == ['INVITE', 'CANCEL', 'ACK']


def test_large_invite(cluster, caller):
    request = Request('large@lab', branch='z9hG4bKlarge', headers='Content-Type: text/plain\r\n', body='x' * 9000)
    cancel_elsewhere(cluster, caller, request)


def test_ipv6(cluster):
    caller = Peer(cluster.lab, 'caller', next(_ports), family=6)
    cancel_elsewhere(cluster, caller, Request('six@lab', branch='z9hG4bKsix'))
    caller.close()


def test_owner_sees_the_network_s_addresses(cluster, caller):
    """The 200 to a CANCEL at another node comes from the anycast address, and carries what the owner took for the source."""
    request = Request('addresses@lab', branch='z9hG4bKaddresses;rport')
    cluster.lab.steer(by_kind({'CANCEL': 'b'}, default='a'))
    caller.send(request.invite(caller))
    caller.expect('SIP/2.0 180')
    caller.send(request.cancel(caller))
    replies = caller.expect_all(['SIP/2.0 200', 'SIP/2.0 487'])
    [answer] = [p for p in cluster.lab.trace.at('caller', 'addresses@lab') if not p.outgoing and p.kind == '200']
    assert answer.source == (ANYCAST, 5060)
    assert (answer.node, f'rport={caller.port}' in answer.text) == ('a', True)
    assert f'received={caller.ip}' in answer.text
    caller.send(request.ack(caller, replies['SIP/2.0 487']))


@pytest.mark.parametrize('forgery', ['wrong secret', 'other node', 'old incarnation', 'changed message', 'two headers',
                                     'garbage'])
def test_forged_handover_is_a_plain_message(cluster, caller, forgery):
    """Were it believed, a's tm would find the transaction by Via and the answer would go to the address in the header."""
    node, lab = cluster['a'], cluster.lab
    victim = Peer(lab, 'caller', next(_ports))
    request = Request(f'forged-{forgery.replace(" ", "-")}@lab', branch='z9hG4bKforged' + forgery.replace(' ', ''))
    message = request.cancel(caller)
    secret = 'not-the-secret-of-the-cluster' if forgery == 'wrong secret' else SECRET
    header = handover_header(cluster['b'] if forgery == 'other node' else node, 'owner', f'udp:{victim.ip}:{victim.port}',
                             message + ('x' if forgery == 'changed message' else ''), secret,
                             '1.2' if forgery == 'old incarnation' else incarnation(node))
    if forgery == 'two headers':
        header *= 2
    if forgery == 'garbage':
        header = 'X-Kamsync: \x01;;;=;to=1;proof=\r\n'
    caller.send(with_header(message, header), to=(node.ip, 5060))
    assert 'X-Kamsync' not in caller.expect('SIP/2.0 481')
    victim.expect_nothing('SIP', 0.1)
    assert 'X-Kamsync header' in node.kamailio.log()
    victim.close()


def rings(cluster, caller, request):
    """A call that its owner, a, has."""
    cluster.lab.steer(to('a'))
    caller.send(request.invite(caller))
    caller.expect('SIP/2.0 180')


@pytest.mark.parametrize('body', ['', 'v=0', '\0v=0'], ids=['none', 'text', 'NUL'])
def test_owner_believes_what_was_sent_to_all(cluster, caller, body):
    """Only without a body the proof is taken over the message as it came. The answer goes to the address in the header."""
    node, believed = cluster['a'], Peer(cluster.lab, 'caller', next(_ports))
    request = Request(f'all{len(body)}@lab', branch=f'z9hG4bKall{len(body)};rport')
    rings(cluster, caller, request)
    message = request.cancel(caller).replace('Content-Length: 0\r\n\r\n', f'Content-Length: {len(body)}\r\n\r\n{body}')
    header = handover_header(node, 'perhaps', f'udp:{believed.ip}:{believed.port}', message, SECRET, incarnation(node))
    caller.send(with_header(message, header), to=(node.ip, 5060))
    believed.expect('SIP/2.0 200')
    caller.send(request.ack(caller, caller.expect('SIP/2.0 487')))
    # another copy is dropped
    caller.send(with_header(message, header), to=(node.ip, 5060))
    believed.expect_nothing('SIP/2.0', 0.3)
    believed.close()


@pytest.mark.parametrize('forgery', ['wrong secret', 'changed message', 'not in front', 'two headers'])
def test_forged_handover_to_all_is_a_plain_cancel(cluster, caller, forgery):
    """Its transaction is here: so it cancels that, as without the header, and is answered where it came from."""
    node, victim, name = cluster['a'], Peer(cluster.lab, 'caller', next(_ports)), forgery.replace(' ', '')
    request = Request(f'all-{name}@lab', branch=f'z9hG4bKall{name};rport')
    rings(cluster, caller, request)
    message = request.cancel(caller)
    header = handover_header(node, 'perhaps', f'udp:{victim.ip}:{victim.port}', message + ('x' if forgery == 'changed message' else ''),
                             'not-the-secret-of-the-cluster' if forgery == 'wrong secret' else SECRET, incarnation(node))
    text = with_header(message, header * (2 if forgery == 'two headers' else 1))
    if forgery == 'not in front':
        text = with_header(text, 'Subject: x\r\n')
    caller.send(text, to=(node.ip, 5060))
    caller.send(request.ack(caller, caller.expect_all(['SIP/2.0 200', 'SIP/2.0 487'])['SIP/2.0 487']))
    victim.expect_nothing('SIP', 0.1)
    victim.close()


def strays(cluster):
    return {name: node.counters()['strays'] for name, node in cluster.node.items()}


def test_an_ack_follows_its_cancel(cluster, caller):
    """Both come to b, whose kamsyncd is asked about the ACK only when it is repeated, as it would be if it had not arrived."""
    cluster.lab.steer(by_kind({'CANCEL': 'b', 'ACK': 'b'}, default='a'))
    request, before = Request('follows@lab', branch='z9hG4bKfollows'), strays(cluster)
    caller.send(request.invite(caller))
    caller.expect('SIP/2.0 180')
    caller.send(request.cancel(caller))
    ack = request.ack(caller, caller.expect_all(['SIP/2.0 200', 'SIP/2.0 487'])['SIP/2.0 487'])
    caller.send(ack)
    caller.expect_nothing('SIP/2.0 487', 0.8)
    assert strays(cluster) == {**before, 'b': before['b'] + 1}
    caller.send(ack)
    wait_until(lambda: strays(cluster) == {**before, 'b': before['b'] + 2}, 10, 'kamsyncd is asked')


def test_anybody_may_mark_an_ack_as_a_copy(cluster, caller):
    """It has no proof, and does what an ACK from the network does in tm, and nothing else: it is handed to nobody."""
    cluster.lab.steer(to('a'))
    request = Request('copy@lab', branch='z9hG4bKcopy')
    caller.send(request.invite(caller))
    caller.expect('SIP/2.0 180')
    caller.send(request.cancel(caller))
    final = caller.expect_all(['SIP/2.0 200', 'SIP/2.0 487'])['SIP/2.0 487']
    caller.send(with_header(request.ack(caller, final), 'X-Kamsync: copy\r\n'))
    caller.expect_nothing('SIP/2.0 487', 0.8)
    before, other = strays(cluster), Request('other@lab', branch='z9hG4bKother').ack(caller, final)
    caller.send(with_header(other, 'X-Kamsync: copy\r\n'))
    caller.expect_nothing('SIP/2.0', 0.3)
    assert strays(cluster) == before
    caller.send(other)
    wait_until(lambda: strays(cluster) == {**before, 'a': before['a'] + 1}, 10, 'one without the mark is a stray')


@pytest.mark.parametrize('why', ['owner', 'takeover', 'lost', 'state'])
def test_an_invite_for_the_kamailio_before_is_no_new_call(cluster, caller, why):
    """What kamsyncd had to say of a transaction may come when Kamailio has been killed and started again."""
    node, call_id = cluster['a'], f'before-{why}@lab'
    message = Request(call_id, branch=f'z9hG4bKbefore{why}').invite(caller)
    header = handover_header(node, why, f'udp:{caller.ip}:{caller.port}', message, SECRET, '1.2', sender=1)
    caller.send(with_header(message, header), to=(node.ip, 5060))
    wait_until(lambda: f'INVITE of call {call_id}' in node.kamailio.log(), 10, 'it has come')
    caller.expect_nothing('SIP/2.0', 0.3)


def test_a_good_handover_is_never_handed_over_again(cluster, caller):
    """Its call is unknown at a. A plain CANCEL would be looked up; this one is answered at once."""
    node = cluster['a']
    request = Request('again@lab', branch='z9hG4bKagain')
    before = strays(cluster)
    message = request.cancel(caller)
    header = handover_header(node, 'owner', f'udp:{caller.ip}:{caller.port}', message, SECRET, incarnation(node))
    caller.send(with_header(message, header), to=(node.ip, 5060))
    caller.expect('SIP/2.0 481')
    assert strays(cluster) == before


@pytest.mark.parametrize('sender, age', [(2, 13), (2, -13), (1, 13)])
def test_old_handover_is_dropped(cluster, caller, sender, age):
    """Over 10 s by its sender's clock (whole seconds, one way or the other), be it another node's or this one's own. Of
    another node's nothing is known before its first answer to a probe, so one after the other is sent until then."""
    node, request = cluster['a'], Request(f'old{age}-{sender}@lab', branch=f'z9hG4bKold{age}{sender}')
    impatient = Peer(cluster.lab, 'caller', next(_ports))
    dropped = node.kamailio.log().count('sent again')

    def send(peer, by):
        message = request.cancel(peer)
        src = f'udp:{peer.ip}:{peer.port}'
        header = handover_header(node, 'owner', src, message, SECRET, incarnation(node), sender, by)
        peer.send(with_header(message, header), to=(node.ip, 5060))

    def is_dropped():
        send(impatient, age)
        return node.kamailio.log().count('sent again') > dropped

    wait_until(is_dropped, 3, 'it is dropped')
    send(caller, 0)
    caller.expect('SIP/2.0 481')
    impatient.close()


def test_handover_is_taken_once(cluster, caller):
    node, request = cluster['a'], Request('twice@lab', branch='z9hG4bKtwice')
    message = request.cancel(caller)
    header = handover_header(node, 'owner', f'udp:{caller.ip}:{caller.port}', message, SECRET, incarnation(node))
    caller.send(with_header(message, header), to=(node.ip, 5060))
    caller.expect('SIP/2.0 481')
    dropped = node.kamailio.log().count('sent again')
    caller.send(with_header(message, header), to=(node.ip, 5060))
    wait_until(lambda: node.kamailio.log().count('sent again') == dropped + 1, 10, 'it is dropped')
    caller.expect_nothing('SIP/2.0 481', 0.1)


def test_header_from_outside_is_not_passed_on(cluster, caller):
    """An INVITE that brings the header reaches the gateway without it."""
    cluster.lab.steer(to('a'))
    request = Request('strip@lab', branch='z9hG4bKstrip', headers='X-Kamsync: to=1;why=owner\r\nX-KAMSYNC: b\r\n')
    caller.send(request.invite(caller))
    caller.expect('SIP/2.0 180')
    [seen] = [p for p in cluster.lab.trace.at('gateway', 'strip@lab') if p.kind == 'INVITE']
    assert 'kamsync' not in seen.text.lower()
    caller.send(request.cancel(caller))
    caller.send(request.ack(caller, caller.expect('SIP/2.0 487')))
