"""What both services tell gunicorn."""

import select
import socket
import struct
import sys
from threading import BoundedSemaphore
from typing import Any

from gunicorn.glogging import Logger as GunicornLogger  # type: ignore[import-untyped]
from gunicorn.workers.gthread import _DEFER  # type: ignore[import-untyped]

from serving.garbage import spare_what_is_loaded
from serving.parking import ParkingWorker
from serving.plain_http import PlainHTTP

PATIENCE = 30.0
"""Seconds that a client may be silent in the middle of a request, or take nothing of its answer, until it is let go."""
_STAY = 1000  # milliseconds


class Logger(GunicornLogger):
    """For gunicorn's `logger_class`, without an access log: `observability.middleware` has a line for every request.

    Given a `logconfig_dict`, gunicorn builds access lines whatever else is set.
    """

    @property
    def access_log_enabled(self) -> bool:
        return False

    def exception(self, msg: str, *args: Any, **kwargs: Any) -> None:
        # What gunicorn takes for an error of the socket is our patience at its end.
        if isinstance(sys.exception(), BlockingIOError):
            self.info("client let go: it was silent for %g s in the middle of a request", PATIENCE)
        else:
            super().exception(msg, *args, **kwargs)


class Worker(ParkingWorker):
    """gunicorn's threads, half of which stay with their connection and wait there for its next request.

    Handing a connection back to the main thread and out again takes as long as reading a request and answering it:
    a third of gunicorn's CPU time, and half of it where one client sends one request after the other.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # The other threads are there for whoever comes.
        self._free = BoundedSemaphore(max(1, self.cfg.threads // 2))
        self._plain: PlainHTTP | None = None

    def load_wsgi(self) -> None:
        super().load_wsgi()
        hooks = (self.cfg.settings[name] for name in ("pre_request", "post_request"))
        if (
            hasattr(self.application, "answer")
            and not self.cfg.is_ssl
            and all(hook.get() is hook.default for hook in hooks)
        ):
            self._plain = PlainHTTP(self, self.application)

    def set_accept_enabled(self, enabled: bool) -> None:
        """Lets nobody in once the worker leaves, and closes its listeners: whoever comes then is refused at once.

        gunicorn leaves them open until all clients have been answered. Whoever came meanwhile would send a request that
        nobody reads, and be cut off when the last worker has gone, not knowing what has become of it. So would those
        who wait to be accepted already: they are let in first.
        """
        super().set_accept_enabled(enabled)
        if enabled or not self.leaving:
            return
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns < self.worker_connections:
                before = self.nr_conns
                self.accept(listener)
            listener.close()
        self.sockets: list[Any] = []

    def _cap_keepalive(self, deadline: float) -> None:
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:  # these have not even begun
            conn.timeout = min(conn.timeout, deadline)

    def handle(self, conn: Any) -> Any:
        """Answers requests of the connection; True when it is to be kept for more of them."""
        if not conn.initialized:
            # gunicorn's threads wait five seconds for each new client: a hundred silent ones would hold up everybody.
            if self.alive and not conn.wait_for_data(0):
                return _DEFER
            _limit_patience(conn.sock)
        if self.came_back(conn):
            return super().handle(conn)  # those who wait behind it are let in one by one
        keep = self._handle(conn)
        if self.cfg.threads > 1 and self._free.acquire(blocking=False):
            try:
                while keep is True and self.alive and self._has_next_request(conn):
                    keep = self._handle(conn)
            finally:
                self._free.release()
        return keep

    def _handle(self, conn: Any) -> Any:
        keep = self._plain.handle(conn) if self._plain is not None else None
        return super().handle(conn) if keep is None else keep

    def _has_next_request(self, conn: Any) -> bool:
        """Waits a while for the next request, unless other connections wait for a thread."""
        if conn.parser.unreader.buf.getvalue():
            return True  # it has been read together with the one before
        if self.tpool._work_queue.qsize():
            return False
        poll = select.poll()
        poll.register(conn.sock, select.POLLIN)
        return bool(poll.poll(_STAY))


def _limit_patience(client: socket.socket) -> None:
    """Keeps silent clients from holding a thread for ever; not over TLS, whose reads are Python's own and go on.

    The kernel does it: with a timeout of Python's own each read would ask first whether there is anything. Set up no
    `sendfile` beside this: it waits in Python for a client that takes nothing.
    """
    limit = struct.pack("ll", int(PATIENCE), int(PATIENCE % 1 * 1_000_000))
    for way in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        client.setsockopt(socket.SOL_SOCKET, way, limit)


def load_all(worker: Any = None) -> None:
    """gunicorn's `post_worker_init`: loads now what the first request would load."""
    from django.urls import get_resolver

    get_resolver().url_patterns  # noqa: B018 - imports all views
    spare_what_is_loaded()
