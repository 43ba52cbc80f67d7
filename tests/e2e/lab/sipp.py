"""SIPp as the caller and as the gateway.

    with_gateway = Gateway(lab)                     # serves every scenario
    result = call(lab, 'cancel', calls=100, rate=50, dial='ring')
    assert result.ok == 100, result

Scenarios are in cfg/scenarios/.  Call-IDs look like 'cancel-17-r2@lab': scenario,
number of the call (from 1), run; Via branches and tags are made of the same
numbers.  So nothing in a message depends on chance, and a seeded steering
policy does the same in each run.
"""
import csv
import glob
import os
import signal

from lab.lab import ANYCAST, ANYCAST6, SIP_PORT
from lab.proc import LabError

SCENARIOS = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../cfg/scenarios')
# What the caller dials when a test does not say: see cfg/scenarios/gateway.xml.
DIALS = {'call': 'answer1', 'cancel': 'ring1', 'rejected': 'busy1',
         'failed': 'unavailable1'}
RINGING = '  <recv response="180"/>\n'


def _write_scenario(lab, name, *changes):
    """A copy of it with these changes, each (old text, new text); returns its path."""
    path = os.path.join(lab.new_directory('scenario'), f'{name}.xml')
    with open(os.path.join(SCENARIOS, f'{name}.xml')) as file:
        text = file.read()
    for old, new in changes:
        text = text.replace(old, new)
    with open(path, 'w') as file:
        file.write(text)
    return path


class Result:
    """How the calls of one SIPp went, by its own count."""

    def __init__(self, counters, errors, call_ids):
        def count(column):
            return int(counters.get(column) or 0)
        self.ok = count('SuccessfulCall(C)')
        self.failed = count('FailedCall(C)')
        self.retransmissions = count('Retransmissions(C)')
        self.unexpected = count('FailedUnexpectedMessage(C)')
        self.stray = count('OutOfCallMsgs(C)') + count('DeadCallMsgs(C)')
        self.errors, self.call_ids = errors, call_ids

    def __repr__(self):
        text = (f'{self.ok} ok, {self.failed} failed, '
                f'{self.retransmissions} retransmissions, '
                f'{self.unexpected} unexpected, {self.stray} stray')
        return f'{text}\n{self.errors[:3000]}' if self.errors else text


class Sipp:
    """One SIPp process with its statistics."""

    def __init__(self, lab, side, name, scenario_path, options, family=4):
        self.directory = lab.new_directory(name)
        argv = ['sipp', '-sf', scenario_path, '-i', lab.address(side, family),
                '-nostdin', '-skip_rlimit', '-buff_size', 1 << 20,
                # The statistics are written once more at the end, whatever
                # the interval; the interval serves those that get killed.
                '-trace_stat', '-stf', f'{self.directory}/stat.csv', '-fd', 1,
                '-trace_err', '-error_file', f'{self.directory}/errors.log',
                '-f', 3600, *options]
        self.proc = lab.start(side, name, argv)

    def counters(self):
        """The last line of the statistics, {} if there is none yet."""
        try:
            with open(f'{self.directory}/stat.csv', newline='') as file:
                rows = list(csv.reader(file, delimiter=';'))
        except FileNotFoundError:
            return {}
        return dict(zip(rows[0], rows[-1])) if len(rows) > 1 else {}

    def errors(self):
        """The unexpected messages and timeouts, as SIPp tells them."""
        text = ''
        for path in sorted(glob.glob(f'{self.directory}/errors*')):
            with open(path, errors='replace') as file:
                text += file.read()
        return text


class Caller(Sipp):
    """SIPp placing calls to the anycast address."""

    def __init__(self, lab, scenario, calls=1, rate=20, dial=None, port=None,
                 family=4, pause=20, pad=0, timeout=60, recv_timeout=8000,
                 options=()):
        """pause: ms before BYE or CANCEL; pad: bytes added to the INVITE;
        recv_timeout: ms after which a call that lacks an answer has failed."""
        self.scenario, self.calls, self.timeout = scenario, calls, timeout
        self.run = f'r{next(lab.sipp_runs)}'
        # Far from 6000, where SIPp looks for a media port of its own.
        port = port or 20000 + int(self.run[1:])
        dial = dial or DIALS[scenario]
        target = ANYCAST if family == 4 else f'[{ANYCAST6}]'
        super().__init__(
            lab, 'caller', f'caller-{scenario}-{self.run}',
            _write_scenario(lab, scenario, (RINGING, RINGING * (dial.count('ring') or 1))),
            [f'{target}:{SIP_PORT}', '-p', port, '-s', dial,
             '-m', calls, '-r', rate, '-l', calls, '-d', pause,
             '-cid_str', f'{scenario}-%u-{self.run}@lab',
             '-key', 'run', self.run, '-key', 'pad', 'x' * pad,
             '-recv_timeout', recv_timeout, '-timeout', f'{timeout}s',
             # Aborting a failed call with a BYE of SIPp's own making would
             # only add noise to the trace.
             '-default_behaviors', 'all,-bye', *options], family)

    @property
    def call_ids(self):
        return [f'{self.scenario}-{number}-{self.run}@lab'
                for number in range(1, self.calls + 1)]

    def wait(self):
        """Wait until all calls have ended; returns the Result."""
        code = self.proc.wait(self.timeout + 10)
        if code not in (0, 1):
            raise LabError(f'sipp ended with code {code}\n{self.errors()}\n'
                           + self.proc.tail())
        return self.result()

    def result(self):
        return Result(self.counters(), self.errors(), self.call_ids)


class Gateway(Sipp):
    """SIPp taking calls; several may run, on different ports."""

    def __init__(self, lab, port=SIP_PORT, family=4, pause=20, options=(), scenario='gateway', over='udp'):
        """pause: ms between 180 and 200. over: 'udp' or 'tcp'."""
        changes = [('LOCALPORT', str(port))]
        if over != 'udp':     # also in its Contact
            changes.append(('[local_port]>', f'[local_port];transport={over}>'))
        path = _write_scenario(lab, scenario, *changes)
        super().__init__(lab, 'gateway', f'gateway-{port}', path,
                         ['-p', port, '-d', pause, '-rtcheck', 'loose', '-t', f'{over[0]}1', *options], family)
        self.proc.wait_socket(over, port)

    def stop(self):
        """End it and return the Result; calls still open do not count."""
        self.proc.signal(signal.SIGUSR1)   # no more calls
        try:
            self.proc.wait(2)
        except LabError:
            pass                           # some calls have not ended
        self.proc.stop()
        return Result(self.counters(), self.errors(), [])


def call(lab, scenario, **options):
    """Place calls, wait for their end, return the Result."""
    return Caller(lab, scenario, **options).wait()
