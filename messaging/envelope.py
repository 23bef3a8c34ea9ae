"""Between AMQP and the rest: turns a delivery into a message, and what became of it into the next publication.

The body is plain JSON and the envelope travels in properties and headers. A body without an envelope is understood
as well: its id is derived from its bytes, its type from the routing key.
"""

import time
import traceback
import uuid
from datetime import UTC, datetime
from typing import Any

import pika
from msgspec import Struct, ValidationError, convert
from msgspec.structs import replace
from pika.data import encode_table

from messaging.conf import MessagingConfig
from messaging.dead_letters import FailedMessage
from messaging.errors import InvalidMessageError, text_of
from messaging.fingerprints import place_of
from messaging.frames import AnyProperties, Properties, Publication
from messaging.message import Handler, Message
from messaging.models import OutboxMessage
from messaging.outbox import Claimed
from messaging.pika_patches import UNREADABLE_HEADERS
from messaging.subject import subject_of
from messaging.topology import DELIVERY_LIMIT, dead_letter_exchange, retry_exchange, retry_routing_key
from observability import context

ATTEMPT = "x-attempt"
FIRST_FAILED_AT = "x-first-failed-at"
ERROR_TYPE = "x-error-type"
ERROR_MESSAGE = "x-error-message"
ERROR_TRACEBACK = "x-error-traceback"
FAILED_AT = "x-failed-at"
SOURCE_QUEUE = "x-source-queue"
ERROR_PLACE = "x-error-place"
RELEASE = "x-release"
PUBLISHED_AT = "published-at-ms"
_OURS = {
    ATTEMPT, FIRST_FAILED_AT, ERROR_TYPE, ERROR_MESSAGE, ERROR_TRACEBACK, FAILED_AT, SOURCE_QUEUE, UNREADABLE_HEADERS,
    ERROR_PLACE, RELEASE,
}  # fmt: skip
_BROKERS = {
    "x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason", "x-last-death-exchange",
    "x-last-death-queue", "x-last-death-reason", "x-delivery-count", "x-acquired-count",
    "CC",  # if sent on, the broker would copy each retry to where the message has been delivered already
}  # fmt: skip

# Headers travel in one frame, beside this many bytes of other things: five texts of up to 255 bytes, some numbers, and
# what a replay adds. The broker hangs up on a frame that is too long, each time it is sent, so what is too much gives
# way.
_BESIDE_HEADERS = 1_600
_MAX_HEADERS = 48_000
_KEPT = ("schema-version", "traceparent")
_MAX_TRACEBACK = 16_000
MAX_ERROR_MESSAGE = 4_000

_YEAR_10000 = 253_402_300_800_000

_DERIVED_IDS = uuid.UUID("6f0d8f2e-6b55-5c0e-9a3f-0b1f3d1c7e55")


class Delivery(Struct, frozen=True):
    """A message as the broker handed it over, not acknowledged yet."""

    tag: int
    redelivered: bool
    routing_key: str
    properties: AnyProperties
    body: bytes
    frame_max: int = 131_072
    """The longest frame, in bytes, that was agreed on with the broker it came from."""

    @property
    def headers(self) -> dict[str, Any]:
        headers: dict[str, Any] = self.properties.headers or {}
        return headers

    @property
    def failures(self) -> int:
        """How often a handler has failed on it already."""
        count = self.headers.get(ATTEMPT, 0)
        return count if isinstance(count, int) and 0 <= count < 1_000_000 else 0

    @property
    def message_id(self) -> uuid.UUID:
        """The sender's id if it is a UUID, or else one derived from all that the sender did give.

        The same message always has the same id, and a sender that gives all its messages one word as id loses none.
        """
        namespace = _DERIVED_IDS
        if given := self.properties.message_id:
            try:
                return _uuid(str(given))
            except ValueError:
                namespace = uuid.uuid5(_DERIVED_IDS, str(given))
        # With the type, if there is one: the same bytes sent as something else are another message.
        type_ = self.properties.type
        return uuid.uuid5(namespace, f"{type_}\0".encode() + self.body if type_ else self.body)

    @property
    def correlation_id(self) -> str:
        given = str(self.properties.correlation_id or "")
        return given if context.is_correlation_id(given) else str(self.message_id)

    def type_among(self, handlers: dict[str, Handler[Any]]) -> str:
        """The sender's type; without one the routing key, and failing that the only type this service takes."""
        if self.properties.type:
            return str(self.properties.type)[:255]
        if self.routing_key in handlers or len(handlers) != 1:
            return self.routing_key
        return next(iter(handlers))

    def subject_among(self, handlers: dict[str, Handler[Any]]) -> str:
        """The business key in the body; "" when there is none, or the type is not among the handlers."""
        handler = handlers.get(self.type_among(handlers))
        return subject_of(self.body, handler.subject) if handler else ""


def read(delivery: Delivery, handlers: dict[str, Handler[Any]]) -> Message[Any]:
    """The message of a delivery. Raises InvalidMessageError when the envelope or the body is not valid."""
    headers = delivery.headers
    if UNREADABLE_HEADERS in headers:
        raise InvalidMessageError(f"The headers cannot be decoded: {headers[UNREADABLE_HEADERS]}")
    type_ = delivery.type_among(handlers)
    handler = handlers.get(type_)
    if handler is None:
        raise InvalidMessageError(f"Unknown type {type_!r}; this service takes {', '.join(sorted(handlers))}")
    version = headers.get("schema-version", 1)
    if not isinstance(version, int) or version not in handler.schema_versions:
        known = ", ".join(map(str, sorted(handler.schema_versions)))
        given = str(version) if isinstance(version, int) else repr(version)  # pika's repr of one in 64 bits is "2L"
        raise InvalidMessageError(f"Unknown schema-version {given} of {type_}; this service takes {known}")
    try:
        payload = handler.decode(delivery.body)
    except (ValueError, RecursionError) as error:
        raise InvalidMessageError(f"The body does not hold: {error}") from error
    traceparent = headers.get("traceparent", "")
    return Message(
        id=delivery.message_id,
        type=type_,
        payload=payload,
        correlation_id=delivery.correlation_id,
        traceparent=traceparent if isinstance(traceparent, str) else "",
        attempt=delivery.failures + 1,
        published_at=_published_at(headers),
    )


def _uuid(text: str) -> uuid.UUID:
    """The same as `uuid.UUID(text)`, which takes three times as long for the usual form."""
    try:
        return convert(text, uuid.UUID)
    except ValidationError:
        return uuid.UUID(text)


def _published_at(headers: dict[str, Any]) -> datetime | None:
    given = headers.get(PUBLISHED_AT)
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given < _YEAR_10000:
        return None
    return datetime.fromtimestamp(given / 1000, UTC)


def from_outbox(row: OutboxMessage | Claimed, *, service: str) -> Publication:
    """An outbox row as it goes on the wire when it is sent now."""
    return Publication(
        row.exchange,
        row.routing_key,
        bytes(row.body),
        Properties(
            content_type="application/json",
            headers={**row.headers, PUBLISHED_AT: time.time_ns() // 1_000_000},
            delivery_mode=2,
            correlation_id=row.correlation_id or None,
            message_id=str(row.message_id),
            timestamp=int(row.created_at.timestamp()),
            type=row.type or None,
            app_id=service,
        ),
    )


def next_rung(delivery: Delivery, config: MessagingConfig) -> Publication | None:
    """The delivery on its way to the next retry queue; None when the ladder is used up."""
    if delivery.failures >= len(config.retry_delays):
        return None
    return Publication(
        retry_exchange(config),
        retry_routing_key(config, config.retry_delays[delivery.failures]),
        delivery.body,
        _again(delivery, config, {FIRST_FAILED_AT: _first_failed_at(delivery, datetime.now(UTC)).isoformat()}),
    )


def dead_letter(delivery: Delivery, error: BaseException, config: MessagingConfig) -> Publication:
    """The delivery on its way to the dead letters, with what went wrong in its headers."""
    trace = "".join(traceback.format_exception(error))
    now = datetime.now(UTC)
    failure = {
        ERROR_TYPE: type(error).__name__[:255],
        ERROR_MESSAGE: _encodable(text_of(error))[:MAX_ERROR_MESSAGE],
        ERROR_TRACEBACK: _encodable(trace)[-_MAX_TRACEBACK:],
        FAILED_AT: now.isoformat(),
        FIRST_FAILED_AT: _first_failed_at(delivery, now).isoformat(),
        SOURCE_QUEUE: config.queue,
        ERROR_PLACE: place_of(error),
        RELEASE: config.release[:64],
    }
    return Publication(dead_letter_exchange(config), config.queue, delivery.body, _again(delivery, config, failure))


def _again(delivery: Delivery, config: MessagingConfig, more: dict[str, Any]) -> pika.BasicProperties:
    """The delivery's own properties, to send it again: with what was derived filled in, and the attempt counted."""
    given = delivery.properties
    return pika.BasicProperties(
        message_id=str(delivery.message_id),
        type=delivery.type_among(config.handler_table) or None,
        app_id=given.app_id if isinstance(given.app_id, str) else None,
        timestamp=given.timestamp,
        correlation_id=delivery.correlation_id,
        content_type=given.content_type if isinstance(given.content_type, str) else "application/json",
        delivery_mode=2,
        headers=_in_one_frame(delivery, {ATTEMPT: delivery.failures + 1} | more),
    )


def _in_one_frame(delivery: Delivery, ours: dict[str, Any]) -> dict[str, Any]:
    """The sender's headers and ours. What is too much gives way: the traceback, then theirs, then the error message."""
    ours = {key: _encodable(value) if isinstance(value, str) else value for key, value in ours.items()}
    trace = ours.pop(ERROR_TRACEBACK, "").encode()
    headers = _own_headers(delivery, beside=_size(ours)) | ours
    room = delivery.frame_max - _BESIDE_HEADERS
    if ERROR_MESSAGE in headers:
        excess = max(0, _size(headers) - room)
        headers[ERROR_MESSAGE] = _cut(headers[ERROR_MESSAGE], len(headers[ERROR_MESSAGE].encode()) - excess)
    if trace:
        room -= _size(headers | {ERROR_TRACEBACK: ""})
        headers[ERROR_TRACEBACK] = trace[max(0, len(trace) - room) :].decode(errors="ignore")
    return headers


def _own_headers(delivery: Delivery, *, beside: int = 0) -> dict[str, Any]:
    """The sender's headers, as plain JSON types, without ours and the broker's.

    If they are too many, or more than fit into a frame with `beside` bytes next to them, only those are kept without
    which it would be another message.
    """
    headers = {
        _key(key): _plain(value) for key, value in delivery.headers.items() if key not in _OURS and key not in _BROKERS
    }
    size = _size(headers)
    if size <= min(_MAX_HEADERS, delivery.frame_max - _BESIDE_HEADERS - beside):
        return headers
    given = {key: headers[key] for key in _KEPT if key in headers}
    kept = {key: value if isinstance(value, int) else _cut(str(value), 255) for key, value in given.items()}
    return kept | {"x-dropped-headers": f"{size} bytes of headers were too many to keep"}


def _size(headers: dict[str, Any]) -> int:
    """In bytes, on the wire."""
    size: int = encode_table([], headers)
    return size


def _cut(text: str, limit: int) -> str:
    """The beginning of the text, at most `limit` bytes of it."""
    return text.encode()[: max(0, limit)].decode(errors="ignore")


def _plain(value: Any, depth: int = 0) -> Any:
    """Turns whatever AMQP can carry into what both JSON and AMQP can carry."""
    if depth > 20:
        return "…"
    match value:
        case None | bool():
            return value
        case int():  # pika makes an int of a double too, which may be larger than what it can send
            return value if -(2**63) <= value < 2**63 else str(value)
        case str():
            return _encodable(value)
        case dict():
            return {_key(key): _plain(item, depth + 1) for key, item in value.items()}
        case list():
            return [_plain(item, depth + 1) for item in value]
        case datetime():
            return value.isoformat()
        case _:
            return _encodable(str(value))


def _key(key: str | bytes) -> str:
    """pika leaves a key that is no UTF-8 as bytes; written out it may be longer than the 255 bytes of a key."""
    return key if isinstance(key, str) else str(key)[:255]


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def failed(delivery: Delivery, config: MessagingConfig) -> FailedMessage:
    """What arrived in the dead-letter queue, whether we sent it there or the broker did."""
    headers = delivery.headers
    death = headers.get("x-death")
    death = death[0] if isinstance(death, list) and death and isinstance(death[0], dict) else {}
    type_, came_by = str(delivery.properties.type or ""), _came_by(death)
    if not type_ and came_by in config.handler_table:
        type_, delivery = came_by, replace(delivery, routing_key=came_by)
    attempts = max(1, delivery.failures)
    now = datetime.now(UTC)
    place, release = "", config.release
    # First what the broker says: our headers are not on what it has dead-lettered, unless a sender has set them.
    if death.get("reason") == "delivery_limit":
        error_type = "DeliveryLimitExceeded"
        message = (
            f"Given up at its queue's delivery limit, {DELIVERY_LIMIT} unless a policy lowers it, and never answered: "
            "each time the process died or lost its connection while it had this message."
        )
        attempts = delivery.failures + 1
        failed_at = _parse_time(death.get("time"), now)
    elif ERROR_TYPE in headers:
        error_type, message = str(headers[ERROR_TYPE]), str(headers.get(ERROR_MESSAGE, ""))
        place, release = str(headers.get(ERROR_PLACE, "")), str(headers.get(RELEASE, ""))
        failed_at = _parse_time(headers.get(FAILED_AT), now)
    else:
        reason = str(death.get("reason", "")) or "published straight to the dead-letter queue"
        error_type, message = "DeadLetteredByBroker", f"RabbitMQ dead-lettered it: {reason}"
        failed_at = _parse_time(death.get("time"), now)
    return FailedMessage(
        message_id=delivery.message_id,
        type=type_,
        queue=config.queue,
        headers=_own_headers(delivery),
        body=delivery.body,
        correlation_id=delivery.correlation_id,
        error_type=error_type,
        error_message=message,
        traceback=str(headers.get(ERROR_TRACEBACK, "")),
        attempts=attempts,
        failed_at=failed_at,
        first_failed_at=_first_failed_at(delivery, failed_at),
        place=place,
        release=release,
        subject=delivery.subject_among(config.handler_table),
    )


def _came_by(death: dict[str, Any]) -> str:
    """The routing key that a message had before the broker dead-lettered it under that of the dead-letter queue."""
    keys = death.get("routing-keys")
    return str(keys[0]) if isinstance(keys, list) and keys else ""


def _first_failed_at(delivery: Delivery, otherwise: datetime) -> datetime:
    return _parse_time(delivery.headers.get(FIRST_FAILED_AT), otherwise)


def _parse_time(value: Any, otherwise: datetime) -> datetime:
    """The time in UTC; `otherwise` when it is no time, or falls outside the years 1 to 9999 in UTC."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return otherwise
