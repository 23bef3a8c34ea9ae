"""gunicorn's threads, with connections that wait without one.

A view that wants to wait (`serving.waiting`) ends at once and without an answer. The worker keeps the
connection and gives the thread back. When what the view waits for has happened, its time is up or the worker leaves,
the request runs again from the beginning, and then has its answer. The main thread keeps what is parked; one more
thread, which runs only while somebody waits, asks the database about all of it together.

No import of Django at the top, nor of prometheus_client: gunicorn.conf.py imports this, before either is ready.
"""

import logging
import os
import random
import resource
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from itertools import count
from selectors import EVENT_READ
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from serving.parked import PARKED, PARKING, RESUMED, WAITED, Parked

logger = logging.getLogger(__name__)

PAUSE = 0.1
"""Seconds between two questions to the database."""
LONGEST_PAUSE = 0.5
LONGEST_BACKOFF = 5.0
IDLE = 60.0
"""Seconds without anybody waiting after which the connection to the database is given back."""
_REST = 5
"""The database has rest from us for this many times as long as the last question took."""
LINGER = 2.0
"""Seconds that a client has to close its side, after we have closed ours."""
_FILES = 256
"""How many files a worker opens at most, besides those of its connections."""


class _Leave(BaseException):
    """Ends a request without an answer. No Exception: gunicorn would answer 500."""

    def __init__(self, place: "_Place") -> None:
        super().__init__()
        self.place = place


class _Cut(BaseException):
    """Ends a stream that cannot go on as it has begun."""


@dataclass(slots=True, eq=False)
class _Place:
    """A parked request with what the server has to know of it."""

    parked: Parked
    since: float
    status: str
    chunked: bool
    request: Any = None
    watched: bool = True


class _Again:
    """Stands for a connection's parser until the parked request has been taken from it once more."""

    def __init__(self, connection: Any, request: Any) -> None:
        self._connection = connection
        self._parser = connection.parser
        self._request = request

    def __next__(self) -> Any:
        self._connection.parser = self._parser
        return self._request

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parser, name)


class ParkingWorker(ThreadWorker):
    """A gthread worker that offers its applications to park requests of HTTP/1. See `serving.parked`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # All of these belong to the main thread, except where another is named.
        self._places: dict[Any, _Place] = {}
        self._by_key: dict[Hashable, set[Any]] = {}  # the asker copies it
        self._times: list[tuple[float, int, Any, _Place]] = []  # of places that may be gone already
        self._numbers = count()
        self._woken: deque[tuple[Any, _Place]] = deque()
        self._in_hand: set[Any] = set()
        self._closing: dict[Any, float] = {}  # and until when; in this order
        self._back: dict[Any, _Place] = {}  # for the thread that gets it
        self._here = threading.local()  # each thread's own
        # The other threads are there for whoever comes: hundreds may be woken at one moment.
        self._hands = max(1, self.cfg.threads // 4)
        self._asker: _Asker | None = None
        self._gauge: Any = None

    # --- What views see

    @property
    def parked(self) -> int:
        return len(self._places)

    @property
    def leaving(self) -> bool:
        return not self.alive or self.ppid != os.getppid()

    # --- In gunicorn's place

    def init_process(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = self.worker_connections + _FILES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            # gthread dies of an accept() that finds no file left.
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self.application: Any = self.wsgi
        """As it was loaded, without our offer to park."""
        self.wsgi: Any = self._call

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answers the request, or gives a _Place when it is to be parked."""
        self._here.offer, self._here.back = not self.cfg.is_ssl, self._back.pop(conn, None)
        try:
            return super().handle_request(req, conn)
        except _Leave as leave:
            leave.place.request = req
            req._expected_100_continue = False  # it has been told to
            return leave.place
        except _Cut:
            return False
        finally:
            self._here.offer = False

    def _keepalive_after(self, conn: Any, keepalive: Any) -> Any:
        return keepalive if isinstance(keepalive, _Place) else super()._keepalive_after(conn, keepalive)

    def finish_request(self, conn: Any, fs: Any) -> None:
        result = None if fs.cancelled() or fs.exception() else fs.result()
        if isinstance(result, _Place):
            self._park(conn, result)
        elif result is False and not self.cfg.is_ssl:
            self._let_go(conn)
        else:
            super().finish_request(conn, fs)
        if conn in self._in_hand:
            self._in_hand.remove(conn)
            self._hand_back()

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        if self._times:
            timeout = min(timeout, max(0.0, self._times[0][0] - time.monotonic()))
        if self._closing:
            timeout = min(timeout, max(0.0, next(iter(self._closing.values())) - time.monotonic()))
        super().wait_for_and_dispatch_events(timeout)
        if self._times:
            self._look_at_the_time()
        while self._closing and next(iter(self._closing.values())) <= time.monotonic():
            self._close(next(iter(self._closing)))

    def came_back(self, conn: Any) -> bool:
        """Whether the request that the connection is handed over for has been parked."""
        return conn in self._in_hand

    # --- In the threads that answer

    def _call(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The application, with the offer to park."""
        if not getattr(self._here, "offer", False):
            plain: Iterable[bytes] = self.application(environ, start_response)
            return plain
        response = start_response.__self__
        back: _Place | None = self._here.back
        environ[PARKING] = self
        if back is not None:
            environ[RESUMED] = back.parked
            environ[WAITED] = time.monotonic() - back.since
            if back.parked.heartbeat:
                response.headers_sent = True
        answer: Iterable[bytes] = self.application(environ, start_response)
        parked: Parked | None = environ.get(PARKED)
        if parked is not None and back is None:
            place = _Place(parked, time.monotonic(), response.status, response.chunked)
            if parked.heartbeat and response.response_length is not None:
                return answer  # something else than the stream, and it is complete
            if parked.heartbeat:
                return _beginning(answer, place)
            _close(answer)
            raise _Leave(place)
        if back is not None and back.parked.heartbeat and response.status != back.status:
            _close(answer)
            raise _Cut
        return answer

    # --- In the main thread

    def _let_go(self, conn: Any) -> None:
        """Closes the connection when the client has done so, or has had its time to read the answer.

        If it were closed at once, with bytes of the client unread or on their way, the client might lose the answer.
        gunicorn waits for that too, but stands still meanwhile.
        """
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.nr_conns -= 1
            conn.close()
            return
        self._closing[conn] = time.monotonic() + LINGER
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_closing, conn))

    def _on_closing(self, conn: Any, client: socket.socket) -> None:
        try:
            if client.recv(65536):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(conn)

    def _close(self, conn: Any) -> None:
        del self._closing[conn]
        self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _park(self, conn: Any, place: _Place) -> None:
        conn.sock.setblocking(False)
        self._places[conn] = place
        self._by_key.setdefault(place.parked.key, set()).add(conn)
        self._set_alarm(conn, place)
        self.poller.register(conn.sock, EVENT_READ, partial(self._on_readable, conn))
        if self._asker is None:
            from serving.waiting import WAITING, ready_function

            self._gauge = WAITING
            self._asker = _Asker(
                ready=ready_function(),
                keys=lambda: tuple(self._by_key),  # one step of the interpreter: nothing comes between
                found=lambda keys: self.method_queue.defer(self._wake_all, keys),
            )
            self._asker.start()
        self._gauge.inc()
        self._asker.somebody_waits.set()

    def _take(self, conn: Any) -> _Place:
        place = self._places.pop(conn)
        key = place.parked.key
        self._by_key[key].remove(conn)
        if not self._by_key[key]:
            del self._by_key[key]
        if place.watched:
            self.poller.unregister(conn.sock)
        self._gauge.dec()
        return place

    def _set_alarm(self, conn: Any, place: _Place) -> None:
        when = place.parked.until
        if place.parked.heartbeat:
            when = min(when, time.monotonic() + place.parked.heartbeat_seconds)
        heappush(self._times, (when, next(self._numbers), conn, place))

    def _look_at_the_time(self) -> None:
        if self.leaving:
            for conn in tuple(self._places):
                self._wake(conn)
        now = time.monotonic()
        while self._times and self._times[0][0] <= now:
            _, _, conn, place = heappop(self._times)
            if self._places.get(conn) is not place:
                continue
            if place.parked.until <= now:
                self._wake(conn)
            elif self._beat(conn, place):
                self._set_alarm(conn, place)
            else:
                self._drop(conn)

    def _wake_all(self, keys: Collection[Hashable]) -> None:
        for key in keys:
            for conn in tuple(self._by_key.get(key, ())):
                self._wake(conn)

    def _wake(self, conn: Any) -> None:
        self._woken.append((conn, self._take(conn)))
        self._hand_back()

    def _hand_back(self) -> None:
        """Gives woken connections to the threads, only a few at a time."""
        while self._woken and (len(self._in_hand) < self._hands or self.leaving):
            conn, place = self._woken.popleft()
            conn.parser = _Again(conn, place.request)
            self._back[conn] = place
            self._in_hand.add(conn)
            self.enqueue_req(conn)

    def _on_readable(self, conn: Any, client: socket.socket) -> None:
        """The client has left, or has sent its next request already."""
        if conn not in self._places:
            return  # it was woken by another event of the same round
        try:
            gone = not client.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._drop(conn)
        else:
            # Requests go one after the other. From now on only an attempt to write shows whether the client is there.
            self.poller.unregister(client)
            self._places[conn].watched = False

    def _beat(self, conn: Any, place: _Place) -> bool:
        """Whether the heartbeat went out. A client that does not read what little we send counts as gone."""
        beat = place.parked.heartbeat
        if place.chunked:
            beat = b"%x\r\n%b\r\n" % (len(beat), beat)
        try:
            return bool(conn.sock.send(beat) == len(beat))
        except OSError:
            return False

    def _drop(self, conn: Any) -> None:
        place = self._take(conn)
        self.nr_conns -= 1
        conn.close()
        logger.info(
            "client left while it waited",
            extra={
                "correlation_id": place.parked.correlation_id,
                "waited_ms": round((time.monotonic() - place.since) * 1000, 2),
            },
        )


class _Asker(threading.Thread):
    """Asks, for as long as anybody waits, which keys are ready. Never ends by itself, nor keeps the process alive."""

    def __init__(
        self,
        *,
        ready: Callable[[Collection[Hashable]], Collection[Hashable]],
        keys: Callable[[], Collection[Hashable]],
        found: Callable[[Collection[Hashable]], None],
    ) -> None:
        super().__init__(name="waiting", daemon=True)
        self.somebody_waits = threading.Event()
        self._ready = ready
        self._keys = keys
        self._found = found
        self._failures = 0

    def run(self) -> None:
        from django.db import connections

        while True:
            if not self.somebody_waits.wait(IDLE):
                connections.close_all()
                self.somebody_waits.wait()
            self.somebody_waits.clear()
            while keys := self._keys():
                started = time.monotonic()
                try:
                    found = self._ready(keys)
                except Exception as error:
                    connections.close_all()
                    self._failed(error)
                    continue
                self._failures = 0
                if found:
                    self._found(found)
                time.sleep(min(max(PAUSE, _REST * (time.monotonic() - started)), LONGEST_PAUSE))

    def _failed(self, error: Exception) -> None:
        """Rests, longer each time. Those who wait do not notice: they are answered when their time is up."""
        if not self._failures:
            logger.warning("cannot ask who may stop waiting", extra={"error": type(error).__name__})
        self._failures += 1
        time.sleep(min(PAUSE * 2 ** min(self._failures, 10), LONGEST_BACKOFF) * random.uniform(0.5, 1.0))


def _beginning(answer: Iterable[bytes], place: _Place) -> Iterator[bytes]:
    try:
        yield from answer
    finally:
        _close(answer)
    raise _Leave(place)


def _close(answer: Iterable[bytes]) -> None:
    if hasattr(answer, "close"):
        answer.close()
