"""The real programs of a system test: kamsyncd and redis-server.

Nothing here sleeps for a guessed time: wait_until() waits for a condition and says what it was when it never came.
"""
import contextlib
import getpass
import itertools
import os
import random
import re
import shlex
import signal
import socket
import subprocess
import sys
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.append(os.path.join(REPO, 'tests', 'e2e'))
from lab.redis_tools import redis_tool  # noqa: E402

KAMSYNCD = os.path.abspath(os.environ.get('KAMSYNCD', os.path.join(REPO, 'build', 'daemon', 'kamsyncd')))
# What runs the programs that are tested, such as valgrind, and how many times as long they may take then.
WRAPPER = shlex.split(os.environ.get('KAMSYNC_WRAPPER', ''))
SLOWER = int(os.environ.get('KAMSYNC_SLOWER', '1'))
COMMAND = [*WRAPPER, KAMSYNCD]
SECRET = 'the-secret-of-the-test-cluster'

# A finding of a sanitizer must end the process, and freed memory must not pile up: one test watches the memory.
SANITIZERS = {'ASAN_OPTIONS': 'quarantine_size_mb=8', 'UBSAN_OPTIONS': 'halt_on_error=1:print_stacktrace=1'}

# Two workers of pytest-xdist never have the same one.
WORKER, WORKERS = os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:], os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1')
PORTS = range(20000, 32000)[int(WORKER)::int(WORKERS)]
_next_port = itertools.count(random.randrange(len(PORTS)))  # others may run tests at the same time

# Where Kamailio, by its evapi's port, finds what its kamsyncd and it share.
keys_files = {}

FINDING = re.compile('^==[0-9]+==|runtime error', re.M)  # in a log: of a sanitizer or of valgrind


def wait_until(condition, timeout=10, what='', every=0.005):
    """Waits for condition() to be true and returns its value; what may be a function that tells the state."""
    deadline = time.monotonic() + timeout * SLOWER
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f'waited {timeout * SLOWER} s in vain for: {what() if callable(what) else what}')
        time.sleep(every)


def free_port():
    """Below those that the kernel gives to connections, so that none takes it before its owner listens; each but once."""
    while True:
        port = PORTS[next(_next_port) % len(PORTS)]
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(('127.0.0.1', port))
            return port


def run_kamsyncd(*args, timeout=10):
    """Runs kamsyncd to its end: for --help and the like."""
    return subprocess.run([*COMMAND, *map(str, args)], capture_output=True, text=True, timeout=timeout * SLOWER,
                          env={**SANITIZERS, **os.environ}, check=False)


def check_settings(path, user=getpass.getuser()):
    """kamsyncd --check: as who runs the tests, even where there is a user kamsync."""
    return run_kamsyncd('-c', path, '--check', '--user', user)


def known_options():
    """The names of all options, from --help."""
    return re.findall(r'^  ([a-z_]+) ', run_kamsyncd('--help').stdout, re.M)


def without_takeover():
    """Settings under which an orphan is only given back, for tests of that verdict."""
    return {'takeover': 0} if 'takeover' in known_options() else {}


class Process:
    """A program with a log file of its own; ended by its pid."""

    def __init__(self, name, directory):
        self.name, self.popen = name, None
        self.log_path = os.path.join(directory, f'{name}.log')

    def launch(self, argv):
        with open(self.log_path, 'ab') as log:
            self.popen = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env={**SANITIZERS, **os.environ})

    @property
    def running(self):
        return self.popen is not None and self.popen.poll() is None

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        """What a crash looks like. SIGKILL ends a stopped process as well."""
        if self.running:
            self.popen.kill()
            self.popen.wait(10)

    def log(self):
        if not os.path.exists(self.log_path):
            return ''
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def tail(self, lines=60):
        log = [line for line in self.log().splitlines() if ' counter: ' not in line]
        return f'--- the end of the log of {self.name}\n' + '\n'.join(log[-lines:])

    def wait_log(self, text, timeout=10, count=1):
        """Waits until the text stands in the log count times."""
        wait_until(lambda: self.log().count(text) >= count, timeout, f"'{text}' ({count}x) in the log of {self.name}")


class Daemon(Process):
    """One kamsyncd. Options are those of its settings file; set to None they are left out."""

    def __init__(self, directory, kamailio_port, name='kamsyncd', secret=SECRET, **options):
        super().__init__(name, directory)
        self.conf_path = os.path.join(directory, f'{name}.conf')
        self.secret_path = os.path.join(directory, f'{name}.secret')
        self.options = {'kamailio': f'127.0.0.1:{kamailio_port}', 'name': name, 'control': '',
                        'keys_file': os.path.join(directory, f'{name}.keys'), **options}
        keys_files[kamailio_port] = self.options['keys_file']
        self.control = os.path.join(directory, f'{name}.sock')
        if secret is not None:
            self.write_secret(secret)
            self.options['secret_file'] = self.secret_path

    def write_secret(self, secret):
        with open(self.secret_path, 'w') as f:
            f.write(secret + '\n')
        os.chmod(self.secret_path, 0o600)

    def write_config(self):
        with open(self.conf_path, 'w', errors='surrogateescape') as f:
            f.writelines(f'{k} = {v}\n' for k, v in self.options.items() if v is not None)

    def start_quietly(self):
        self.write_config()
        self.launch([*COMMAND, '-c', self.conf_path])
        return self

    def start(self):
        starts = self.log().count(' started: ')
        self.start_quietly().wait_log(' started: ', 10, starts + 1)
        return self

    def reload(self, **changes):
        self.options.update(changes)
        self.write_config()
        self.signal(signal.SIGHUP)

    def wait_exit(self, timeout):
        """Waits for its end. Returns the seconds that took; the exit status must be 0."""
        begun = time.monotonic()
        try:
            code = self.popen.wait(timeout * SLOWER)
        except subprocess.TimeoutExpired:
            code = f'still running after {timeout * SLOWER} s'
        assert code == 0, f'{self.name}: exit status {code}\n{self.tail()}'
        assert not FINDING.search(self.log()), self.tail()
        return time.monotonic() - begun

    def stop(self):
        self.signal(signal.SIGTERM)
        return self.wait_exit(10)

    def report(self):
        """What SIGUSR1 logs: the status line and all counters in one dictionary."""
        seen = self.log().count('counter: nodes_changed')  # the last line of a report
        self.signal(signal.SIGUSR1)
        self.wait_log('counter: nodes_changed', 10, seen + 1)
        text = self.log()
        text = text[text.rindex(' status: '):]
        report = {k: int(v) for k, v in re.findall(r'counter: (\w+) (\d+)', text)}
        for key, value in re.findall(r'(\w+)=(\w+)', text.splitlines()[0]):
            key = 'waiting' if key == 'lookups' else key  # a counter has that name
            report[key] = int(value) if value.isdigit() else value
        return report

    def wait_report(self, timeout=10, **values):
        """Waits until the report says these values."""
        wait_until(lambda: values.items() <= self.report().items(), timeout,
                   lambda: f'{values} in {self.name}: {self.report()}', every=0.02)

    def _kernel_says(self, name):
        with open(f'/proc/{self.popen.pid}/status') as f:
            return int(re.search(rf'^{name}:\s+(\d+)', f.read(), re.M).group(1))

    def memory_kb(self):
        return self._kernel_says('VmRSS')

    def sleeps(self):
        """How often its loop has gone to sleep so far."""
        return self._kernel_says('voluntary_ctxt_switches')


# The text of a transaction's record, of either type (docs/redis-keys.md); None: there is none.
READ_RECORD = ("if redis.call('TYPE', KEYS[1]).ok == 'hash' then return redis.call('HGET', KEYS[1], 'record') end "
               "return redis.call('GET', KEYS[1])")


class RedisError(Exception):
    """What Redis answered with a minus sign."""


class Redis(Process):
    """A redis-server that keeps nothing on disk, and a client for it that needs no library.

    The password is set by a command: it may hold what Redis and Valkey read in different ways on a command line.
    """
    host = '127.0.0.1'

    def __init__(self, directory, name='redis', requirepass=None, port=None, **options):
        super().__init__(name, directory)
        self.requirepass = requirepass
        self.port, self.options, self.directory = port or free_port(), options, directory
        self.url = f'redis://{self.host}:{self.port}'
        self.auth = None

    def start(self):
        argv = [redis_tool('server'), '--port', self.port, '--bind', self.host, '--save', '', '--appendonly', 'no',
                '--dir', self.directory]
        for key, value in self.options.items():
            argv += [f'--{key.replace("_", "-")}', *str(value).split(' ')]
        self.launch(argv)
        wait_until(self.answers, 10, 'redis-server to answer')
        if self.requirepass:
            self.do('CONFIG', 'SET', 'requirepass', self.requirepass)
        return self

    def answers(self):
        try:
            return self.do('PING') == b'PONG'
        except OSError:
            return False
        except RedisError as e:
            return 'NOAUTH' in str(e)

    def restart(self):
        """A crash and a new start on the same port, empty."""
        self.kill()
        self.start()

    def connect(self):
        return socket.create_connection((self.host, self.port), 5)

    def do(self, *words, db=0):
        """One command, in the protocol of Redis."""
        return self.do_all([words], db)[0]

    def do_all(self, commands, db=0):
        """Sent in one go."""
        first = [('AUTH', *self.auth)] if self.auth else []
        first += [('SELECT', db)] if db else []
        with self.connect() as s, s.makefile('rb') as answers:
            s.sendall(b''.join(encode_command(*words) for words in (*first, *commands)))
            return [read_answer(answers) for _ in (*first, *commands)][len(first):]

    def calls(self, command):
        """How often the command was called, as `redis-cli info commandstats` tells."""
        m = re.search(rf'cmdstat_{command}:calls=(\d+)', self.do('INFO', 'commandstats').decode())
        return int(m.group(1)) if m else 0

    def record(self, key):
        return self.do('EVAL', READ_RECORD, 1, key)

    def transactions(self):
        return self.do('KEYS', 'kamsync:tx:*')


def encode_command(*words):
    words = [w if isinstance(w, bytes) else str(w).encode() for w in words]
    return b'*%d\r\n' % len(words) + b''.join(b'$%d\r\n%s\r\n' % (len(w), w) for w in words)


def read_answer(f):
    line = f.readline().rstrip(b'\r\n')
    kind, rest = line[:1], line[1:]
    if kind == b'-':
        raise RedisError(rest.decode())
    if kind == b':':
        return int(rest)
    if kind == b'$':
        return None if rest == b'-1' else f.read(int(rest) + 2)[:-2]
    if kind == b'*':
        return [read_answer(f) for _ in range(int(rest))]
    return rest
