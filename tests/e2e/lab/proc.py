"""A program that the lab started: its log, its end."""
import os
import signal
import subprocess
import threading
import time

from lab import netns


class LabError(Exception):
    pass


def wait_until(condition, timeout, what, every=0.01):
    """Wait for condition() to be true and return its value.

    The lab never sleeps for a guessed time: it waits for something, and says
    what it was waiting for (a text, or what returns one) when that does not come.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f'waited {timeout} s in vain for: {what() if callable(what) else what}')
        time.sleep(every)


def each(things, right):
    """Whether right() holds for each of the things, of which one at least must be there: all() of none is true."""
    things = list(things)
    return bool(things) and all(right(thing) for thing in things)


def at_once():
    """The calling thread runs as soon as it has something to do, however busy the machine is: who plays the network or a phone
    must not take half a second for a packet, since whoever sent it would send it again. As root of a user namespace only it
    waits its turn."""
    try:
        os.sched_setscheduler(threading.get_native_id(), os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        pass


class Proc:
    """A process in a namespace, with a directory and a log of its own.

    It leads a process group, so that kill() ends its children too, as the
    failure of a whole Kamailio would.
    """

    def __init__(self, name, namespace, argv, directory, env=None):
        self.name, self.namespace = name, namespace
        self.directory, self.argv = directory, [str(a) for a in argv]
        os.makedirs(directory, exist_ok=True)
        self.log_path = os.path.join(directory, f'{name}.log')
        self._log = open(self.log_path, 'ab')
        self._popen = subprocess.Popen(
            ['ip', 'netns', 'exec', namespace, *self.argv],
            stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log,
            cwd=directory, env={**os.environ, **(env or {})},
            start_new_session=True)
        self.pid = self._popen.pid   # `ip netns exec` becomes the program

    @property
    def returncode(self):
        """None while it runs; -9 if signal 9 ended it."""
        if self._popen.returncode is not None:
            return self._popen.returncode
        # WNOWAIT: as long as it is not reaped its number, which is also that
        # of its group, is given to nobody else; so kill() cannot miss.
        ended = os.waitid(os.P_PID, self.pid,
                          os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return None
        exited = ended.si_code == os.CLD_EXITED
        return ended.si_status if exited else -ended.si_status

    @property
    def running(self):
        return self.returncode is None

    def log(self):
        with open(self.log_path, errors='replace') as file:
            return file.read()

    def tail(self, lines=30):
        last = '\n'.join(self.log().splitlines()[-lines:])
        return f'--- {self.name}: the end of {self.log_path}\n{last}'

    def signal(self, number):
        if self.running:
            os.kill(self.pid, number)

    def wait(self, timeout):
        """Wait for its end; returns the exit code."""
        try:
            wait_until(lambda: not self.running, timeout, f'{self.name} to end')
        except LabError as error:
            raise LabError(f'{error}\n{self.tail()}') from None
        return self.returncode

    def wait_ready(self, condition, timeout, what):
        """Wait for condition(), but not for a process that has died."""
        try:
            wait_until(lambda: condition() or not self.running, timeout,
                       f'{self.name}: {what}')
        except LabError as error:
            raise LabError(f'{error}\n{self.tail()}') from None
        if not self.running:
            raise LabError(f'{self.name} ended with code {self.returncode}\n'
                           + self.tail())

    def wait_udp(self, port, timeout=10):
        self.wait_socket('udp', port, timeout)

    def wait_socket(self, kind, port, timeout=10):
        self.wait_ready(lambda: netns.has_socket(self.namespace, kind, port), timeout, f'{kind} port {port} open')

    def stop(self, timeout=5):
        """Ask it to end, then end it; whatever it left behind goes too."""
        self.signal(signal.SIGTERM)
        try:
            self.wait(timeout)
        except LabError:
            pass
        self.kill()

    def kill(self):
        """SIGKILL to it and all its children: what a crash looks like."""
        if self._popen.returncode is not None:
            return
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        self._log.close()
