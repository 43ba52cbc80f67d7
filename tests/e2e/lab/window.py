"""A port outside the lab that leads to one on the loopback of a host inside it, for a browser.

    with Window(lab, 'a', 9190) as window:
        browser.open(window.url)
"""
import contextlib
import socket
import threading

from lab.netns import inside


def _pump(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Window:
    def __init__(self, lab, host, port):
        self.lab, self.host, self.port = lab, host, port
        self.listener = socket.create_server(('127.0.0.1', 0))
        self.url = f'http://127.0.0.1:{self.listener.getsockname()[1]}/'
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        while True:
            try:
                outer = self.listener.accept()[0]
            except OSError:
                return  # closed
            with contextlib.suppress(OSError):
                inner = inside(self.lab.namespace(self.host), socket.create_connection, ('127.0.0.1', self.port))
                for pair in ((outer, inner), (inner, outer)):
                    threading.Thread(target=_pump, args=pair, daemon=True).start()
