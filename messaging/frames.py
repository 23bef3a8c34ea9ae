"""What pika takes longest for, done in one go: taking a delivery off the wire, and putting a publication on it.

pika makes each message out of three frames and a dozen objects, in a thread that shares the interpreter with Django's.
That was up to half of what a message cost a relay or a consumer. This module knows the usual message only; it leaves
every other, and whatever is wrong with one, to pika.
"""

import struct
from functools import lru_cache
from typing import Any

import pika
import pika.spec
from msgspec import Struct
from msgspec.structs import asdict

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, 0xCE
_DELIVER, _PUBLISH, _BASIC = pika.spec.Basic.Deliver.INDEX, pika.spec.Basic.Publish.INDEX, pika.spec.Basic.INDEX
_MANDATORY = 1

_FRAME = struct.Struct(">BHI")  # type, channel, length of what comes before the end mark
_METHOD_FRAME = struct.Struct(">BHII")  # the same, and which method it is
_HEADER_FRAME = struct.Struct(">BHIHHQH")  # the same as a frame, class, weight, length of the body, which properties
_HEADER_AND_TEXT = struct.Struct(">BHIHHQHB")  # the same, and the length of the text that comes first
_TAG = struct.Struct(">QB")
_TIME = struct.Struct(">Q")
_LENGTH, _INT, _LONG = struct.Struct(">I"), struct.Struct(">i"), struct.Struct(">q")
_INT_RANGE = range(-(2**31), 2**31)

_USUAL = (
    pika.BasicProperties.FLAG_CONTENT_TYPE
    | pika.BasicProperties.FLAG_HEADERS
    | pika.BasicProperties.FLAG_DELIVERY_MODE
    | pika.BasicProperties.FLAG_CORRELATION_ID
    | pika.BasicProperties.FLAG_MESSAGE_ID
    | pika.BasicProperties.FLAG_TIMESTAMP
    | pika.BasicProperties.FLAG_TYPE
    | pika.BasicProperties.FLAG_APP_ID
)


class Properties(Struct, frozen=True):
    """The properties of the usual message, all of them and no others, under pika's names."""

    content_type: str
    headers: dict[str, Any]
    """Texts and integers; with anything else it is not the usual message any more."""
    delivery_mode: int
    correlation_id: str | None
    message_id: str
    timestamp: int
    """Seconds since 1970."""
    type: str | None
    """None, like the correlation id, when there is none: then pika writes the message."""
    app_id: str


type AnyProperties = Properties | pika.BasicProperties
"""Those of the usual message, or pika's own, in which any may be missing."""


def as_pika(properties: AnyProperties) -> pika.BasicProperties:
    """The same properties as an object of pika's."""
    return pika.BasicProperties(**asdict(properties)) if isinstance(properties, Properties) else properties


class Publication(Struct, frozen=True):
    """A message as it goes on the wire."""

    exchange: str
    routing_key: str
    body: bytes
    properties: AnyProperties


class Content(Struct, frozen=True):
    """A delivery as it stood on the wire."""

    channel: int
    consumer_tag: str
    tag: int
    redelivered: bool
    routing_key: str
    properties: Properties
    body: bytes
    end: int
    """Where in the data the next frame begins."""


def delivery_at(data: bytes, start: int) -> Content | None:
    """The complete delivery that begins at `start` in the data that has arrived.

    None when something else stands there, when part of it has not arrived yet, and when it is not the usual message:
    it has other properties or other kinds of headers, no body or one in several frames, or cannot be decoded.
    """
    try:
        return _delivery_at(data, start)
    except (IndexError, struct.error, UnicodeDecodeError):
        return None


def _delivery_at(data: bytes, start: int) -> Content | None:
    kind, channel, length, index = _METHOD_FRAME.unpack_from(data, start)
    if kind != _METHOD or index != _DELIVER:
        return None
    header = start + 7 + length + 1
    kind, of, length, _, _, size, flags, text = _HEADER_AND_TEXT.unpack_from(data, header)
    if kind != _HEADER or of != channel or flags != _USUAL:
        return None
    body = header + 7 + length + 1
    kind, of, length = _FRAME.unpack_from(data, body)
    end = body + 7 + length
    if kind != _BODY or of != channel or length != size:
        return None
    if data[end] != _END or data[header - 1] != _END or data[body - 1] != _END:
        return None

    at = start + 12 + data[start + 11]
    consumer_tag = data[start + 12 : at].decode()
    tag, redelivered = _TAG.unpack_from(data, at)
    begin, at = at + 10, at + 10 + data[at + 9]
    begin, at = at + 1, at + 1 + data[at]
    routing_key = data[begin:at].decode()
    if at != header - 1:
        return None

    begin, at = header + 22, header + 22 + text
    content_type = data[begin:at].decode()
    (length,) = _LENGTH.unpack_from(data, at)
    at += 4
    headers_end = at + length
    headers: dict[str, str | int] = {}
    while at < headers_end:
        begin, at = at + 1, at + 1 + data[at]
        key = data[begin:at].decode()
        match data[at]:
            case 0x53:  # S, a text
                (length,) = _LENGTH.unpack_from(data, at + 1)
                begin, at = at + 5, at + 5 + length
                headers[key] = data[begin:at].decode()
            case 0x49:  # I
                (headers[key],) = _INT.unpack_from(data, at + 1)
                at += 5
            case 0x6C:  # l, a long one
                (headers[key],) = _LONG.unpack_from(data, at + 1)
                at += 9
            case _:
                return None
    if at != headers_end:
        return None
    delivery_mode = data[at]
    begin, at = at + 2, at + 2 + data[at + 1]
    correlation_id = data[begin:at].decode()
    begin, at = at + 1, at + 1 + data[at]
    message_id = data[begin:at].decode()
    (timestamp,) = _TIME.unpack_from(data, at)
    begin, at = at + 9, at + 9 + data[at + 8]
    type_ = data[begin:at].decode()
    begin, at = at + 1, at + 1 + data[at]
    app_id = data[begin:at].decode()
    if at != body - 1:
        return None

    return Content(
        channel,
        consumer_tag,
        tag,
        bool(redelivered & 1),
        routing_key,
        Properties(content_type, headers, delivery_mode, correlation_id, message_id, timestamp, type_, app_id),
        data[body + 7 : end],
        end + 1,
    )


def publication(
    channel: int, exchange: str, routing_key: str, body: bytes, given: Properties, *, longest: int
) -> bytes | None:
    """The three frames of a mandatory publication; the body has to fit into one of at most `longest` bytes.

    None for a message that is not the usual one after all: it has other kinds of headers, no body or one that takes
    more frames, or cannot be encoded.
    """
    try:
        return _publication(channel, exchange, routing_key, body, given, longest)
    except (AttributeError, TypeError, ValueError, OverflowError, struct.error):
        return None


def _publication(
    channel: int, exchange: str, routing_key: str, body: bytes, given: Properties, longest: int
) -> bytes | None:
    if not 0 < len(body) <= longest or given.correlation_id is None or given.type is None:
        return None
    table = b""
    for key, value in given.headers.items():
        if type(value) is str:
            text = value.encode()
            table += b"%bS%b%b" % (_short(key), _LENGTH.pack(len(text)), text)
        elif type(value) is not int:
            return None
        elif value in _INT_RANGE:
            table += b"%bI%b" % (_short(key), _INT.pack(value))
        else:
            table += b"%bl%b" % (_short(key), _LONG.pack(value))
    correlation_id, message_id = given.correlation_id.encode(), given.message_id.encode()
    properties = b"%b%b%b%c%c%b%c%b%b%b%b" % (
        _short(given.content_type),
        _LENGTH.pack(len(table)),
        table,
        given.delivery_mode,
        len(correlation_id),
        correlation_id,
        len(message_id),
        message_id,
        _TIME.pack(given.timestamp),
        _short(given.type),
        _short(given.app_id),
    )
    return b"%b%b%b\xce%b%b\xce" % (
        _method(channel, exchange, routing_key),
        _HEADER_FRAME.pack(_HEADER, channel, 14 + len(properties), _BASIC, 0, len(body), _USUAL),
        properties,
        _FRAME.pack(_BODY, channel, len(body)),
        body,
    )


@lru_cache(maxsize=256)
def _method(channel: int, exchange: str, routing_key: str) -> bytes:
    arguments = b"\0\0" + _short(exchange) + _short(routing_key) + bytes([_MANDATORY])
    return _METHOD_FRAME.pack(_METHOD, channel, 4 + len(arguments), _PUBLISH) + arguments + bytes([_END])


@lru_cache(maxsize=256)
def _short(text: str) -> bytes:
    """A text that is likely to come again, as it stands on the wire. ValueError when it is longer than 255 bytes."""
    encoded = text.encode()
    return bytes([len(encoded)]) + encoded
