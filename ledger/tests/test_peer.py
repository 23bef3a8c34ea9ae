"""The other service's book, read over HTTP or from a file, and the errors when it cannot be read."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import StringIO
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone
from pytest_django.fixtures import Settings

from ledger.book import MAX_PAGE, Entry
from ledger.peer import FilePeer, HttpPeer, PeerError, export
from ledger.serializers import as_json
from ledger.tests.books import BOOK

ENTRY = {
    "order_id": str(uuid4()),
    "place": "record",
    "state": "completed",
    "since": "2026-05-01T12:00:00.000000Z",
    "lines": 2,
}


class Other(HTTPServer):
    """A service that answers what a test tells it to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        self.asked: list[str] = []
        self.tokens: set[str | None] = set()

    def will(self, status: int, body: Any = None, **headers: str) -> None:
        self.answers.append((status, body, headers))

    def will_page(self, *entries: dict[str, Any], after: str | None = None, **changes: Any) -> None:
        following = after and f"http://elsewhere.invalid/ledger?after={after}&limit=1"
        self.will(200, {"service": "processor", "next": following, "queued": 7, "results": entries} | changes)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        other = cast(Other, self.server)
        other.asked.append(self.path)
        other.tokens.add(self.headers["Authorization"])
        status, body, headers = other.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def other(settings: Settings) -> Iterator[Other]:
    server = Other()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    settings.LEDGER = settings.LEDGER | {"PEER_URL": f"http://127.0.0.1:{server.server_port}/shop/", "PEER_TOKEN": "t"}
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def read(peer: HttpPeer | FilePeer) -> list[Entry]:
    return [entry for page in peer.entries() for entry in page]


def test_it_turns_all_pages_at_the_address_it_was_given_and_shows_its_token(other: Other) -> None:
    other.will_page(ENTRY, after="record%3A1", queued=None)
    other.will_page(ENTRY)
    peer = HttpPeer(BOOK)

    entries = read(peer)

    assert [(str(entry.order_id), entry.state, entry.lines) for entry in entries] == [
        (ENTRY["order_id"], "completed", 2)
    ] * 2
    assert other.asked == ["/shop/ledger?limit=5000", "/shop/ledger?limit=5000&after=record%3A1"]
    assert other.tokens == {"Token t"}
    assert peer.queued == 7


def test_a_discarded_dead_letter_is_one_that_waits_to_a_release_that_does_not_know_of_it(other: Other) -> None:
    entry = Entry(uuid4(), "discarded", "created", timezone.now(), None)
    sent = as_json(entry)
    other.will_page(sent, {name: value for name, value in sent.items() if name != "discarded"})

    assert read(HttpPeer(BOOK)) == [entry, entry._replace(place="dead_letter")]


def test_it_asks_again_when_the_other_is_away_for_a_moment(other: Other) -> None:
    other.will(503)
    other.will(502)
    other.will_page(ENTRY)

    assert len(read(HttpPeer(BOOK))) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>", {}, "answers with no JSON object"),
        (200, [1], {}, "answers with no JSON object"),
        (200, b"[" * 100_000, {}, "answers with no JSON object"),
        (200, {"service": "processor"}, {}, "answers with no page of a book"),
        (200, {"service": "orders", "next": None, "queued": 0, "results": []}, {}, "is the book of 'orders'"),
        (401, {}, {}, "refuses OTHERS_API_TOKEN"),
        (301, {}, {"Location": "https://shop.example.com"}, "leads elsewhere, to https://shop.example.com"),
        (404, {}, {}, "has no /ledger"),
        (500, {}, {}, "answers 500"),
    ],
)
def test_an_answer_that_is_no_book_is_named(
    other: Other, status: int, body: Any, headers: dict[str, str], said: str
) -> None:
    other.will(status, body, **headers)

    with pytest.raises(PeerError, match=said):
        read(HttpPeer(BOOK))


@pytest.mark.parametrize("field", ["order_id", "since"])
def test_an_entry_that_does_not_hold_is_no_book(other: Other, field: str) -> None:
    other.will_page(ENTRY | {field: "x"})

    with pytest.raises(PeerError, match="no page of a book"):
        read(HttpPeer(BOOK))


def test_what_the_other_does_not_have_is_none(other: Other) -> None:
    other.will(404)
    other.will(200, {"price": 39.95})

    assert HttpPeer(BOOK).fetch("/records/1") is None
    found = HttpPeer(BOOK).fetch("/records/1")
    assert found is not None
    assert str(found["price"]) == "39.95"


@pytest.fixture
def exported(keep: Callable[..., UUID], tmp_path: Path) -> tuple[Path, UUID]:
    """A file as the other service would export it, and the id of the order in it."""
    order_id = keep("failed", lines=3)
    path = tmp_path / "book.jsonl"
    with path.open("w") as file:
        assert export(BOOK, file) == 1
    path.write_text(path.read_text().replace('"orders"', '"processor"'))
    return path, order_id


def from_file(path: Path) -> tuple[list[Entry], int | None]:
    with path.open() as file:
        peer = FilePeer(BOOK, path.name, file)
        peer.begin()
        return read(peer), peer.queued


def test_a_file_holds_what_the_book_holds_and_can_be_read_twice(exported: tuple[Path, UUID]) -> None:
    path, order_id = exported
    (page,) = BOOK.pages()
    assert page.entries[0].order_id == order_id

    with path.open() as file:
        peer = FilePeer(BOOK, path.name, file)
        for _ in range(2):
            begun = peer.begin()
            assert read(peer) == page.entries
        assert page.entries[0].since < begun
        assert isinstance(peer.queued, int)


def test_an_export_has_all_pages_and_says_how_many_entries_that_are(keep: Callable[..., UUID]) -> None:
    with connection.cursor() as cursor:
        orders = "SELECT gen_random_uuid(), 'completed', now(), 1 FROM generate_series(1, %s)"
        cursor.execute(f"INSERT INTO ledger_test_order {orders}", [MAX_PAGE + 1])
    file = StringIO()

    assert export(BOOK, file) == MAX_PAGE + 1

    _, *entries, last = file.getvalue().splitlines()
    assert len(entries) == json.loads(last)["entries"] == MAX_PAGE + 1


def test_a_long_file_is_read_in_chunks(exported: tuple[Path, UUID], monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = exported
    header, entry, last = path.read_text().splitlines(keepends=True)
    path.write_text(header + 5 * entry + last.replace('"entries": 1', '"entries": 5'))
    monkeypatch.setattr("ledger.peer.MAX_PAGE", 2)

    with path.open() as file:
        peer = FilePeer(BOOK, path.name, file)
        peer.begin()
        assert [len(chunk) for chunk in peer.entries()] == [2, 2, 1]


def test_a_file_that_ends_too_early_is_no_book(exported: tuple[Path, UUID]) -> None:
    path, _ = exported
    lines = path.read_text().splitlines(keepends=True)

    path.write_text("".join(lines[:-1]))
    with pytest.raises(PeerError, match="ends too early"):
        from_file(path)
    path.write_text("".join(lines)[:-20])
    with pytest.raises(PeerError, match="damaged"):
        from_file(path)


def test_a_file_of_something_else_is_no_book(exported: tuple[Path, UUID]) -> None:
    path, _ = exported
    own = path.read_text().replace('"processor"', '"orders"')
    for content, said in ((own, "is the book of 'orders'"), ("", "no export"), ("{}\n", "no export")):
        path.write_text(content)
        with pytest.raises(PeerError, match=said):
            from_file(path)


def test_a_file_that_has_lost_lines_or_is_of_another_version_is_no_book(exported: tuple[Path, UUID]) -> None:
    path, _ = exported
    header, _entry, last = path.read_text().splitlines(keepends=True)

    path.write_text(header + last)
    with pytest.raises(PeerError, match="0 of 1 entries"):
        from_file(path)
    path.write_text(header.replace('"version": 1', '"version": 2') + _entry + last)
    with pytest.raises(PeerError, match="another release"):
        from_file(path)
