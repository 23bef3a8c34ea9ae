"""The other service's half of a timeline, read over HTTP while somebody waits for the answer."""

import time
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import msgspec
import urllib3
from django.conf import settings

from httpapi.peers import reason
from observability.context import current_correlation_id
from timeline.event import KINDS, SERVICES, Event, Severity, Waiting

DEADLINE = 2.0
"""Seconds after which the other service counts as away."""
MAX_BYTES = 2 * 1024 * 1024

type _Moment = Annotated[datetime, msgspec.Meta(tz=True)]
type _Text = Annotated[str, msgspec.Meta(max_length=4000)]


class PeerAway(Exception):
    """The other service's half cannot be had; says why in a sentence."""


class _Event(msgspec.Struct):
    at: _Moment
    service: Literal["orders", "processor"]
    kind: _Text
    title: _Text
    severity: Severity
    detail: dict[_Text, _Text | int | float | bool | None]
    link: _Text


class _Waiting(msgspec.Struct):
    service: Literal["orders", "processor"]
    text: _Text
    link: _Text


class _Answer(msgspec.Struct):
    service: Literal["orders", "processor"]
    status: Literal["pending", "completed", "failed"]
    waits_for: _Waiting | None
    notes: Annotated[list[_Text], msgspec.Meta(max_length=20)]
    events: Annotated[list[_Event], msgspec.Meta(max_length=1000)]


class Half(msgspec.Struct):
    """What the other service knows."""

    events: list[Event]
    waits_for: Waiting | None
    notes: list[str]


_decoder = msgspec.json.Decoder(_Answer)


def fetch(order_id: UUID, *, correlation_id: str, is_final: bool) -> Half:
    """The other service's half. Raises PeerAway; asks once, and waits about DEADLINE seconds at most."""
    query: dict[str, str] = {"final": "true"} if is_final else {}
    if correlation_id:
        query["correlation_id"] = correlation_id
    path = settings.TIMELINE["PEER_PATH"].format(order_id=order_id)
    name = SERVICES[settings.TIMELINE["PEER"]]
    status, body = _get(f"{path}?{urlencode(query)}" if query else path, name)
    match status:
        case 200:
            pass
        case 401 | 403:
            variable = settings.LEDGER["PEER_VARIABLE"].replace("_URL", "_TOKEN")
            raise PeerAway(f"The {name} refuses {variable}: it must be the token of a user there.")
        case _:
            raise PeerAway(f"The {name} answers {status}.")
    try:
        answer = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        answer = None
    if answer is None or answer.service != settings.TIMELINE["PEER"]:
        raise PeerAway(f"{settings.LEDGER['PEER_VARIABLE']} leads to something that answers with no timeline.")
    # A newer release over there may know more kinds than this one.
    events = [_event(event) for event in answer.events if event.kind in KINDS]
    waits_for = Waiting(**msgspec.structs.asdict(answer.waits_for)) if answer.waits_for else None
    return Half(events, waits_for, answer.notes)


def _event(found: _Event) -> Event:
    return Event(**msgspec.structs.asdict(found))


@cache
def _pool() -> urllib3.PoolManager:
    # The pool is kept, so that most requests need no new connection; the web server's threads share it.
    return urllib3.PoolManager(maxsize=8, retries=False, timeout=urllib3.Timeout(connect=1, total=DEADLINE))


def _get(path: str, name: str) -> tuple[int, bytes]:
    deadline = time.monotonic() + DEADLINE
    try:
        answer: Any = _pool().request(
            "GET",
            settings.LEDGER["PEER_URL"].rstrip("/") + path,
            headers=_headers(),
            preload_content=False,
        )
        try:
            return answer.status, _body(answer, deadline)
        finally:
            answer.close()  # a connection that was read to its end is back in the pool already
    except urllib3.exceptions.HTTPError as error:
        raise PeerAway(f"The {name} does not answer: {reason(error)}.") from None
    except ValueError as error:
        raise PeerAway(f"The {name} answers with nothing that can be read: {error}.") from None


def _headers() -> Mapping[str, str]:
    headers = {"Accept": "application/json"}
    if correlation_id := current_correlation_id():
        headers["X-Request-ID"] = correlation_id
    if token := settings.LEDGER["PEER_TOKEN"]:
        headers["Authorization"] = f"Token {token}"
    return headers


def _body(answer: Any, deadline: float) -> bytes:
    """The whole body. Raises ValueError for one that is too long or comes too slowly to be worth waiting for."""
    body = b""
    while chunk := answer.read1(65536):
        body += chunk
        if len(body) > MAX_BYTES:
            raise ValueError("it is too long")
        if time.monotonic() > deadline:
            raise ValueError("it takes too long")
    return body
