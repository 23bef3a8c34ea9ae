"""A way to the broker that can be cut."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Proxy:
    """Passes bytes between clients and a server, and hangs up on clients that have spoken `cut_after` times.

    It never waits for an answer before it passes on, so what a client sends in one go counts once.
    """

    def __init__(self, server: tuple[str, int], *, cut_after: int | None) -> None:
        self._server = server
        self.cut_after = cut_after
        """None: never."""
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(self._server)
            threading.Thread(target=self._from_client, args=(client, server), daemon=True).start()
            threading.Thread(target=self._from_server, args=(server, client), daemon=True).start()

    def _from_client(self, client: socket.socket, server: socket.socket) -> None:
        spoken = 0
        with client, server, suppress(OSError):
            while data := client.recv(65536):
                spoken += 1
                if self.cut_after is not None and spoken >= self.cut_after:
                    self.cuts += 1
                    break
                server.sendall(data)
            # Wakes the other direction, which would wait for ever.
            for end in (client, server):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def _from_server(self, server: socket.socket, client: socket.socket) -> None:
        with suppress(OSError):
            while data := server.recv(65536):
                client.sendall(data)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(host: str, port: int, *, cut_after: int | None) -> Iterator[Proxy]:
    one = Proxy((host, port), cut_after=cut_after)
    try:
        yield one
    finally:
        one.close()
