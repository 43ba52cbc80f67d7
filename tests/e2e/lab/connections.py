"""Phones over TCP, TLS, WS and WSS: the callers and callees of lab/phone.py with connections in place of datagrams.

    caller = ConnectedCaller(lab, 'TLS')           # its first message opens a connection, and so do
    connection = caller.connect()                  # this, and any message after the last one was closed
    call = caller.call('x-1@lab', 'one')           # over its latest open connection
    call.over = connection                         # or over this one
    connection.close()                             # or reset(); connection.open tells whether the other end has closed it
    callees = ConnectedCallees(lab, 'TCP')         # listens at its ports; callees.connections: all that there were
    callees.reuse = False                          # replies go over a new connection
    leg.to = callees.connect(5060)                 # this leg's replies go there; leg.over: its own requests

    cluster = connected_cluster(lab, 'TCP')        # nodes with kamailio-cfg/cookbook/connections.cfg and a gateway over TCP
    take_over(lab, 'a', by='b')                    # the address that a connects from is now b's

lab.steer() asks its policy once for each connection, with kind 'SYN' (lab/streams.py); lab.flap() moves living ones.
connection.messages: what came over it, since the trace cannot look into TLS.
"""
import contextlib
import os
import socket
import ssl
import struct
import subprocess
import time

import websocket

from lab import netns
from lab.cluster import COOKBOOK, Cluster, Node
from lab.lab import ANYCAST, HOSTS, SIP_PORT, Lab
from lab.phone import BATCH, PORTS, Callees, Caller, Endpoint, Message, new_branch
from lab.proc import wait_until
from lab.streams import Stream

TRANSPORTS = ('TCP', 'TLS', 'WS', 'WSS')
SERVER_PORT = {'TCP': SIP_PORT, 'WS': SIP_PORT, 'TLS': SIP_PORT + 1, 'WSS': SIP_PORT + 1}
TIMEOUT = 5
RECIPE = os.path.join(COOKBOOK, 'connections.cfg')


def certificate(lab):
    """(certificate, key) that all of the lab's nodes and phones have."""
    paths = [os.path.join(lab.directory, name) for name in ('certificate.pem', 'key.pem')]
    if not os.path.exists(paths[0]):
        subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes',
                        '-days', '2', '-subj', '/CN=lab', '-out', paths[0], '-keyout', paths[1]],
                       check=True, capture_output=True)
    return paths


def connect_address(node):
    """Where it connects from: an address that all nodes have."""
    return f'192.0.2.{100 + HOSTS[node]}'


def take_over(lab, node, by):
    """The gateway's route to the address that a node connects from."""
    lab.run('gateway', ['ip', 'route', 'replace', f'{connect_address(node)}/32', 'via', lab.address(by)])


def redirect_ports(lab, node, by):
    """What comes to any port of that address goes to where Kamailio listens."""
    to = connect_address(node)
    lab.run(by, ['nft', 'table ip kamsync { chain moved { type nat hook prerouting priority dstnat; '
                        f'ip daddr {to} tcp dport != {{ 5060, 5061 }} dnat to {to}:5060; }}; }}'])


class ConnectingNode(Node):
    def __init__(self, *args):
        super().__init__(*args)
        for node in self.cluster.nodes:
            self.lab.run(self.name, ['ip', 'addr', 'add', f'{connect_address(node)}/32', 'dev', 'lo'])
        take_over(self.lab, self.name, by=self.name)

    def _args(self):
        others = [f'{kind}:{connect_address(node)}:{port}' for node in self.cluster.nodes if node != self.name
                  for kind, port in (('tcp', SIP_PORT), ('tls', SIP_PORT + 1))]
        defines = [f'CONNECT_IP="{connect_address(self.name)}"'] + ([f'CONNECT_OTHERS={" ".join(others)}'] if others else [])
        return [*super()._args(), *(word for define in defines for word in ('-A', define))]


def connected_cluster(lab, gateway='UDP', **options):
    """gateway: the transport to the gateway. options: as of Cluster."""
    cert, key = certificate(lab)
    address = f'{lab.address("gateway")}:{SIP_PORT};transport={gateway.lower()}'
    defines = {'GATEWAY': f'"{address}"', 'TLS_CERTIFICATE': f'"{cert}"', 'TLS_KEY': f'"{key}"', **options.pop('defines', {})}
    return Cluster(lab, **{'routing': RECIPE, 'modules': RECIPE, 'defines': defines, 'node_class': ConnectingNode, **options})


@contextlib.contextmanager
def gateway_over(kind):
    """(kind, lab, callees, cluster): two nodes with that recipe, and phones behind a gateway over that transport."""
    with Lab(nodes='ab') as lab:
        with Callees(lab) if kind == 'UDP' else ConnectedCallees(lab, kind) as callees:
            cluster = connected_cluster(lab, kind)
            yield kind, lab, callees, cluster
            callees.check()
            cluster.stop()
        lab.check()


class Connection:
    """One of a phone. port: the phone's, accepted: whether the other end opened it."""

    def __init__(self, sock, port, web=False, accepted=False):
        self.port, self.accepted, self.open, self.messages = port, accepted, True, []
        self.local, self.peer = sock.getsockname(), sock.getpeername()
        self._sock, self._stream = sock, Stream()
        self._web = websocket.create_connection(f'ws://{ANYCAST}/', socket=sock, subprotocols=['sip'],
                                                timeout=TIMEOUT) if web else None
        self.opened, self.closed = time.monotonic(), None

    def fileno(self):
        return self._sock.fileno()

    def send(self, text):
        try:
            self._sock.settimeout(TIMEOUT)
            if self._web:
                self._web.send(text)
            else:
                self._sock.sendall(text.encode())
        except OSError:          # the other end has reset it
            self._ended()

    def read(self):
        """The texts that have come."""
        try:
            return self._read_web() if self._web else self._read_stream()
        except (OSError, websocket.WebSocketConnectionClosedException):
            self._ended()
            return []

    def _read_stream(self):
        self._sock.settimeout(0)
        texts = []
        try:
            while data := self._sock.recv(65536):
                texts += self._stream.put(data)
            self._ended()
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        return [text.decode(errors='replace') for text in texts]

    def _read_web(self):
        """One frame, which Kamailio sends in one piece: a message, or a keep-alive."""
        opcode, frame = self._web.recv_data_frame(control_frame=True)
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            self._ended()
        return [frame.data.decode(errors='replace')] if b'SIP/2.0' in frame.data else []

    def _ended(self):
        if self.open:
            self.open, self.closed = False, time.monotonic()

    def close(self):
        self._ended()
        self._sock.close()

    def reset(self):
        """The other end's next packet gets a RST, and it gets one now."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        self.close()


class Connected(Endpoint):
    """What lab/phone.py leaves to the transport."""
    sends_again = False
    reuse = True             # replies go over the connection of their request while it is open

    def __init__(self, lab, transport, *args, **options):
        self.lab, self.transport, self.connections, self.refused = lab, transport, [], []
        self._tls = transport in ('TLS', 'WSS')
        self._certificate = certificate(lab) if self._tls else None
        super().__init__(lab, *args, **options)

    # --- connections

    def connect(self, port=None, to=None):
        """Opens one; it is from now on the one that messages of this port go over."""
        to = to or (ANYCAST, SERVER_PORT[self.transport])
        sock = netns.inside(self.lab.namespace(self.side), socket.create_connection, to, TIMEOUT)
        if self._tls:
            sock = self._context(ssl.PROTOCOL_TLS_CLIENT).wrap_socket(sock)
        return self._add(Connection(sock, port or self.port, self.transport in ('WS', 'WSS')))

    def _context(self, protocol):
        context = ssl.SSLContext(protocol)
        if protocol == ssl.PROTOCOL_TLS_CLIENT:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        else:
            context.load_cert_chain(*self._certificate)
        return context

    def _add(self, connection):
        with self.lock:
            self.connections.append(connection)
            self._by_fd[connection.fileno()] = connection.port, connection
            self._poll.register(connection.fileno(), 1)
        return connection

    def latest(self, port=None):
        """The latest open connection (of one port); None if there is none."""
        return next((c for c in reversed(self.connections) if c.open and port in (None, c.port)), None)

    def _bind(self, port):
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((self.ip, port))
        sock.listen(BATCH)
        return sock

    def _accept(self, port, sock):
        accepted, _ = sock.accept()
        accepted.settimeout(TIMEOUT)
        try:
            if self._tls:
                accepted = self._context(ssl.PROTOCOL_TLS_SERVER).wrap_socket(accepted, server_side=True)
            self._add(Connection(accepted, port, accepted=True))
        except OSError as error:
            self.refused.append(error)

    # --- in place of Endpoint's

    def _read(self, port, sock):
        if not isinstance(sock, Connection):
            self._accept(port, sock)
            return
        for text in sock.read() if sock.open else ():
            msg = Message(text, sock.peer)
            msg.connection = sock
            sock.messages.append(msg)
            self._got(port, msg)
        if not sock.open:
            self._forget(sock)

    def _forget(self, connection):
        for fd in [fd for fd, (_, sock) in self._by_fd.items() if sock is connection]:
            self._poll.unregister(fd)
            del self._by_fd[fd]
        connection.close()

    def close(self):
        super().close()
        for connection in self.connections:
            connection.close()

    def send(self, port, text, to=None):
        connection, address = to if isinstance(to, tuple) else (to, None)
        try:
            if to is None:
                connection = self.latest(port)
            if not connection or not connection.open:
                connection = self.connect(port, address)
        except OSError as error:
            self.refused.append(error)
            return
        connection.send(text)

    def answer_to(self, msg):
        """Over that connection, or else over a new one to where it came from (RFC 3261, 18.2.2)."""
        return msg.connection if self.reuse else None, (msg.source[0], msg.sent_by[1])

    def _is_web(self):
        return self.transport in ('WS', 'WSS')

    def via(self, port, branch=None):
        host = f'{self.name}.invalid' if self._is_web() else f'{self.ip}:{port}'
        return ('Via', f'SIP/2.0/{self.transport} {host};branch={branch or new_branch()};rport')

    def contact(self, user, port):
        host = f'{self.name}.invalid' if self._is_web() else f'{self.ip}:{port}'
        return f'sip:{user}@{host};transport={"ws" if self._is_web() else self.transport.lower()}'


def connect_soon(phone):
    """A node that starts listens at TCP a moment after UDP."""
    def connects():
        try:
            return phone.connect()
        except OSError:
            return None
    return wait_until(connects, 5, 'the node to listen at TCP')


class ConnectedCaller(Connected, Caller):
    """listens: whether others may connect to its port."""

    def __init__(self, lab, transport, port=17060, listens=False):
        super().__init__(lab, transport, port, listens)


class ConnectedCallees(Connected, Callees):
    def __init__(self, lab, transport, ports=PORTS, **options):
        self.port = ports[0]
        super().__init__(lab, transport, ports, **options)
