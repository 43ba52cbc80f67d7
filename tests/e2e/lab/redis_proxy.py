"""A TCP proxy in front of Redis that misbehaves on command.

    proxy = Proxy(bind, to)      # bind() returns a listening socket, to() one that is connected to Redis
    proxy.cut_after(3000)        # resets each connection that has carried so many bytes to Redis
    proxy.stalled = True         # reads no more: like a network that loses everything and closes nothing
    proxy.bytes_per_s = 20000    # to Redis, over all connections
    proxy.ok()                   # from now on it only passes on
"""
import select
import socket
import struct
import threading
import time

CHUNK = 16384


class Proxy(threading.Thread):
    def __init__(self, bind, to):
        super().__init__(name='redis-proxy', daemon=True)
        self._listener, self._to = bind(), to
        self._peer, self._is_client, self._carried = {}, {}, {}
        self.running, self.resets = True, 0
        self.ok()
        self.start()

    def ok(self):
        self.limit, self.stalled, self.bytes_per_s = None, False, None

    def cut_after(self, count):
        self.limit = count

    def stop(self):
        self.running = False
        self.join(5)
        for sock in [self._listener, *self._peer]:
            sock.close()

    def run(self):
        while self.running:
            watched = [] if self.stalled else [self._listener, *self._peer]
            if not watched:
                time.sleep(0.01)
                continue
            for sock in select.select(watched, [], [], 0.02)[0]:
                if sock is self._listener:
                    self._accept()
                elif sock in self._peer:
                    self._carry(sock)

    def _accept(self):
        client = self._listener.accept()[0]
        try:
            server = self._to()
        except OSError:
            self._reset(client)
            return
        for one, other, is_client in ((client, server, True), (server, client, False)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peer[one], self._is_client[one], self._carried[one] = other, is_client, 0

    def _carry(self, sock):
        limit = self.limit if self._is_client[sock] else None
        room = CHUNK if limit is None else max(0, min(CHUNK, limit - self._carried[sock]))
        try:
            data = sock.recv(room) if room else b''
            self._peer[sock].sendall(data)
        except OSError:
            data = b''
        if not data:
            self.resets += limit is not None and not room
            self._end(sock)
            return
        self._carried[sock] += len(data)
        if self.bytes_per_s and self._is_client[sock]:
            time.sleep(len(data) / self.bytes_per_s)   # the pace of a slow Redis

    def _end(self, sock):
        for end in (sock, self._peer[sock]):
            del self._peer[end], self._is_client[end], self._carried[end]
            self._reset(end)

    @staticmethod
    def _reset(sock):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()
