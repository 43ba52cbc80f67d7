"""A made-up kamsyncd behind a control socket (proto/control.md), which answers as a test wants it, also badly."""
import json
import os
import re
import socket
import subprocess
import threading

from harness import KAMSYNCD, SANITIZERS, SLOWER, WRAPPER

KAMSYNCCTL = os.environ.get('KAMSYNCCTL', os.path.join(os.path.dirname(KAMSYNCD), 'ctl', 'kamsyncctl'))
CTL = [*WRAPPER, KAMSYNCCTL]

T0 = 1795229237000  # 2026-11-21 02:47:17 UTC
COMMANDS = ['status', 'nodes', 'calls', 'call', 'tx', 'cdr', 'trace', 'key', 'doctor', 'drain', 'undrain', 'reload']
BAD_CHARACTERS = re.compile('[^\x20-\x7e\n]')

CALL = {'call_id': 'c1@lab', 'state': 'ended', 'node': 2, 'caller': 'sip:alice@a.example',
        'callee': 'sip:bob@b.example', 'from_tag': 'ft', 'to_tag': 'tt',
        'tx': 'kamsync:tx:{c1@lab}:1:z9hG4bKx', 'trying': T0, 'ringing': T0 + 812, 'answered': T0 + 3012,
        'ended': T0 + 3012 + 3723000, 'how': 'completed', 'code': 200, 'by': 'callee', 'pdd_ms': 812,
        'duration_ms': 3723000, 'vars': {'tenant': 'müller', 'raw': {'base64': 'YQD/eg=='}}, 'at.2': T0 + 3012 + 3723000,
        'at.1': T0}
TRACE = [{'at': T0 + 900, 'node': 2, 'text': 'CANCEL: handed over to node 1'}]
TXN = {'owner': 1, 'inc': '1795229237.904016', 'state': 'ringing', 'code': 180, 'done': False, 'call_id': 'c1@lab',
       'cseq': 1, 'branch': 'z9hG4bKr1.1.1', 'sent_by': '198.51.100.11:20001', 'src': 'udp:198.51.100.11:20001',
       'dst': 'udp:192.0.2.1:5060', 'req': 'INVITE sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP secret\r\n',
       'branches': [{'i': 0, 'code': 503, 'via': 'v', 'to': 'udp:198.51.100.12:5060', 'sock': 'udp:192.0.2.1:5060',
                     'ruri': 'sip:bob@198.51.100.12:5060'},
                    {'i': 1, 'code': 180, 'via': 'v', 'to': 'udp:198.51.100.12:5062', 'sock': 'udp:192.0.2.1:5060',
                     'ruri': 'sip:bob@198.51.100.12:5062'}]}
ANSWERS = {
    'status': {'version': '0.1.0', 'name': 'a', 'site': 'fra', 'node': 1, 'inc': '1795229237.904016', 'kamailio': 'up', 'store': 'up',
               'cluster': 'kamsync', 'drained': False, 'calls': 12, 'txns': 3, 'strays': 0, 'takeovers': 0, 'queued': 0, 'nodes': 2,
               'counters': {'events_in': 123456, 'strays': 7}},
    'nodes': {'nodes': [
        {'id': 1, 'name': 'a', 'site': 'fra', 'sip': '192.0.2.11:5060', 'inc': '1795229237.904016', 'state': 'self',
         'seen_ms': 0},
        {'id': 12, 'name': 'berlin', 'sip': '192.0.2.12:5060', 'inc': '1795229238.1', 'state': 'out of reach',
         'seen_ms': 3210}]},
    'calls': {'calls': [CALL, {'call_id': 'c2@lab', 'state': 'ringing', 'node': 1}], 'total': 2, 'silent': []},
    'call': {'calls': [CALL], 'silent': []},
    'tx': {'txns': [TXN]},
    'cdr': {'cdr': [{**CALL, 'id': '1-0'}]},
    'trace': {'trace': TRACE, 'silent': []},
    'key': {'tx': 'kamsync:{b2e}:tx:c1@lab:*', 'call': 'kamsync:{b2e}:call:c1@lab:*', 'archive': 'kamsync:{b2e}:cdr'},
    'evacuation': {'evacuating': True, 'taken': 980, 'given': 12, 'left': 20, 'why': {'was cancelled, and ends here': 8}},
    'doctor': {'findings': [{'severity': 'advice', 'check': 'redis_tls', 'nodes': [1, 2], 'what': 'all goes in clear text',
                             'write': 'let only the nodes reach it'}],
               'nodes': [{'node': 1, 'name': 'a', 'sip': '192.0.2.11:5060', 'inc': '1', 'kamailio': 'up', 'store': 'up',
                          'version': '0.1.0'},
                         {'node': 2, 'name': 'b', 'sip': '192.0.2.12:5060', 'inc': '2', 'kamailio': 'away', 'store': 'up',
                          'version': '0.1.0', 'ahead_ms': -1234}],
               'looked_at': ['evapi', 'redis'], 'silent': []},
    'drain': {}, 'undrain': {}, 'reload': {},
}


class FakeControl:
    """answers: command to its answer (a dict, or a function of the request). raw: a function that gets the connection
    and the request, instead of an answer. What was asked stands in requests, as it came in lines."""

    def __init__(self, path, answers=None, raw=None):
        self.path, self.answers, self.raw = str(path), answers or {}, raw
        self.requests, self.lines = [], []
        self.listener = None

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self._serve, args=(self.listener,), daemon=True).start()
        return self

    def stop(self):
        if self.listener:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            os.unlink(self.path)
            self.listener = None

    def _serve(self, listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection):
        with connection, connection.makefile('rb') as lines:
            line = lines.readline()
            self.lines.append(line)
            request = json.loads(line)
            answer = None if self.raw else self._answer(request)
            self.requests.append(request)  # what a test does once it sees it changes no answer
            try:
                if self.raw:
                    self.raw(connection, request)
                else:
                    connection.sendall(answer)
            except OSError:
                pass  # kamsyncctl had enough

    def _answer(self, request):
        answer = self.answers.get(request['cmd'], {'ok': False, 'error': 'no such command'})
        answer = answer(request) if callable(answer) else answer
        return answer if isinstance(answer, bytes) else json.dumps({'ok': True, **answer}).encode() + b'\n'


def environment(**more):
    return {**SANITIZERS, **os.environ, 'TZ': 'UTC', 'LC_ALL': 'C.UTF-8', **more}


def run_ctl(*args, timeout=20, env=None, **more):
    """Runs kamsyncctl to its end. Bytes are passed and returned as surrogates, as Python has it."""
    return subprocess.run([*CTL, *args], capture_output=True, text=True, errors='surrogateescape',
                          timeout=timeout * SLOWER, env=environment(**(env or {})), check=False, **more)


def start_ctl(*args, **more):
    """Runs kamsyncctl until it is ended; its output goes to pipes, or where `more` says."""
    more = {'stdout': subprocess.PIPE, 'stderr': subprocess.PIPE, **more}
    return subprocess.Popen([*CTL, *args], env=environment(), **more)


def words_of(command):
    return [command, 'c1@lab'] if command in ('call', 'tx', 'trace', 'key') else [command]


def fine(result):
    assert result.returncode == 0 and not result.stderr, result
    return result.stdout


def refused(result, *words, status=1):
    """This exit status, one line on stderr that is safe, and these words in it."""
    assert result.returncode == status, result
    assert result.stderr.startswith('kamsyncctl: ') and result.stderr.count('\n') == 1, result.stderr
    assert not BAD_CHARACTERS.search(result.stderr)
    for word in words:
        assert str(word) in result.stderr
