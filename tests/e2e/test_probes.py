"""When the script tells kamsyncd that another node has answered a probe: with the next one, if that node answers each, else at once
(KAMSYNC_PROBE). Each word by itself wakes two processes."""
import base64
import itertools
import json
import re

import pytest

from lab.cluster import Cluster
from lab.evapiclient import EvapiClient, frame
from lab.handover import alive
from lab.proc import wait_until
from lab.rawsip import Peer

FEW = 15    # other nodes; more are probed in turns
_numbers = itertools.count(1)


class Prober:
    """A node whose kamsyncd is a client of ours; node 2 answers when it is told to."""

    def __init__(self, lab):
        self.node = Cluster(lab, nodes='a', daemons=False)['a']
        self.client = EvapiClient(lab, 'a')
        self.other = Peer(lab, 'gateway', 15130)

    def probe(self, in_parts=False):
        """Its branch; the acknowledgement is in self.client.ack. in_parts: as a long message comes."""
        n, branch = self.client.next_n(), f'z9hG4bK-kamsync.2.{next(_numbers)}.kamsync-0123456789abcdef-127.0.0.1-40000'
        text = (f'OPTIONS sip:{self.other.ip}:{self.other.port} SIP/2.0\r\nVia: SIP/2.0/UDP {self.node.ip}:5060;branch={branch}\r\n'
                f'From: <sip:kamsync@x>;tag=1\r\nTo: <sip:x>\r\nCall-ID: {branch}\r\nCSeq: 1 OPTIONS\r\n'
                'Max-Forwards: 1\r\nContent-Length: 0\r\n\r\n')
        msg, more = base64.b64encode(text.encode()).decode(), {}
        if in_parts:
            self.client.write(frame({'t': 'part', 'n': n, 'k': 0, 'msg': msg[:100]}))
            assert self.client.wait_acked(n)
            n, msg, more = self.client.next_n(), msg[100:], {'parts': 1}
        self.client.write(frame({'t': 'send', 'n': n, 'to': f'{self.other.ip}:{self.other.port}',
                                 'sock': f'udp:{self.node.ip}:5060', 'msg': msg, **more}))
        assert self.client.wait_acked(n)
        self.other.expect('OPTIONS', having=branch)
        return branch

    def said(self):
        """What the acknowledgement of a new probe says of the one before."""
        self.probe()
        return self.client.ack.get('id'), self.client.ack.get('alive')

    def answer(self, branch):
        self.other.send(alive(self.node, branch), to=(self.node.ip, 5060))

    def told(self):
        """How often kamsyncd was told by itself."""
        self.client.read(0.01)
        events = ''.join(message['behind'] for message in self.client.others if message['t'] == 'events')
        return len(re.findall('{"t":"alive","id":2}', events))

    def knows(self, others):
        for number in range(2, 2 + others):
            n = self.client.next_n()
            self.client.write(frame({'t': 'node', 'n': n, 'id': number, 'sip': f'203.0.113.{number}:5060', 'inc': '1.1', 'up': 1}))
            assert self.client.wait_acked(n)


@pytest.fixture
def prober(lab):
    found = Prober(lab)
    yield found
    found.client.close()
    found.other.close()


@pytest.mark.parametrize('others', [1, FEW])
def test_who_answers_each_is_told_with_the_next(prober, others):
    prober.knows(others)
    first = prober.probe()
    assert prober.client.ack == {'t': 'ack', 'n': prober.client.ack['n'], 'id': 2, 'alive': 0, 'behind': ''}
    prober.answer(first)
    wait_until(lambda: prober.told() == 1, 5, 'the first answer', every=0.001)
    second = prober.probe()
    assert (prober.client.ack['id'], prober.client.ack['alive']) == (2, 1)
    prober.answer(second)
    wait_until(lambda: prober.said() == (2, 1), 5, 'the second answer, with a further probe', every=0.001)
    assert prober.said() == (2, 0), 'that probe has no answer'
    assert prober.told() == 1, json.dumps(prober.client.others)
    prober.answer(prober.probe())
    wait_until(lambda: prober.told() == 2, 5, 'at once again', every=0.001)


def test_in_parts_it_says_the_same(prober):
    prober.answer(prober.probe(in_parts=True))
    wait_until(lambda: prober.told() == 1, 5, 'the first answer', every=0.001)
    prober.probe(in_parts=True)
    assert (prober.client.ack['id'], prober.client.ack['alive']) == (2, 1)


def test_with_many_nodes_each_answer_is_told_at_once(prober):
    prober.knows(FEW + 1)
    for count in range(1, 4):
        branch = prober.probe()
        assert 'id' not in prober.client.ack
        prober.answer(branch)
        wait_until(lambda want=count: prober.told() == want, 5, 'the answer', every=0.001)
