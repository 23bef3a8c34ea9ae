"""Two halves are put together, whatever happens to the other one."""

import socket
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_django.fixtures import Settings

from timeline import assembly, peer
from timeline.assembly import as_json, timeline_of
from timeline.event import Event, Waiting
from timeline.peer import Half, PeerAway
from timeline.tests.stories import KNOWN, NOON

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def order_service(settings: Settings) -> None:
    settings.MESSAGING = settings.MESSAGING | {"SERVICE": "orders"}
    settings.TIMELINE = settings.TIMELINE | {"PEER": "processor", "PEER_PATH": "/records/{order_id}/timeline"}


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> Half:
    """What the other service tells."""
    half = Half(events=[], waits_for=None, notes=[])
    monkeypatch.setattr(peer, "fetch", lambda order_id, **more: half)
    return half


def event(kind: str, seconds: float, *, service: str = "processor", title: str = "") -> Event:
    return Event(at=NOON + timedelta(seconds=seconds), service=service, kind=kind, title=title or kind)


def test_an_order_that_nobody_knows_has_no_timeline_and_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "fetch", lambda *args, **more: pytest.fail("asked"))

    assert timeline_of(uuid4()) is None


def test_events_of_the_same_moment_come_as_they_follow_from_each_other(other: Half) -> None:
    other.events = [event(kind, 0) for kind in ("decided", "received", "published", "dead_letter", "tried")]

    timeline = timeline_of(KNOWN)

    assert timeline is not None
    assert [step.event.kind for step in timeline.steps] == [
        "accepted", "published", "received", "tried", "dead_letter", "decided",
    ]  # fmt: skip
    assert [step.seconds for step in timeline.steps] == [None, 0, 0, 0, 0, 0]


def test_what_the_other_service_waits_for_is_the_summary(other: Half) -> None:
    other.waits_for = Waiting(service="processor", text="It waits.")

    timeline = timeline_of(KNOWN)

    assert timeline is not None
    assert (timeline.summary, timeline.waits_for) == ("It waits.", other.waits_for)
    assert timeline.is_whole


def test_a_service_without_a_peer_asks_nobody(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.MESSAGING = settings.MESSAGING | {"SERVICE": "processor"}
    settings.TIMELINE = {"STORY": settings.TIMELINE["STORY"]}
    monkeypatch.setattr(peer, "fetch", lambda *args, **more: pytest.fail("asked"))

    timeline = timeline_of(KNOWN, correlation_id="request-1")

    assert timeline is not None
    assert (timeline.correlation_id, timeline.is_whole, timeline.notes) == ("request-1", False, [])


def test_too_many_events_lose_those_in_the_middle(other: Half, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "MAX_EVENTS", 60)
    other.events = [event("tried", number + 1, title=str(number)) for number in range(100)]

    timeline = timeline_of(KNOWN)

    assert timeline is not None
    titles = [step.event.title for step in timeline.steps]
    assert (len(titles), titles[0], titles[49], titles[50], titles[-1]) == (60, "Accepted", "48", "90", "99")
    assert timeline.notes == ["It has more than 60 events; some from the middle are left out."]


def test_it_is_written_for_programs_without_losing_anything(other: Half) -> None:
    other.events = [event("decided", 1.5)]

    timeline = timeline_of(KNOWN)

    assert timeline is not None
    written = as_json(timeline)
    assert written["order_id"] == str(KNOWN)
    assert written["events"][1] == {
        "at": "2026-06-15T12:00:01.500000Z",
        "seconds_since_previous": 1.5,
        "service": "processor",
        "kind": "decided",
        "title": "decided",
        "severity": "info",
        "detail": {},
        "link": "",
    }


class Dripping:
    """A server that sends one byte at a time, until it is stopped."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        with connection:
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            while not self._ends.wait(0.05):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return

    def close(self) -> None:
        self._ends.set()
        self._socket.close()
        self._thread.join()


@pytest.fixture
def dripping(settings: Settings) -> Iterator[Dripping]:
    server = Dripping()
    settings.LEDGER = settings.LEDGER | {"PEER_URL": f"http://127.0.0.1:{server.port}"}
    yield server
    server.close()


def test_a_peer_that_drips_is_not_waited_for(dripping: Dripping, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "DEADLINE", 0.2)

    with pytest.raises(PeerAway, match="it takes too long"):
        peer.fetch(uuid4(), correlation_id="", is_final=False)


def test_a_peer_that_says_nothing_is_not_waited_for(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.LEDGER = settings.LEDGER | {"PEER_URL": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        started: Any = time.monotonic()

        with pytest.raises(PeerAway, match="The processor does not answer: Read timed out"):
            peer.fetch(uuid4(), correlation_id="", is_final=False)

    assert time.monotonic() - started < 30  # and not for ever
