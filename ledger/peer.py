"""The book of the other service: read over HTTP, or from a file that it has exported."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import IO, Any, Protocol
from urllib.parse import parse_qs, urlencode, urlsplit

import urllib3
from django.conf import settings

from httpapi.peers import reason
from httpapi.timestamps import timestamp
from ledger.book import MAX_PAGE, Book, Entry
from ledger.serializers import as_json, from_json
from messaging.conf import config
from messaging.database import database_time
from messaging.depth import messages_on_the_broker

# urllib3's retries need no log lines: PeerError says in one sentence what came of them.
logging.getLogger("urllib3").setLevel(logging.ERROR)

_RETRIES = urllib3.Retry(
    total=4, backoff_factor=0.5, redirect=False, status_forcelist=[429, 502, 503, 504], raise_on_status=False
)
_TIMEOUT = urllib3.Timeout(connect=5, read=60)
_EXPORT_VERSION = 1


class PeerError(Exception):
    """The other service's book cannot be read; says why in a sentence."""


class Peer(Protocol):
    """The other service, as far as its book shows it."""

    queued: int | None
    """How many messages are in its queues; None until the book is read to its end, or if that service does not know."""

    def begin(self) -> datetime:
        """The time of its book, by a clock of PostgreSQL. Raises PeerError."""

    def entries(self) -> Iterator[list[Entry]]:
        """The whole book, in chunks. Raises PeerError."""


class HttpPeer:
    """Reads `GET /ledger`, page after page, with retries."""

    def __init__(self, book: Book) -> None:
        self.queued: int | None = None
        self._book = book
        self._url: str = settings.LEDGER["PEER_URL"].rstrip("/")
        self._variable: str = settings.LEDGER["PEER_VARIABLE"]
        token = settings.LEDGER["PEER_TOKEN"]
        headers = {"Accept": "application/json"} | ({"Authorization": f"Token {token}"} if token else {})
        self._pool = urllib3.PoolManager(headers=headers, retries=_RETRIES, timeout=_TIMEOUT)

    def begin(self) -> datetime:
        return database_time()

    def entries(self) -> Iterator[list[Entry]]:
        self.queued = None
        after: str | None = None
        while True:
            query = {"limit": MAX_PAGE} | ({"after": after} if after else {})
            page = self.fetch(f"/ledger?{urlencode(query)}")
            if page is None:
                raise PeerError(f"{self._url} has no /ledger: {self._variable} leads to something else.")
            try:
                _must_be(self._book.peer, page["service"], f"{self._variable} ({self._url})")
                yield [from_json(found) for found in page["results"]]
                if page["next"] is None:
                    self.queued = page["queued"]
                    return
                after = parse_qs(urlsplit(page["next"]).query)["after"][0]
            except (KeyError, TypeError, ValueError) as error:
                raise PeerError(f"{self._url}/ledger answers with no page of a book ({error!r}).") from None

    def fetch(self, path: str) -> dict[str, Any] | None:
        """Reads a path of the other service's API; None for what it does not have. Raises PeerError."""
        try:
            answer = self._pool.request("GET", self._url + path)
        except urllib3.exceptions.HTTPError as error:
            raise PeerError(f"{self._url} ({self._variable}) does not answer: {reason(error)}.") from None
        match answer.status:
            case 200:
                pass
            case 404:
                return None
            case 401 | 403:
                variable = self._variable.replace("_URL", "_TOKEN")
                raise PeerError(f"{self._url} refuses {variable}: it must be the token of a user there.")
            case 301 | 302 | 307 | 308:
                where = answer.headers.get("Location", "")
                raise PeerError(f"{self._url} leads elsewhere, to {where}: put that into {self._variable}.")
            case _:
                raise PeerError(f"{self._url} answers {answer.status}.")
        try:
            found = json.loads(answer.data, parse_float=Decimal)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise PeerError(f"{self._url}{path} answers with no JSON object: {self._variable} leads to something else.")
        return found


class FilePeer:
    """Reads what `export` has written in the other service."""

    def __init__(self, book: Book, name: str, file: IO[str]) -> None:
        self.queued: int | None = None
        self._book = book
        self._name = name
        self._file = file

    def begin(self) -> datetime:
        try:
            self._file.seek(0)
            header = json.loads(self._file.readline())
            _must_be(self._book.peer, header["service"], self._name)
            if header["version"] != _EXPORT_VERSION:
                raise PeerError(f"{self._name} was exported by another release: export it again, by the same as here.")
            return datetime.fromisoformat(header["made_at"])
        except (KeyError, TypeError, ValueError):
            raise PeerError(f"{self._name} is no export of `manage.py reconcile --export`.") from None

    def entries(self) -> Iterator[list[Entry]]:
        chunk: list[Entry] = []
        count = 0
        try:
            for line in self._file:
                found = json.loads(line)
                if "queued" in found:
                    if found["entries"] != count:
                        raise PeerError(f"{self._name} has {count} of {found['entries']} entries: export it again.")
                    yield chunk
                    self.queued = found["queued"]
                    return
                chunk.append(from_json(found))
                count += 1
                if len(chunk) == MAX_PAGE:
                    yield chunk
                    chunk = []
        except (KeyError, TypeError, ValueError) as error:
            raise PeerError(f"{self._name} is damaged ({error!r}): export it again.") from None
        raise PeerError(f"{self._name} ends too early: export it again.")


def export(book: Book, file: IO[str]) -> int:
    """Writes this service's book for `FilePeer`: one JSON object a line. Returns how many entries it has.

    The last line repeats that number, which shows that the file is whole.
    """
    count = 0
    head = {"service": book.service, "made_at": timestamp(database_time()), "version": _EXPORT_VERSION}
    file.write(json.dumps(head) + "\n")
    for page in book.pages():
        for entry in page.entries:
            file.write(json.dumps(as_json(entry)) + "\n")
        count += len(page.entries)
    file.write(json.dumps({"queued": messages_on_the_broker(config()), "entries": count}) + "\n")
    return count


def _must_be(wanted: str, found: str, where: str) -> None:
    if found != wanted:
        raise PeerError(f"{where} is the book of {found!r}, wanted is that of {wanted!r}.")
