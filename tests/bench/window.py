#!/usr/bin/env python3
"""How long a CANCEL would find no record: from the INVITE's departure to the gateway until its record stands in Redis.

    window.py [--quick | --full]

The kernel's time of each packet, against the time that Redis says for each command (MONITOR, which costs it something).
"""
import contextlib
import re
import socket
import struct
import subprocess

import measure
from lab import netns
from lab.lab import REDIS_PORT
from lab.packets import Packet, parse_udp
from lab.redis_tools import redis_tool
from lab.steering import ETH_P_ALL
from measure import Report
from sites import Site, result

OUTGOING, SO_TIMESTAMPNS = 4, 35
LIMIT_MS = 20
RATES = (20, 100, 400)


def listen():
    """Hears all packets of its namespace, and has room for them until they are read."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.htons(ETH_P_ALL))
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    netns.make_room(sock, 128 << 20)
    return sock


def departures(sock):
    """{Call-ID: ms since 1970} of the first INVITE of each call that left."""
    found = {}
    with contextlib.suppress(BlockingIOError):
        while True:
            raw, extra, _, address = sock.recvmsg(4096, 100)
            udp = parse_udp(raw) if address[2] == OUTGOING else None
            packet = udp and Packet('gateway', False, 'a', *udp)
            if packet and packet.kind == 'INVITE':
                seconds, nanoseconds = struct.unpack('qq', extra[0][2])
                found.setdefault(packet.call_id, 1000 * seconds + nanoseconds / 1e6)
    return found


def writes(monitor):
    """{Call-ID: ms since 1970} of the first record of each transaction."""
    found = {}
    for moment, call_id in re.findall(r'^([\d.]+) .*"SET" "kamsync:tx:\{([^}]*)\}', monitor, re.M):
        found.setdefault(call_id, 1000 * float(moment))
    return found


def windows(site, calls, rate):
    """Sorted, in ms."""
    lab = site.lab
    command = ['ip', 'netns', 'exec', lab.namespace('store'), redis_tool('cli'), '-h', lab.address('store'), '-p', str(REDIS_PORT)]
    with netns.inside(lab.namespace('a'), listen) as sock, \
            subprocess.Popen([*command, 'monitor'], stdout=subprocess.PIPE, text=True) as monitor:
        monitor.stdout.readline()  # OK: it listens
        result(site.phones('call', calls, rate))
        subprocess.run([*command, 'echo', 'the end of the window'], check=True, stdout=subprocess.DEVNULL)
        seen = []
        for line in monitor.stdout:
            seen.append(line)
            if 'the end of the window' in line:
                break
        monitor.terminate()
        sent, written = departures(sock), writes(''.join(seen))
    if set(sent) != set(written):
        raise RuntimeError(f'{len(sent)} calls, {len(written)} of them with a record')
    return sorted(written[call_id] - sent[call_id] for call_id in sent)


def main():
    options = measure.options(__doc__)
    seconds = 5 if options.quick else 60 if options.full else 20
    report = Report('Until a record stands')
    report.text(f'From the departure of an INVITE to the gateway until Redis has its record; at most {LIMIT_MS} ms are allowed.')
    rows = []
    with contextlib.closing(Site('kamsync')) as site:
        for rate in RATES:
            found = windows(site, rate * seconds, rate)
            shares = (f'{found[int(len(found) * share)]:.1f}' for share in (0.5, 0.99, 0.999))
            rows.append([rate, len(found), *shares, f'{found[-1]:.1f}', sum(ms > LIMIT_MS for ms in found)])
    report.table(['calls per second', 'calls', 'p50, ms', 'p99', 'p99.9', 'longest', f'over {LIMIT_MS} ms'], rows)
    report.show()


if __name__ == '__main__':
    main()
