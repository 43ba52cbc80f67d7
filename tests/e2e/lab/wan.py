"""A long way between some hosts of the lab and the others: what passes it takes its time, or is lost.

    wan = Wan(lab, ('c', 'd'), 20)   # so many ms, one way: from and to all other nodes and the store
    wan.cut()
    wan.heal()
    wan.close()

Routes lead into a TUN device on each host, and this thread carries the packets from one to the other: so no kernel needs
netem, and it is the same for SIP between nodes and for what they say to the store. IPv4 only; phones are near to all.
"""
import collections
import math
import os
import select
import socket
import threading
import time

from lab import netns
from lab.lab import TUN_MTU
from lab.netns import ip
from lab.proc import at_once

BUFFER = 65536
DESTINATION = slice(16, 20)  # in an IPv4 header


class Wan:
    def __init__(self, lab, far, ms):
        near = [host for host in (*lab.nodes, 'store') if host not in far]
        self.seconds, self.is_cut, self.carried = ms / 1000, False, 0
        self._tuns, self._to = {}, {}
        for host, others in ((host, others) for some, others in ((near, far), (far, near)) for host in some):
            self._open(lab, host, others)
        self._waiting = collections.deque()  # (when it arrives, packet), in this order since each takes as long
        self._wake, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name='wan', daemon=True)
        self._thread.start()

    def _open(self, lab, host, others):
        tun = netns.open_tun(lab.namespace(host), 'wan')
        ip(f'link set wan mtu {TUN_MTU} txqueuelen 10000 up',
           *(f'route add {lab.address(other)}/32 dev wan src {lab.address(host)}' for other in others),
           netns=lab.namespace(host))
        self._tuns[host] = tun
        self._to[socket.inet_aton(lab.address(host))] = tun

    def close(self):
        os.close(self._stop)
        self._thread.join()
        for fd in (self._wake, *self._tuns.values()):
            os.close(fd)

    def cut(self):
        self.is_cut = True

    def heal(self):
        self.is_cut = False

    def _run(self):
        at_once()
        poll = select.poll()
        for fd in (self._wake, *self._tuns.values()):
            poll.register(fd, select.POLLIN | select.POLLHUP)
        while True:
            wait = 1000 * (self._waiting[0][0] - time.monotonic()) if self._waiting else None
            ready = [fd for fd, _ in poll.poll(wait if wait is None else max(0, math.ceil(wait)))]
            if self._wake in ready:
                return
            for fd in ready:
                self._read(fd)
            self._deliver(time.monotonic())

    def _read(self, tun):
        try:
            while True:
                packet = os.read(tun, BUFFER)
                if not self.is_cut:
                    self._waiting.append((time.monotonic() + self.seconds, packet))
        except BlockingIOError:
            pass

    def _deliver(self, now):
        while self._waiting and self._waiting[0][0] <= now:
            packet = self._waiting.popleft()[1]
            tun = self._to.get(packet[DESTINATION])
            if tun is not None and not self.is_cut:
                os.write(tun, packet)
                self.carried += 1
