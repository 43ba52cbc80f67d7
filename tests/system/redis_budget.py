"""What an ordinary call makes Redis do, by Redis' own counts: a kamsyncd, a Redis, and calls that go through both step by step."""
import itertools
import re
import time

from fake_kamailio import FakeKamailio
from harness import Daemon, Redis, wait_until
from sip import Call, b64

FRAME = 40            # events in one
BEAT = {'heartbeat_ms': 60000, 'node_ttl_ms': 120000}
# What each step makes Redis do, once for each call unless it says otherwise: commands, with those that scripts call, and bytes.
BUDGET = {
    'INVITE': ('set*2', 1608),
    '180': ('set*2', 1666),
    '200': ('set*2', 1428),
    'BYE': ('', 20),             # our own questions
    '200 to BYE': ('evalsha getrange append xadd pexpire', 693),
}
MORE = 1.1            # of bytes; of commands not one
FRAME_S = 0.0125      # between frames: Kamailio sends some 80 a second
PACE = (0, 0.06, 0.12, 0.5, 0.53)   # when each step of a call comes, in s


class Talk(Call):
    """With what Kamailio tells of its answer and its BYE."""

    def answer_event(self):
        return {**self.reply_event(200), 'to_tag': b64(b't1'), 'at': time.time()}

    def bye_event(self, code):
        return {'t': 'bye', 'call_id': b64(self.call_id), 'from_tag': b64(b'f1'), 'to_tag': b64(b't1'), 'code': code, 'at': time.time()}


STEPS = {
    'INVITE': lambda call: {**call.branch_event(), 'at': time.time()},
    '180': lambda call: {**call.reply_event(180), 'at': time.time()},
    '200': lambda call: call.answer_event(),
    'BYE': lambda call: call.bye_event(0),
    '200 to BYE': lambda call: call.bye_event(200),
}


class Counts:
    """Of Redis since its start: {command: (calls, microseconds)}, and bytes that it has read."""

    def __init__(self, redis):
        text = redis.do('INFO', 'commandstats').decode()
        self.commands = {name: (int(calls), int(usec)) for name, calls, usec
                         in re.findall(r'cmdstat_([\w|]+):calls=(\d+),usec=(\d+)', text)}
        self.bytes = int(re.search(r'total_net_input_bytes:(\d+)', redis.do('INFO', 'stats').decode())[1])

    def since(self, before, calls):
        """{command: (calls, microseconds) per call of Kamailio's}, and bytes per call."""
        def per_call(name):
            was = before.commands.get(name, (0, 0))
            return tuple((now - then) / calls for now, then in zip(self.commands[name], was))
        found = {name: per_call(name) for name in self.commands}
        # without heartbeats and our own questions, which do not grow with the calls
        return {name: got for name, got in found.items() if got[0] >= 0.5}, (self.bytes - before.bytes) / calls


class Bench:
    """One kamsyncd, and calls that go through it: with Bench(directory, 100) as bench."""

    def __init__(self, directory, calls):
        self.redis = Redis(directory).start()
        self.kamailio = FakeKamailio(1).start()
        self.daemon = Daemon(directory, self.kamailio.port, store=self.redis.url, **BEAT)
        self.daemon.start()
        self.kamailio.wait_hello()
        wait_until(lambda: self.redis.calls('scan') >= 2, 20, 'both rounds of its search for what it had before')
        self.calls = calls

    def run(self):
        """One step of all calls after the other: {step: (commands, bytes)}, as Counts.since() has them."""
        calls, outcome = [Talk() for _ in range(self.calls)], {}
        for step, (words, _) in BUDGET.items():
            before = Counts(self.redis)
            self.say(step, calls, words)
            outcome[step] = Counts(self.redis).since(before, len(calls))
        return outcome

    def say(self, step, calls, words):
        """And waits until all of it is written: the last command of a step is a SET, or the PEXPIRE of the end."""
        last = 'pexpire' if 'pexpire' in words else 'set'
        before, wanted = self.redis.calls(last), len(calls) * (bool(words) + (f'{last}*2' in words))
        for start in range(0, len(calls), FRAME):
            self.kamailio.events(*[STEPS[step](call) for call in calls[start:start + FRAME]])
        wait_until(lambda: self.is_read() and self.redis.calls(last) - before >= wanted, 20, f'{step}: all written')

    def pace(self, rate):
        """Calls that begin at that rate, in frames like Kamailio's. Redis' and kamsyncd's CPU, in us for each."""
        events = sorted(((i / rate + after, step, call) for i, call in enumerate(Talk() for _ in range(self.calls))
                         for after, step in zip(PACE, STEPS)), key=lambda event: event[0])
        before, start = self.cpu(), time.monotonic()
        while events:
            time.sleep(FRAME_S)   # not a wait for anything: the pace itself
            due = list(itertools.takewhile(lambda event: event[0] <= time.monotonic() - start, events))[:FRAME]
            del events[:len(due)]
            if due:
                self.kamailio.events(*[STEPS[step](call) for _, step, call in due])
        wait_until(lambda: self.redis.do('XLEN', 'kamsync:cdr') == self.calls, 20, 'all ended')
        return [1e6 * (now - then) / self.calls for now, then in zip(self.cpu(), before)]

    def cpu(self):
        """Of Redis and kamsyncd, in s."""
        parts = re.findall(r'used_cpu_(?:sys|user):([\d.]+)', self.redis.do('INFO', 'cpu').decode())
        with open(f'/proc/{self.daemon.popen.pid}/schedstat') as file:
            return sum(map(float, parts)), int(file.read().split()[0]) / 1e9

    def is_read(self):
        acks = self.kamailio.of_type('ack')
        return acks and acks[-1]['events'] == self.kamailio.n

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.daemon.stop()
        self.kamailio.stop()
        self.redis.kill()
