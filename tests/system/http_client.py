"""A client of kamsyncd's HTTP, and one that speaks bytes."""
import http.client
import json
import socket

from harness import SLOWER, free_port


class Answer:
    def __init__(self, code, headers, body):
        self.code, self.headers, self.body = code, headers, body

    def json(self):
        return json.loads(self.body)


def get(port, path, method='GET', host='127.0.0.1', **headers):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=10 * SLOWER)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def dial(port, window=None):
    """A connection; with a window, it takes only about so many bytes that nobody reads."""
    s = socket.socket()
    s.settimeout(20 * SLOWER)
    if window:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    s.connect(('127.0.0.1', port))
    return s


def read_all(s):
    """Until it is closed, in whatever way."""
    data = b''
    try:
        while part := s.recv(65536):
            data += part
    except ConnectionResetError:
        pass
    return data


def talk(port, data, last=False):
    """Sends these bytes, and returns all that comes until the connection is closed. last: and says that no more come."""
    with dial(port) as s:
        try:
            s.sendall(data)
            if last:
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return read_all(s)


def with_http(make_daemon, kamailio, **options):
    """A kamsyncd that serves HTTP at its `port`, and kamsyncctl."""
    port = free_port()
    daemon = make_daemon(kamailio, http_listen=port, **options)
    daemon.options['control'], daemon.port = daemon.control, port
    daemon.start()
    kamailio.wait_hello()
    daemon.wait_report(kamailio='up', store='up')
    return daemon
