"""Calls that ring at the gateway until a test cancels them: for what happens in between.

    calls = Ringing(lab, 'gap', 10)      # by the steering that is set; returns when all ring
    cluster.store.kill()
    calls.cancel()
    calls.wait_ended('a')                # 200 and 487 came from a, the gateway got CANCEL and ACK
    print(calls.answer_ms())
"""
import itertools
import statistics

from lab.proc import LabError, wait_until
from lab.rawsip import Peer, Request

_ports = itertools.count(16090)


class Ringing:
    def __init__(self, lab, name, count=1, dial='ring1'):
        self.lab, self.peer = lab, Peer(lab, 'caller', next(_ports))
        self.requests = [Request(f'{name}-{n}-{self.peer.port}@lab', branch=f'z9hG4bK{name}.{n}.{self.peer.port}',
                                 dial=dial) for n in range(count)]
        self.call_ids = [request.call_id for request in self.requests]
        for request in self.requests:
            self.peer.send(request.invite(self.peer))
        self._wait(lambda call_id: self.replies(call_id, '180'), 5, 'ringing')

    def replies(self, call_id, kind, cseq_method='INVITE'):
        return [p for p in self.lab.trace.at('caller', call_id)
                if not p.outgoing and (p.kind, p.cseq_method) == (kind, cseq_method)]

    def _wait(self, condition, timeout, what):
        try:
            wait_until(lambda: all(condition(call_id) for call_id in self.call_ids), timeout, what)
        except LabError as error:
            missing = [call_id for call_id in self.call_ids if not condition(call_id)]
            raise LabError(f'{error}: {len(missing)} of {len(self.call_ids)} calls, such as\n'
                           + self.lab.trace.show(missing[0])) from None

    def cancel(self):
        """Each caller hangs up, once: nothing is sent again."""
        for request in self.requests:
            self.peer.send(request.cancel(self.peer))

    def wait_ended(self, owner, timeout=5):
        """Until all have ended as they should, by the answer of that node; sends the ACKs."""
        self._wait(lambda call_id: self.replies(call_id, '487') and self.replies(call_id, '200', 'CANCEL'), timeout,
                   '200 to CANCEL, and 487')
        for request in self.requests:
            self.peer.send(request.ack(self.peer, self.replies(request.call_id, '487')[0].text))
        self._wait(lambda call_id: self.lab.trace.received_by('gateway', call_id) == ['INVITE', 'CANCEL', 'ACK'], 5,
                   'INVITE, CANCEL and ACK at the gateway, once each')
        for call_id in self.call_ids:
            assert [p.node for p in self.replies(call_id, '200', 'CANCEL')] == [owner], self.lab.trace.show(call_id)

    def answer_ms(self):
        """From each CANCEL's packet to the 200 for it."""
        def sent(call_id):
            return next(p.time for p in self.lab.trace.at('caller', call_id) if p.outgoing and p.kind == 'CANCEL')
        return [1000 * (self.replies(call_id, '200', 'CANCEL')[0].time - sent(call_id)) for call_id in self.call_ids]

    def median_ms(self):
        return statistics.median(self.answer_ms())

    def close(self):
        self.peer.close()
