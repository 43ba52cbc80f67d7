"""Network namespaces, entered from Python without leaving one's own.

Python 3.11 has no os.setns(), so the C library's is called.  A namespace
belongs to a thread, therefore whatever must happen inside one is done in a
short-lived thread; sockets and TUN devices opened there stay in the
namespace and may be used from any thread afterwards.
"""
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading

NETNS_DIR = '/var/run/netns'
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SO_RCVBUFFORCE = 33

_libc = ctypes.CDLL(None, use_errno=True)


class NetnsError(Exception):
    pass


def ip(*commands, netns=None):
    """Run `ip` commands in one go; each is a string as one would type it."""
    where = ['-n', netns] if netns else []
    done = subprocess.run(['ip', *where, '-batch', '-'], text=True,
                          input='\n'.join(commands) + '\n',
                          capture_output=True)
    if done.returncode:
        raise NetnsError(f'ip in {netns}: {done.stderr.strip()}\n' +
                         '\n'.join(commands))
    return done.stdout


def make_room(sock, size=16 << 20):
    """So that a burst is not lost before it is read."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:      # root of a user namespace only
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def exists(netns):
    return os.path.exists(f'{NETNS_DIR}/{netns}')


def enter(netns):
    """Move the calling thread into a namespace, named or a path, for good."""
    fd = os.open(os.path.join(NETNS_DIR, netns), os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, CLONE_NEWNET):
            raise NetnsError(f'setns {netns}: {os.strerror(ctypes.get_errno())}')
    finally:
        os.close(fd)


def inside(netns, func, *args):
    """Call func(*args) inside a namespace and return what it returns."""
    outcome = {}

    def body():
        try:
            enter(netns)
            outcome['value'] = func(*args)
        except BaseException as error:  # handed to the caller's thread
            outcome['error'] = error

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if 'error' in outcome:
        raise outcome['error']
    return outcome['value']


def open_tun(netns, device):
    """Create a TUN device in a namespace; return its file descriptor.

    Each read is one IP packet the kernel sent into the device, each write
    one that the kernel takes as received from it.
    """
    def create():
        fd = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        request = struct.pack('16sH22x', device.encode(), IFF_TUN | IFF_NO_PI)
        fcntl.ioctl(fd, TUNSETIFF, request)
        return fd
    return inside(netns, create)


def set_sysctls(netns, settings):
    """settings: {'net/ipv4/conf/all/rp_filter': 0, ...}"""
    def write_all():
        for name, value in settings.items():
            with open(f'/proc/sys/{name}', 'w') as file:
                file.write(str(value))
    inside(netns, write_all)


def read_proc_net(netns, name):
    """The text of /proc/net/<name> as seen inside the namespace."""
    def read():
        with open(f'/proc/thread-self/net/{name}') as file:
            return file.read()
    return inside(netns, read)


def has_socket(netns, kind, port):
    """Is any 'udp' or 'tcp' socket, IPv4 or IPv6, bound to this port?"""
    wanted = f':{port:04X}'
    for table in (kind, f'{kind}6'):
        for line in read_proc_net(netns, table).splitlines()[1:]:
            if line.split()[1].endswith(wanted):
                return True
    return False
