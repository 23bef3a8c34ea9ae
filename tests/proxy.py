"""A way to a server that can be cut, be made slow, or die silently."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Passes bytes between clients and a server, as its attributes say at the moment.

    It never waits for an answer before it passes on, so what a client sends in one go counts once.
    """

    def __init__(self, server: tuple[str, int], *, cut_after: int | None = None) -> None:
        self.server = server
        self.cut_after = cut_after
        """Hangs up on a client once it has sent this many times. None: never."""
        self.cuts = 0
        self.lose_every: int | None = None
        """Resets the connection in place of an answer each time this many have come, over all connections: what was
        asked has happened, and nobody was told. None: never."""
        self.answers = 0
        self.delay = 0.0
        """A slow link: seconds that each chunk of at most 64 KiB waits, one chunk after the other in each direction."""
        self.swallowing = False
        """Takes everything and passes on nothing, not even the end of a connection. What a connection loses in this way
        never comes back: it stays open and dead. New ones work again when this is over."""
        self.links: set[_Link] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_all(self) -> None:
        """Resets every connection, at both ends. New ones are welcome."""
        for link in list(self.links):
            link.reset()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut_all()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            _Link(self, client)


class _Link:
    """One client's connection, and our own to the server for it."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = socket.socket()
        self._is_dead = False
        self._is_reset = False
        self._spoken = 0
        proxy.links.add(self)
        threading.Thread(target=self._run, daemon=True).start()

    def reset(self) -> None:
        self._is_reset = True
        for end in (self._client, self._server):
            with suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                end.shutdown(socket.SHUT_RD)  # wakes the reading thread, which then closes

    def _run(self) -> None:
        if not self._swallows():
            try:
                self._server.connect(self._proxy.server)
            except OSError:
                self.reset()
        back = threading.Thread(target=self._pass_on, args=(self._server, self._client), daemon=True)
        back.start()
        self._pass_on(self._client, self._server)
        back.join()
        self._proxy.links.discard(self)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with source:
            with suppress(OSError):
                while data := source.recv(65536):
                    if self._swallows():
                        continue
                    if source is self._client and self._is_cut():
                        break
                    if source is self._server and self._is_lost():
                        self.reset()
                        break
                    time.sleep(self._proxy.delay)
                    target.sendall(data)
            if not self._swallows() and not self._is_reset:
                for end in (source, target):  # wakes the other direction, too
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def _swallows(self) -> bool:
        self._is_dead = self._is_dead or self._proxy.swallowing
        return self._is_dead

    def _is_cut(self) -> bool:
        self._spoken += 1
        cut = self._proxy.cut_after is not None and self._spoken >= self._proxy.cut_after
        self._proxy.cuts += cut
        return cut

    def _is_lost(self) -> bool:
        self._proxy.answers += 1
        return self._proxy.lose_every is not None and self._proxy.answers % self._proxy.lose_every == 0


@contextmanager
def proxy(host: str, port: int, *, cut_after: int | None = None) -> Iterator[Proxy]:
    one = Proxy((host, port), cut_after=cut_after)
    try:
        yield one
    finally:
        one.close()
