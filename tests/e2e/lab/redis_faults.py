"""What can go wrong with Redis, done to a real one; and what the callers, the operator and the archive see of it.

    with Bed(proxied=False) as bed:
        outcome = bed.run(FAULTS['killed, back empty'])
        print(outcome.row())

$KAMSYNC_OLD_S: how old the old data is (seconds).
"""
import json
import os
import re
import shutil
import socket
import time

from lab import netns
from lab.cluster import Cluster
from lab.lab import Lab, REDIS_PORT
from lab.phone import Callees, Caller
from lab.proc import LabError, wait_until
from lab.redis_proxy import Proxy
from lab.redis_tools import redis_tool
from lab.store import READ_RECORD
from lab.traffic import Traffic, answer_or_ring, archive_complaint

PASSWORD = 'the-password-of-the-lab'
PROXY_PORT, MASTER_PORT = 6380, 6390
AWAY_S = 1.6        # the shortest outage: longer than half of node_ttl_ms
RATE = 12
HELD = 6            # of each kind: calls that are there before, and of which half end during the outage
OLD_S = float(os.environ.get('KAMSYNC_OLD_S', '2'))
COUNTED = ('puts', 'puts_failed', 'call_writes', 'verdict_owner', 'verdict_acted', 'verdict_unavailable')


def encode(words):
    words = [str(word).encode() for word in words]
    return b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(word), word) for word in words)


def decode(file):
    line = file.readline().rstrip(b'\r\n')
    kind, rest = line[:1], line[1:]
    if not line or kind == b'-':
        raise OSError(rest.decode() or 'connection closed')
    if kind == b'$':
        return None if rest == b'-1' else file.read(int(rest) + 2)[:-2].decode(errors='replace')
    if kind == b'*':
        return [decode(file) for _ in range(int(rest))]
    return int(rest) if kind == b':' else rest.decode()


class Redis:
    """One that can be harmed: it has a password, and its data can be kept and brought back."""

    def __init__(self, lab, port=REDIS_PORT, password=PASSWORD):
        self.lab, self.port, self.password, self.proc, self.directory = lab, port, password, None, None

    def start(self, data=None):
        """Empty, or with that RDB file."""
        self.directory = self.lab.new_directory('redis-data')
        if data:
            shutil.copy(data, f'{self.directory}/dump.rdb')
        secret = ['--requirepass', self.password] if self.password else ['--protected-mode', 'no']
        self.proc = self.lab.start('store', 'redis', [
            redis_tool('server'), '--bind', '0.0.0.0', '--port', self.port, '--save', '', '--appendonly', 'no', '--dir',
            self.directory, '--enable-debug-command', 'yes', '--repl-diskless-sync-delay', 0, *secret])
        self.proc.wait_ready(self.answers, 10, 'PONG')
        return self

    def connect(self, timeout=5):
        sock = netns.inside(self.lab.namespace('store'), socket.create_connection, ('127.0.0.1', self.port), timeout)
        if self.password:
            sock.sendall(encode(['AUTH', self.password]))
            with sock.makefile('rb') as file:
                decode(file)
        return sock

    def do(self, *words, timeout=5):
        with self.connect(timeout) as sock, sock.makefile('rb') as file:
            sock.sendall(encode(words))
            return decode(file)

    def answers(self, *words):
        try:
            return self.do(*(words or ['PING']), timeout=0.3) is not None
        except OSError:
            return False

    def takes_writes(self):
        return self.answers('SET', 'kamsync-test', '1', 'PX', '50')

    def archive(self):
        """{Call-ID: [entry]}, an entry is name → text."""
        found = {}
        for _, pairs in self.do('XRANGE', 'kamsync:cdr', '-', '+'):
            entry = dict(zip(pairs[::2], pairs[1::2]))
            found.setdefault(entry['call_id'], []).append(entry)
        return found


# ---- the faults

class Fault:
    """harm(), then mend(); `noticed` is what kamsyncd logs of it."""
    proxied = loses_data = False

    def __init__(self, name, noticed):
        self.name, self.noticed = name, noticed

    def prepare(self, bed):
        pass

    def mend(self, bed):
        pass


class Killed(Fault):
    loses_data = True

    def harm(self, bed):
        bed.redis.proc.kill()

    def mend(self, bed):
        bed.redis.start()


class OldData(Killed):
    def prepare(self, bed):
        bed.redis.do('SAVE')
        self.file = f'{bed.redis.directory}/dump.rdb'
        self.since = time.monotonic()
        bed.hold('new')
        bed.end_some()
        # a pace: so old the data is to be
        time.sleep(max(0.0, self.since + OLD_S - time.monotonic()))

    def mend(self, bed):
        bed.redis.start(self.file)


class Paused(Fault):
    def harm(self, bed):
        bed.redis.do('CLIENT', 'PAUSE', 2500, 'ALL')


class Sleeping(Fault):
    def harm(self, bed):
        with bed.redis.connect() as sock:
            sock.sendall(encode(['DEBUG', 'SLEEP', '2.5']))


class Full(Fault):
    def harm(self, bed):
        bed.redis.do('CONFIG', 'SET', 'maxmemory-policy', 'noeviction', 'maxmemory', 1)

    def mend(self, bed):
        bed.redis.do('CONFIG', 'SET', 'maxmemory', 0)


class ReadOnly(Fault):
    """The address still leads to one that has become a replica, and has taken its new master's (empty) data."""
    loses_data = True

    def prepare(self, bed):
        self.master = Redis(bed.lab, MASTER_PORT, password=None).start()

    def harm(self, bed):
        bed.redis.do('REPLICAOF', '127.0.0.1', MASTER_PORT)
        wait_until(lambda: 'master_link_status:up' in bed.redis.do('INFO', 'replication'), 10, 'the replica')

    def mend(self, bed):
        bed.redis.do('REPLICAOF', 'NO', 'ONE')
        self.master.proc.kill()


class Password(Fault):
    def harm(self, bed):
        bed.redis.do('CONFIG', 'SET', 'requirepass', 'another')
        bed.redis.password = 'another'
        for kind in ('normal', 'pubsub'):
            bed.redis.do('CLIENT', 'KILL', 'TYPE', kind)

    def mend(self, bed):
        bed.redis.do('CONFIG', 'SET', 'requirepass', PASSWORD)
        bed.redis.password = PASSWORD


class Reset(Fault):
    proxied = True

    def harm(self, bed):
        bed.proxy.cut_after(2500)
        wait_until(lambda: bed.proxy.resets >= 6, 20, 'connections are cut')

    def mend(self, bed):
        bed.proxy.ok()


class Stalled(Fault):
    proxied = True

    def harm(self, bed):
        bed.proxy.stalled = True

    def mend(self, bed):
        bed.proxy.ok()


class Dropped(Fault):
    def harm(self, bed):
        for name in bed.cluster.nodes:
            bed.lab.cut(name, 'store')

    def mend(self, bed):
        for name in bed.cluster.nodes:
            bed.lab.heal(name, 'store')


FAULTS = {fault.name: fault for fault in (
    Killed('killed with -9, back empty', 'connection lost'),
    OldData('killed with -9, back with old data', 'connection lost'),
    Paused('CLIENT PAUSE', 'no answer in time'),
    Sleeping('DEBUG SLEEP', 'no answer in time'),
    Full('memory full, noeviction', 'redis refuses: OOM'),
    ReadOnly('a replica now: READONLY', 'redis refuses: READONLY'),
    Password('password changed', 'AUTH refused: WRONGPASS'),
    Dropped('network drops all packets', 'no answer in time'),
    Reset('connections reset amid a pipeline', 'connection lost'),
    Stalled('connections stand still', 'no answer in time'),
)}


# ---- the test bed

class Bed:
    """Two nodes, one Redis, calls that go on all the time."""

    def __init__(self, seed, proxied=False):
        self.seed, self.held, self.names = seed, [], 0
        self.lab = Lab(nodes='ab')
        try:
            self._build(proxied)
        except BaseException:
            self.lab.close()
            raise

    def _build(self, proxied):
        lab = self.lab
        self.redis = Redis(lab).start()
        self.proxy = self._make_proxy() if proxied else None
        path = f'{lab.new_directory("password")}/password'
        with open(path, 'w') as file:
            file.write(PASSWORD + '\n')
        os.chmod(path, 0o400)
        port = PROXY_PORT if proxied else REDIS_PORT
        self.cluster = Cluster(lab, redis=False, log_level=0, store=f'redis://{lab.address("store")}:{port}',
                               redis_password_file=path)
        self.callees, self.caller = Callees(lab, ports=(5060,), on_invite=answer_or_ring), Caller(lab)
        self.traffic = Traffic(self.cluster, self.seed, self.caller, self.callees, RATE).start()

    def _make_proxy(self):
        def bind():
            return socket.create_server((self.lab.address('store'), PROXY_PORT), reuse_port=True, backlog=50)

        def to():
            return netns.inside(self.lab.namespace('store'), socket.create_connection, ('127.0.0.1', REDIS_PORT), 2)
        return Proxy(lambda: netns.inside(self.lab.namespace('store'), bind), to)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.lab.keep_logs = kind is not None
        for end in (self.caller, self.callees):
            end.close()
        if self.proxy:
            self.proxy.stop()
        self.lab.close()

    # --- calls that are there before the accident

    def hold(self, name):
        """Half of them ring, half talk."""
        calls = [self.traffic.place(kind, hold=0) for kind in ('cancel', 'caller', 'callee') for _ in range(HELD // 3)]
        self.held += calls
        wait_until(lambda: all(self.traffic.ready(call) for call in calls), 10, f'{name}: calls that ring and talk')
        wait_until(lambda: not self.stale(calls), 10, lambda: f'{name}: records', every=0.05)

    def end_some(self):
        """Every other one of those that still live."""
        live = [call for call in self.held if not call.ending]
        for call in live[::2]:
            self.traffic.end(call)
        return live[::2]

    def call(self, key):
        """The fields of its record: a hash, or a text, behind which its end may stand (docs/redis-keys.md)."""
        if self.redis.do('TYPE', key) == 'hash':
            words = self.redis.do('HGETALL', key)
        else:
            words = json.loads((self.redis.do('GET', key) or '[]').replace('"]["', '","'))
        return dict(zip(words[::2], words[1::2]))

    def stale(self, calls):
        """Those whose record is not as their owner knows them; all of them while Redis cannot be read."""
        def right(call):
            want = 'ringing' if call.kind == 'cancel' else 'answered'
            key = f'kamsync:call:{{{call.call_id}}}:{call.tag}'
            found = self.call(key)
            if found.get('state') != want:
                return False
            return want == 'answered' or '"state":"ringing"' in (self.redis.do('EVAL', READ_RECORD, 1, found['tx']) or '')
        try:
            return [call for call in calls if not right(call)]
        except OSError:
            return calls

    # --- one fault

    def run(self, fault):
        outcome = Outcome(self, fault)
        self.held = []
        outcome.begin()
        self.hold('held')
        fault.prepare(self)
        outcome.harm()
        outcome.mend()
        outcome.finish()
        return outcome


class Outcome:
    """What one fault did."""

    def __init__(self, bed, fault):
        self.bed, self.fault, self.traffic = bed, fault, bed.traffic
        self.recovered, self.text = {}, f'| {fault.name} | | | |'

    def begin(self):
        self.mark = self.traffic.mark()
        self.logs = {node: len(node.kamsyncd.log()) for node in self.nodes()}
        self.before = self.counters()

    def nodes(self):
        return list(self.bed.cluster.node.values())

    def counters(self):
        counted = [node.counters() for node in self.nodes()]
        return {name: sum(one[name] for one in counted) for name in COUNTED}

    def log(self):
        return ''.join(node.kamsyncd.log()[self.logs[node]:] for node in self.nodes())

    def harm(self):
        self.harmed_s, since = time.time(), time.monotonic()
        self.fault.harm(self.bed)
        wait_until(lambda: self.fault.noticed in self.log(), 10, f'"{self.fault.noticed}" in the log', every=0.05)
        ended = self.bed.end_some()
        wait_until(lambda: all(call.ending.code for call in ended), 10, 'calls end during the outage')
        self.ended = ended
        # a pace: an outage of at least so long
        time.sleep(max(0.0, since + AWAY_S - time.monotonic()))

    def mend(self):
        self.fault.mend(self.bed)
        wait_until(self.bed.redis.takes_writes, 10, 'Redis takes writes', every=0.005)
        self.back = time.monotonic()
        live = [call for call in self.bed.held if not call.ending]
        assert live
        self.time('lookups', lambda: all(node.ask('call', call_id=live[0].call_id).get('ok') for node in self.nodes()))
        self.time('records', lambda: not self.bed.stale(live))
        self.time('archive', lambda: all(call.call_id in self.bed.redis.archive() for call in self.ended))
        self.live = live

    def time(self, what, condition):
        def met():
            try:
                return condition()
            except OSError:
                return False
        try:
            wait_until(met, 20, what, every=0.01)
            self.recovered[what] = time.monotonic() - self.back
        except LabError:
            self.recovered[what] = None

    def finish(self):
        """What was held ends now, at whichever node; then all is counted."""
        self.stale_later = self.bed.stale(self.live)
        for call in self.live:
            self.traffic.end(call)
        self.calls = self.traffic.since(self.mark)
        self.traffic.settle(self.calls)
        try:
            wait_until(lambda: not self.wrong_entries(), 15, 'entries in the archive', every=0.2)
        except LabError:
            pass
        after = self.counters()
        self.delta = {name: after[name] - self.before[name] for name in COUNTED}
        self.wrong = self.traffic.wrong(self.calls)
        self.repeated = self.traffic.repeated(self.calls)
        self.entries_wrong = self.wrong_entries()
        self.text = self.row()

    def wrong_entries(self):
        """What is said of calls that ended since the accident; or of all, if the data is not lost with it."""
        archive = self.bed.redis.archive()
        begin = self.harmed_s if self.fault.loses_data else 0
        return {call: text for call in self.calls if call.ending and call.ending_s > begin
                and (text := archive_complaint(call, archive.get(call.call_id, [])))}

    def line(self):
        """The log line, as the operator reads it, without its time and address."""
        found = next(line for line in self.log().splitlines() if self.fault.noticed in line)
        return re.sub(r'redis \S+ ', 'redis … ', re.sub(r'^.*?(WARN|ERROR|warn|error)\S* *', '', found)).strip()

    def row(self):
        slowest = max(self.traffic.answer_ms(self.calls))
        seen = (f'{len(self.calls)} calls, {len(self.wrong)} wrong, {self.repeated} retransmissions; '
                f'slowest answer to CANCEL or BYE {slowest:.0f} ms')
        counted = ', '.join(f'`{name}` +{self.delta[name]}' for name in COUNTED if self.delta[name])
        times = ', '.join(f'{what} {f"{seconds:.1f} s" if seconds is not None else "**never**"}'
                          for what, seconds in self.recovered.items())
        return f'| {self.fault.name} | {seen} | `{self.line()}`; {counted} | {times} |'


TITLE = ('| fault of Redis | the caller sees | the operator sees (log, counters of both nodes) | recovered after Redis took '
         'writes again |\n|---|---|---|---|')


def table(outcomes):
    return '\n'.join([TITLE, *(outcome.text for outcome in outcomes.values())]) + '\n'
