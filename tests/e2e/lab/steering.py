"""The thread that steers single packets and writes down all of them.

In the caller's and in the gateway's namespace the anycast address can be
routed into a TUN device.  What comes out of it is given to a policy, and the
packet, unchanged, goes into the TUN device of the chosen node, whose kernel
takes it as received from the network.  Answers of the nodes go directly over
the bridge; a packet socket on each side's interface sees those.

TCP is steered by connection: the policy is asked once, when it begins, and
all its packets go to that node (lab/streams.py).
"""
import errno
import os
import select
import socket
import threading
import time

from lab import netns
from lab.packets import Packet, Trace, is_fragment, parse_udp
from lab.proc import at_once
from lab.streams import Flows, Streams, packets_of, parse_tcp

ETH_P_ALL, ETH_HEADER = 3, 14
ETH_IP, ETH_IP6 = b'\x08\x00', b'\x86\xdd'
SOL_PACKET, PACKET_STATISTICS = 263, 6
BUFFER = 65536
BATCH = 64


class Side:
    """The caller or the gateway: its TUN device, its packet socket."""

    def __init__(self, name, namespace, mac):
        self.name, self.mac = name, mac
        self.tun = netns.open_tun(namespace, 'steer')
        self.socket = netns.inside(namespace, _open_packet_socket)
        self.policy = None
        self.flows, self.streams = Flows(name), Streams()

    def close(self):
        self.socket.close()
        os.close(self.tun)


def _open_packet_socket():
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK,
                         socket.htons(ETH_P_ALL))
    netns.make_room(sock, 32 << 20)
    sock.bind(('eth0', ETH_P_ALL))
    return sock


class Steering:
    """sides: {'caller': Side, ...}; tuns: {'a': fd, ...};
    macs: {bytes: 'a'}, to tell who sent a frame."""

    def __init__(self, sides, tuns, macs):
        self.trace = Trace()
        self.sides, self._tuns, self._macs = sides, tuns, macs
        self.unplugged = set()   # nodes whose cable is out
        self.steered = self.dropped = self.fragments = self.lost = 0
        self.cpu_seconds = 0.0
        self.error = None        # the first exception of a policy
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._wake, self._stop = os.pipe()
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK)
        self._asked = self._complete = 0    # calls of catch_up(); those of them that have been served
        self._served = threading.Condition()
        self._thread = threading.Thread(target=self._run, name='steering',
                                        daemon=True)

    def start(self):
        self._thread.start()

    def close(self):
        os.close(self._stop)     # the reading end becomes readable
        if self._thread.ident:
            self._thread.join()
        os.close(self._wake)
        os.close(self._nudge)
        for side in self.sides.values():
            side.close()
        for fd in self._tuns.values():
            os.close(fd)

    def catch_up(self):
        """Until the trace has all that was on the wire before: a process may have got a packet that this thread has not
        read yet."""
        if threading.current_thread() is self._thread or not self._thread.is_alive():
            return
        with self._served:
            self._asked += 1
            mine = self._asked
            os.eventfd_write(self._nudge, 1)
            self._served.wait_for(lambda: self._complete >= mine, 5)

    def stats(self):
        """What it did, what it cost, and whether anything was missed."""
        for side in self.sides.values():
            raw = side.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            self.lost += int.from_bytes(raw[4:8], 'little')
        return {'packets': len(self.trace.packets), 'steered': self.steered,
                'dropped': self.dropped, 'fragments': self.fragments,
                'lost by the trace': self.lost,
                'cpu seconds': round(self.cpu_seconds, 3)}

    def _run(self):
        at_once()
        poll = select.poll()
        for side in self.sides.values():
            poll.register(side.tun, select.POLLIN)
            poll.register(side.socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN | select.POLLHUP)
        poll.register(self._nudge, select.POLLIN)
        while True:
            ready = poll.poll()
            if any(fd == self._wake for fd, _ in ready):
                return
            if any(fd == self._nudge for fd, _ in ready):
                os.eventfd_read(self._nudge)
            asked, all_read = self._asked, True
            try:
                all_read = self._one_round()
            except Exception as error:  # shown by Lab.check(), see there
                self.error = self.error or error
            self.cpu_seconds = time.thread_time()
            if all_read and asked > self._complete:
                with self._served:
                    self._complete = asked
                    self._served.notify_all()

    def _one_round(self):
        """Read what is to be steered *before* what the packet sockets saw,
        but treat it after: so an answer never stands in the trace behind the
        packet that it caused.  Returns whether nothing is left to be read."""
        read = {side: self._read_tun(side.tun) for side in self.sides.values()}
        waiting = [(side, packet) for side, packets in read.items() for packet in packets]
        for side in self.sides.values():
            self._drain_socket(side)
        for side, packet in waiting:
            self._steer(side, packet)
        return all(len(packets) < BATCH for packets in read.values())

    def _read_tun(self, fd):
        packets = []
        try:
            while len(packets) < BATCH:
                packets.append(os.read(fd, BUFFER))
        except BlockingIOError:
            pass
        return packets

    def _drain_socket(self, side):
        try:
            while True:
                size, address = side.socket.recvfrom_into(self._buffer)
                self._record_frame(side, self._view[:size],
                                   address[2] == socket.PACKET_OUTGOING)
        except BlockingIOError:
            pass

    def _record_frame(self, side, frame, outgoing):
        mine = frame[6:12] if outgoing else frame[0:6]
        if mine != side.mac or frame[12:14] not in (ETH_IP, ETH_IP6):
            return               # flooded, or ARP
        other = bytes(frame[0:6] if outgoing else frame[6:12])
        self._record(side, frame[ETH_HEADER:], outgoing, self._macs.get(other))

    def _record(self, side, packet, outgoing, node):
        """The Packet, or None if this is not SIP over UDP."""
        parsed = parse_udp(packet)
        if parsed is None:
            self.fragments += is_fragment(packet)
            self._record_stream(side, parse_tcp(packet), outgoing, node)
            return None
        source, destination, payload = parsed
        if payload.find(b'SIP/2.0', 0, 4096) < 0:
            return None          # keep-alives and other noise
        seen = Packet(side.name, outgoing, node, source, destination, payload)
        self.trace.add(seen)
        return seen

    def _record_stream(self, side, tcp, outgoing, node):
        if tcp:
            for seen in packets_of(side.name, outgoing, node, tcp, side.streams.feed(tcp)):
                self.trace.add(seen)

    def _steer(self, side, packet):
        tcp = parse_tcp(packet)
        if tcp:
            flow = side.flows.of(tcp, lambda flow: self._choose(side, flow))
            if self._write(flow.node, packet):
                self._record_stream(side, tcp, True, flow.node)
            return
        seen = self._record(side, packet, True, None)
        if seen is None:
            return               # multicast, ICMP: nothing to steer
        node = self._choose(side, seen)
        if self._write(node, packet):
            seen.node = node

    def _write(self, node, packet):
        """Whether it went to that node."""
        if node is None or node in self.unplugged:
            self.dropped += 1
            return False
        try:
            os.write(self._tuns[node], packet)
            self.steered += 1
            return True
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EAGAIN):
                raise
            self.dropped += 1    # the device is down
            return False

    def _choose(self, side, seen):
        try:
            node = side.policy(seen) if side.policy else None
            if node is not None and node not in self._tuns:
                raise ValueError(f'policy chose {node!r}, which is no node')
            return node
        except Exception as error:
            self.error = self.error or error
            return None
