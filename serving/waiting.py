"""Requests that are answered once something has happened, or when their time is up.

With our gunicorn worker (`serving.parking`) they are parked: they take a connection, but no thread. With any
other server they wait in their thread, which is all the same to the view and to the client.

Settings: WAITING_READY is the dotted path of a function that takes keys and returns those of them that are ready. It is
called up to ten times a second with all keys that anybody waits for. WAITING_MAX_CLIENTS is the limit of one worker.
"""

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.module_loading import import_string
from prometheus_client import Gauge

from serving.parked import PARKED, PARKING, RESUMED, WAITED, Parked, Parking

WAITING = Gauge("http_waiting_clients", "Clients that wait for something to happen.", multiprocess_mode="livesum")

HEARTBEAT = b":\n\n"
"""A comment in an event stream: readers skip it, proxies see that somebody is there."""
HEARTBEAT_SECONDS = 15.0
_PAUSE = 0.1

type Ready = Callable[[Collection[Hashable]], Collection[Hashable]]


class Full(Exception):
    """As many clients wait already as this worker allows."""


def ready_function() -> Ready:
    """The setting WAITING_READY."""
    function: Ready = import_string(settings.WAITING_READY)
    return function


def came_back(request: HttpRequest) -> bool:
    """Whether the request has been parked and runs again: it has waited enough."""
    return RESUMED in request.META


def wait(request: HttpRequest, key: Hashable, *, seconds: float) -> HttpResponse | None:
    """Waits until the key is ready, `seconds` at most. Not for a request that `came_back`.

    Gives a response when the server takes over: the view returns it, nobody sees it, and the view is called again
    later. Gives None when the waiting is over, or the server is about to leave. Raises Full, and what WAITING_READY
    raises.
    """
    server: Parking | None = request.META.get(PARKING)
    if server is None:
        started = time.monotonic()
        with WAITING.track_inprogress():
            for _ in _until_ready(key, started + seconds):
                pass
        request.META[WAITED] = time.monotonic() - started
        return None
    if server.leaving:
        return None
    _park(request, server, Parked(key, time.monotonic() + seconds))
    return HttpResponse()


def stream(
    request: HttpRequest, key: Hashable, *, seconds: float, first: bytes, last: Callable[[], bytes]
) -> Iterable[bytes]:
    """The body of an event stream: `first` at once, what `last` gives when the key is ready or the time is up.

    Heartbeats come in between. When the server parks the request, the view is called again for the second part; the
    headers that it then sets are not sent, and a status other than that of the first part cuts the stream off. Raises
    Full.
    """
    if came_back(request):
        return [last()]
    server: Parking | None = request.META.get(PARKING)
    until = time.monotonic() + seconds
    if server is None:
        return _stream_here(key, until, first, last)
    if not server.leaving:
        _park(request, server, Parked(key, until, HEARTBEAT, HEARTBEAT_SECONDS))
    return [first]


def _park(request: HttpRequest, server: Parking, parked: Parked) -> None:
    # Several threads may see the last free place: a few too many are no harm.
    if server.parked >= settings.WAITING_MAX_CLIENTS:
        raise Full
    ready_function()  # what is wrong with it comes out here, where somebody is told
    request.META[PARKED] = parked


def _stream_here(key: Hashable, until: float, first: bytes, last: Callable[[], bytes]) -> Iterator[bytes]:
    with WAITING.track_inprogress():
        yield first
        silent_since = time.monotonic()
        for now in _until_ready(key, until):
            if now - silent_since >= HEARTBEAT_SECONDS:
                silent_since = now
                yield HEARTBEAT
        yield last()


def _until_ready(key: Hashable, until: float) -> Iterator[float]:
    """Yields the time, ten times a second, for as long as there is reason to wait."""
    ready = ready_function()
    while (now := time.monotonic()) < until:
        if key in ready((key,)):
            return
        yield now
        time.sleep(min(_PAUSE, max(0.0, until - now)))
