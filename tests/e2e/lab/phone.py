"""Callers and callees that act on command: SIP's transactions (RFC 3261, 17) over one socket for many calls.

    callees = Callees(lab)                       # ports 5060, 5062, 5064, 5066; whoever is called rings
    caller = Caller(lab)
    call = caller.call('x-1@lab', 'one')
    call.wait(180)
    callees.legs('x-1@lab')[0].answer()          # or ring(), trying(), reject(503), bye()
    call.wait(200)                               # its ACK is sent by itself
    call.bye()

SIPp follows a scenario; these do what a test says, when it says so, and go on with whatever comes meanwhile.
"""
import heapq
import itertools
import re
import select
import socket
import threading
import time

from lab import netns
from lab.lab import ANYCAST, SIP_PORT
from lab.proc import LabError, at_once, wait_until

T1, T2, TIMER_F = 0.5, 4.0, 32.0
PORTS = (5060, 5062, 5064, 5066)
TICK = 0.01       # how late a timer may be that another thread has set
BATCH = 200       # messages that are read before the timers have their turn
_HEADERS = re.compile(r'^(Via|Record-Route|From|To|Call-ID|CSeq|Contact|(?:WWW|Proxy)-Authenticate|X-[A-Za-z-]+)[ \t]*:[ \t]*([^\r\n]*)', re.M | re.I)
_BRANCH = re.compile(r';branch=([^;,\s]+)')
_TAG = re.compile(r';tag=([^;,\s>]+)')
_SENT_BY = re.compile(r'SIP/2.0/\w+ +([^:;, ]+)(?::(\d+))?')
_URI = re.compile(r'<([^>]*)>')
_numbers = itertools.count(1)


class Message:
    """What a phone must know of a message."""

    connection = None        # on which it came (lab/connections.py)

    def __init__(self, text, source=None):
        self.text, self.source, self.time = text, source, time.monotonic()
        words = text[:text.find('\r\n')].split(' ', 2)
        self.code = int(words[1]) if words[0] == 'SIP/2.0' else 0
        self.uri = '' if self.code else words[1]
        self.headers = {}
        for name, value in _HEADERS.findall(text[:text.find('\r\n\r\n')]):
            self.headers.setdefault(name.lower(), []).append(value)
        self.call_id = self['call-id']
        self.cseq, self.method = self['cseq'].split()   # of a reply: of what it answers
        self.branch = _first(_BRANCH, self['via'])

    def __getitem__(self, name):
        return self.headers.get(name, [''])[0]

    @property
    def to_tag(self):
        return _first(_TAG, self['to'])

    @property
    def user(self):
        return self.uri[4:].split('@')[0]

    @property
    def sent_by(self):
        """(host, port) of its Via."""
        found = _SENT_BY.match(self['via'])
        return (found[1], int(found[2] or SIP_PORT)) if found else ('', SIP_PORT)

    def routes(self):
        """The Record-Route values, one in each element."""
        return [route.strip() for line in self.headers.get('record-route', ()) for route in line.split(',')]


def _first(pattern, text):
    found = pattern.search(text)
    return found[1] if found and found[1] else ''


def new_branch():
    return f'z9hG4bKp{next(_numbers)}'


def request(method, uri, headers, body=''):
    lines = [f'{method} {uri} SIP/2.0', *(f'{name}: {value}' for name, value in headers), f'Content-Length: {len(body)}']
    return '\r\n'.join(lines) + f'\r\n\r\n{body}'


def response(msg, code, tag='', contact='', headers=(), body=''):
    """The answer to a request, with what has to be copied from it, and more headers."""
    lines = [f'SIP/2.0 {code} Code {code}', *(f'Via: {via}' for via in msg.headers['via'])]
    if 100 < code < 300 and msg.method == 'INVITE':
        lines += [f'Record-Route: {route}' for route in msg.headers.get('record-route', ())]
        lines.append(f'Contact: <{contact}>')
    to = msg['to'] + (f';tag={tag}' if tag and code > 100 and not msg.to_tag else '')
    lines += [f'From: {msg["from"]}', f'To: {to}', f'Call-ID: {msg.call_id}', f'CSeq: {msg["cseq"]}',
              *(f'{name}: {value}' for name, value in headers), f'Content-Length: {len(body)}']
    return '\r\n'.join(lines) + f'\r\n\r\n{body}'


class Endpoint(threading.Thread):
    """Sockets, timers and the client's half of requests like BYE. All that happens, happens under one lock.

    What the transport decides is a method of its own, for lab/connections.py: send, sends_again, answer_to, via, contact.
    """
    sends_again = True       # requests and negative replies, until they are answered

    def __init__(self, lab, side, ports):
        super().__init__(name=f'phone-{side}', daemon=True)
        self.side, self.ip = side, lab.address(side)
        self.lock = threading.RLock()
        self.error = None
        self._timers, self._count, self._asked, self._open = [], itertools.count(), {}, True
        self._sockets = {port: netns.inside(lab.namespace(side), self._bind, port) for port in ports}
        self._poll = select.poll()
        self._by_fd = {sock.fileno(): (port, sock) for port, sock in self._sockets.items()}
        for fd in self._by_fd:
            self._poll.register(fd, select.POLLIN)
        self.start()

    def _bind(self, port):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        netns.make_room(sock)
        sock.setblocking(False)
        sock.bind((self.ip, port))
        return sock

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._open = False
        self.join()
        for sock in self._sockets.values():
            sock.close()

    def send(self, port, text, to=None):
        self._sockets[port].sendto(text.encode(), to or (ANYCAST, SIP_PORT))

    def answer_to(self, msg):
        """Where the replies to a request go, as send() takes it."""
        return msg.source[0], msg.sent_by[1]

    def via(self, port, branch=None):
        return ('Via', f'SIP/2.0/UDP {self.ip}:{port};branch={branch or new_branch()};rport')

    def contact(self, user, port):
        return f'sip:{user}@{self.ip}:{port}'

    def after(self, seconds, func, *args):
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), func, args))

    def run(self):
        at_once()
        while self._open:
            ready = self._poll.poll(1000 * TICK)
            with self.lock:
                try:
                    for fd, _ in ready:
                        self._read(*self._by_fd[fd])
                    self._run_timers()
                except Exception as error:  # shown by check()
                    self.error = self.error or error

    def check(self):
        if self.error:
            raise LabError(f'a phone failed: {self.error!r}') from self.error

    def _read(self, port, sock):
        for _ in range(BATCH):
            try:
                data, source = sock.recvfrom(65535)
            except BlockingIOError:
                return
            self._got(port, Message(data.decode(errors='replace'), source))

    def _got(self, port, msg):
        if msg.code and msg.method != 'INVITE':
            self._on_answer(msg)
        else:
            self.received(port, msg)

    def _run_timers(self):
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, func, args = heapq.heappop(self._timers)
            func(*args)

    def received(self, port, msg):
        raise NotImplementedError

    # --- the client's half of requests other than INVITE and ACK

    def ask(self, port, method, branch, text, over=None):
        asking = Asking(self, port, text, over)
        self._asked[method, branch] = asking
        asking.send(T1)
        return asking

    def _on_answer(self, msg):
        asking = self._asked.get((msg.method, msg.branch))
        if asking and msg.code >= 200 and not asking.code:
            asking.code, asking.answered, asking.tries_needed = msg.code, msg.time, asking.tries
            asking.answer = msg


class Asking:
    """A request that is sent again until its answer comes (timers E and F)."""

    def __init__(self, endpoint, port, text, over=None):
        self.endpoint, self.port, self.text, self.over = endpoint, port, text, over
        self.began, self.tries, self.code, self.answered, self.tries_needed = time.monotonic(), 0, 0, None, 0
        self.provisional = 0         # reply to a re-INVITE, which is not sent again then (timer A)
        self.answer = None           # the message with that code

    def send(self, pause):
        if not self.code and not self.provisional and time.monotonic() - self.began < TIMER_F:
            self.tries += 1
            self.endpoint.send(self.port, self.text, self.over)
            if self.endpoint.sends_again:
                self.endpoint.after(pause, self.send, min(2 * pause, T2))


# ---- the far end

class Leg:
    """One INVITE transaction at one port of the far end: a phone that rings.

    over     a connection for its own requests, to for its replies (lab/connections.py)
    """
    over = None

    def __init__(self, owner, port, msg):
        self.owner, self.port, self.invite, self.call_id = owner, port, msg, msg.call_id
        self.tag = f'callee{next(_numbers)}'
        self.contact = owner.contact(msg.user, port)
        self.target = _first(_URI, msg['contact'])   # the caller's Contact
        self.code, self.acked, self.ended, self.invites, self.cancels, self.acks = 0, False, False, 1, 0, 0
        self.cseq = 0                # of its own requests
        self.changed = msg.time      # when its state last changed
        self.ended_at = None         # when it gave its final reply, before that was sent
        self.again = []              # when the INVITE came again
        self.others = []             # other requests within the call, retransmissions too
        self.manner = owner.manner   # on_invite may give it another one
        self.headers = ()            # more of them, of what it says
        self.body = ''               # of its 180 and 200
        self.to = owner.answer_to(msg)

    def say(self, code):
        """Answer the INVITE; a final reply is sent again until its ACK comes (timer G)."""
        with self.owner.lock:
            if self.code >= 200:
                return
            self.code, self.changed = code, time.monotonic()
            if code >= 200:
                self.ended_at = self.changed
            self.repeat()
            if code >= 200 and (code < 300 or self.owner.sends_again):
                self.owner.after(T1, self._again, 2 * T1, self.changed + TIMER_F)

    def trying(self):
        self.say(100)

    def ring(self):
        self.say(180)

    def answer(self):
        self.say(200)

    def reject(self, code=486):
        self.say(code)

    def repeat(self):
        if self.code:
            body = self.body if 100 < self.code < 300 else ''
            self.owner.send(self.port, response(self.invite, self.code, self.tag, self.contact, self.headers, body), self.to)

    def _again(self, pause, until):
        if not self.acked and time.monotonic() < until:
            self.repeat()
            self.owner.after(pause, self._again, min(2 * pause, T2), until)

    def on_ack(self):
        self.acks += 1
        if not self.acked:
            self.acked, self.changed = True, time.monotonic()

    def _request(self, method, branch, headers=()):
        invite = self.invite
        lines = [self.owner.via(self.port, branch), *(('Route', route) for route in invite.routes()),
                 ('From', f'{invite["to"]};tag={self.tag}'), ('To', invite['from']), ('Call-ID', self.call_id),
                 ('CSeq', f'{self.cseq} {method}'), ('Max-Forwards', '70'), *headers]
        return request(method, self.target, lines)

    def within(self, method, headers=()):
        """Send a request within the answered call, as the callee; returns the Asking. A re-INVITE's ACK is sent by itself."""
        with self.owner.lock:
            self.cseq += 1
            branch = f'z9hG4bK{method}{self.cseq}{self.tag}'
            if method == 'INVITE':
                self.owner.reinvites[branch] = self
                headers = (('Contact', f'<{self.contact}>'), *headers)
            return self.owner.ask(self.port, method, branch, self._request(method, branch, headers), self.over)

    def on_reinvited(self, msg):
        """The final reply to its re-INVITE, whose Contact is where it sends further requests to."""
        self.owner._on_answer(msg)
        if 200 <= msg.code < 300:
            self.target = _first(_URI, msg['contact'])
            self.owner.send(self.port, self._request('ACK', new_branch()), self.over)

    def bye(self, headers=()):
        """Hang up; returns the Asking."""
        return self.within('BYE', headers)

    @property
    def settled(self):
        """It neither rings nor waits for an ACK."""
        return self.code >= 200 and self.acked


class Callees(Endpoint):
    """The far end: phones at several ports that ring until a test says something else.

    on_invite(leg)   what a new INVITE does; None: it rings
    on_reinvite(leg) what the caller's re-INVITE does, a leg of its own; by default it is answered
    manner           what a retransmitted INVITE gets: 'repeat' (as it should), 'silence', or a code such as 482
    challenges       how many BYEs get a 407 first, or what refuses says
    """

    def __init__(self, lab, ports=PORTS, on_invite=None, manner='repeat', side='gateway'):
        self.on_invite, self.manner = on_invite or Leg.ring, manner
        self._calls, self._by_branch, self.unknown, self.challenges, self.refuses = {}, {}, [], 0, 407
        self._again, self.on_reinvite = {}, Leg.answer   # the caller's re-INVITEs
        self.reinvites = {}         # its own, by branch: the Leg
        self.last_again = 0.0       # when an INVITE last came again
        super().__init__(lab, side, ports)

    def legs(self, call_id, port=None):
        """The transactions of a call so far, in order. Two at one port: it rang a second time."""
        return [leg for leg in list(self._calls.get(call_id, ())) if port in (None, leg.port)]

    def rings(self, call_id):
        """{port: how many transactions began there}"""
        ports = [leg.port for leg in self.legs(call_id)]
        return {port: ports.count(port) for port in ports}

    def again(self, call_id):
        """The legs of the caller's re-INVITEs."""
        return list(self._again.get(call_id, ()))

    def received(self, port, msg):
        handler = {'INVITE': self._on_invite, 'CANCEL': self._on_cancel, 'ACK': self._on_ack, 'BYE': self._on_bye}
        if msg.code == 0:
            handler.get(msg.method, self._on_other)(port, msg)
        elif msg.code >= 200 and msg.branch in self.reinvites:
            self.reinvites[msg.branch].on_reinvited(msg)

    def _on_invite(self, port, msg):
        leg = self._by_branch.get((port, msg.branch))
        if leg:
            self._on_invite_again(leg, msg)
            return
        leg = self._by_branch[port, msg.branch] = Leg(self, port, msg)
        if msg.to_tag:                # within a call
            leg.tag = msg.to_tag
            first = self._note(port, msg)
            if first:
                first.target = leg.target
            self._again.setdefault(msg.call_id, []).append(leg)
            self.on_reinvite(leg)
            return
        self._calls.setdefault(msg.call_id, []).append(leg)
        self.on_invite(leg)

    def _on_invite_again(self, leg, msg):
        leg.invites += 1
        leg.again.append(msg.time)
        self.last_again = msg.time
        if leg.manner == 'repeat':
            leg.repeat()
        elif leg.manner != 'silence':
            self.send(leg.port, response(msg, leg.manner, leg.tag, leg.contact), leg.to)

    def _on_cancel(self, port, msg):
        leg = self._by_branch.get((port, msg.branch))
        self._reply(port, msg, 200 if leg else 481)
        if leg:
            leg.cancels += 1
            leg.say(487)
        else:
            self.unknown.append(msg)

    def _on_ack(self, port, msg):
        leg = self._by_branch.get((port, msg.branch)) or self._of_ack(port, msg)
        if leg:
            leg.on_ack()
        else:
            self.unknown.append(msg)

    def _on_bye(self, port, msg):
        leg = self._note(port, msg)
        challenged = leg and self.challenges > 0
        self.challenges -= challenged
        self._reply(port, msg, self.refuses if challenged else 200 if leg else 481)
        if leg and not challenged:
            leg.ended = True

    def _on_other(self, port, msg):
        """INFO, UPDATE and the like within a call."""
        self._reply(port, msg, 200 if self._note(port, msg) else 481)

    def _note(self, port, msg):
        """The leg within whose call it is."""
        leg = self._dialog(port, msg)
        if leg:
            leg.others.append(msg)
        return leg

    def _of_ack(self, port, msg):
        number = msg['cseq'].split()[0]
        legs = [*self.legs(msg.call_id, port), *self.again(msg.call_id)]
        return next((leg for leg in legs if leg.tag == msg.to_tag and leg.invite['cseq'].split()[0] == number), None)

    def _dialog(self, port, msg):
        return next((leg for leg in self.legs(msg.call_id, port) if leg.tag == msg.to_tag and 100 < leg.code < 300), None)

    def _reply(self, port, msg, code):
        self.send(port, response(msg, code, f'callee{next(_numbers)}'), self.answer_to(msg))


# ---- the caller

class Call:
    """One call as its caller sees it.

    deaf     hears nothing and sends the INVITE only once, until repeat(): as if the replies had been lost
    no_ack   keeps the ACK to a negative reply until ack()
    headers  more of them for the INVITE: ((name, value), …)
    body     of the INVITE
    over     a connection for what it sends (lab/connections.py); None: the caller's latest
    """

    def __init__(self, owner, call_id, dial, deaf=False, no_ack=False, headers=(), body='', over=None):
        self.owner, self.call_id, self.dial, self.deaf, self.no_ack = owner, call_id, dial, deaf, no_ack
        self.more, self.body = tuple(headers), body        # of the INVITE
        self.over = over
        self.branch, self.tag = f'z9hG4bKc{next(_numbers)}', f'caller{next(_numbers)}'
        self.replies, self.byes, self.ended_at, self.cseq, self.reinvite = [], 0, None, 1, None
        self.reinvites, self.reinvite_acks = [], 0    # of the callee
        self.invites, self.final, self.cancelling, self.began = 0, None, None, time.monotonic()
        self.uri = f'sip:{dial}@{ANYCAST}'
        self._send_invite(T1)

    # --- what it sends

    def _headers(self, method, branch, to='', routes=(), cseq=1):
        port = self.owner.port
        return [self.owner.via(port, branch), *(('Route', route) for route in routes),
                ('From', f'<sip:caller@{self.owner.ip}:{port}>;tag={self.tag}'), ('To', to or f'<{self.uri}>'),
                ('Call-ID', self.call_id), ('CSeq', f'{cseq} {method}'), ('Max-Forwards', '70'),
                ('Contact', f'<{self.owner.contact("caller", port)}>')]

    def _send(self, method, uri, branch, to='', routes=(), cseq=1, more=(), body=''):
        headers = [*self._headers(method, branch, to, routes, cseq), *more]
        self.owner.send(self.owner.port, request(method, uri, headers, body), self.over)

    def _send_invite(self, pause):
        if self.codes() or time.monotonic() - self.began > TIMER_F:
            return
        self.invites += 1
        self._send('INVITE', self.uri, self.branch, more=self.more, body=self.body)
        if not self.deaf and self.owner.sends_again:
            self.owner.after(pause, self._send_invite, 2 * pause)

    def repeat(self):
        """Send the INVITE again, until a reply comes; from now on it hears."""
        with self.owner.lock:
            self.deaf, self.began = False, time.monotonic()
            self._send_invite(T1)

    def cancel(self):
        with self.owner.lock:
            text = request('CANCEL', self.uri, self._headers('CANCEL', self.branch))
            self.cancelling = self.owner.ask(self.owner.port, 'CANCEL', self.branch, text, self.over)
            return self.cancelling

    def cancel_reinvite(self):
        with self.owner.lock:
            branch, asking = self.reinvite
            headers = self._headers('CANCEL', branch, self.final['to'], self.final.routes()[::-1], self.cseq)
            text = request('CANCEL', asking.text.split(' ')[1], headers)
            return self.owner.ask(self.owner.port, 'CANCEL', branch, text, self.over)

    def ack(self):
        """To the negative final reply."""
        with self.owner.lock:
            self.no_ack = False
            self._send('ACK', self.uri, self.branch, self.final['to'])

    def _ack_2xx(self, msg):
        self._send('ACK', _first(_URI, msg['contact']), None, msg['to'], msg.routes()[::-1])

    def within(self, method, **options):
        """Send a request within the call; returns the Asking. A re-INVITE's ACK is sent by itself.
        headers: more of them; to: another To; hops: Max-Forwards."""
        with self.owner.lock:
            answer = self.final or self.replies[-1]      # a call that rings has only provisional ones
            self.cseq += 1
            branch = f'z9hG4bK{method}{self.cseq}{self.tag}'
            headers = [(name, options.get('hops', value)) if name == 'Max-Forwards' else (name, value) for name, value
                       in self._headers(method, branch, options.get('to', answer['to']), answer.routes()[::-1], self.cseq)]
            text = request(method, _first(_URI, answer['contact']), [*headers, *options.get('headers', ())])
            asking = self.owner.ask(self.owner.port, method, branch, text, self.over)
            if method == 'INVITE':
                self.reinvite = branch, asking
            return asking

    def bye(self, **options):
        """Hang up an answered call; returns the Asking."""
        self.ended_at = self.ended_at or time.monotonic()
        return self.within('BYE', **options)

    # --- what it gets

    def on_reinvite(self, msg):
        self.owner._on_answer(msg)
        branch, asking = self.reinvite
        if msg.code < 200:
            asking.provisional = msg.code
            return
        contact, branch = (msg['contact'], None) if msg.code < 300 else (self.final['contact'], branch)
        self._send('ACK', _first(_URI, contact), branch, msg['to'], self.final.routes()[::-1], self.cseq)

    def on_reply(self, msg):
        if self.deaf:
            return
        self.replies.append(msg)
        if msg.code >= 200 and (not self.final or self.final.code < 200):
            self.final = msg
        if 200 <= msg.code < 300:
            self._ack_2xx(msg)
        elif msg.code >= 300 and not self.no_ack and self.final.code >= 300:
            self._send('ACK', self.uri, self.branch, msg['to'])

    def codes(self):
        return [msg.code for msg in self.replies]

    def got(self, code, since=0.0):
        """When that reply to the INVITE first came after a moment; None if it did not."""
        return next((msg.time for msg in list(self.replies) if msg.code == code and msg.time >= since), None)

    def wait(self, code, timeout=5):
        return wait_until(lambda: self.got(code), timeout, lambda: f'{code} for {self.call_id}, got {self.codes()}')


class Caller(Endpoint):
    """Places many calls from one socket."""

    def __init__(self, lab, port=17060, listens=True):
        self.port, self.calls = port, {}
        self.bye_takes = 0          # so many seconds it takes to answer one
        super().__init__(lab, 'caller', (port,) if listens else ())

    def call(self, call_id, dial, **options):
        with self.lock:
            self.calls[call_id] = call = Call(self, call_id, dial, **options)
            return call

    def received(self, port, msg):
        call = self.calls.get(msg.call_id)
        if msg.code and call and msg.branch == call.branch:
            call.on_reply(msg)
        elif msg.code and call and call.reinvite and msg.branch == call.reinvite[0]:
            call.on_reinvite(msg)
        elif not msg.code and msg.method == 'ACK':
            if call:
                call.reinvite_acks += 1
        elif not msg.code and msg.method == 'INVITE' and call:
            call.reinvites.append(msg)
            self.send(port, response(msg, 200, call.tag, self.contact('caller', self.port)), self.answer_to(msg))
        elif msg.method == 'BYE' and not msg.code:
            known = call and call.final and call.final.code == 200 and msg.to_tag == call.tag
            answer = response(msg, 200 if known else 481, f'caller{next(_numbers)}')
            self.after(self.bye_takes, self.send, port, answer, self.answer_to(msg))
            if known:
                call.byes += 1
                call.ended_at = call.ended_at or msg.time


def talk_and_end(call, leg, timeout=5):
    """The caller gets the 200 of a call that its phone answers or has answered; ACK and BYE reach the phone."""
    call.wait(200, timeout)
    wait_until(lambda: leg.acked, 5, 'the ACK')
    bye = call.bye()
    wait_until(lambda: bye.code == 200 and leg.ended, 5, 'the BYE')
