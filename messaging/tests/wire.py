"""Messages as AMQP can carry them, encoded by hand: pika's own encoder would not produce half of them."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import pika
from hypothesis import strategies as st

type Value = tuple[bytes, Any]
"""The letter of an AMQP type, and its content."""
type Table = dict[bytes, Value]

_NUMBERS = {
    b"t": "?", b"b": "b", b"B": "B", b"s": "h", b"u": "H", b"I": "i", b"i": "I", b"l": "q", b"f": "f", b"d": "d",
    b"T": "Q",
}  # fmt: skip


def value(given: Value) -> bytes:
    kind, content = given
    match kind:
        case b"S" | b"x":
            return kind + _long(content)
        case b"D":
            return kind + struct.pack(">Bi", *content)
        case b"A":
            return kind + _long(b"".join(map(value, content)))
        case b"F":
            return kind + table(content)
        case b"V":
            return kind
    return kind + struct.pack(f">{_NUMBERS[kind]}", content)


def table(entries: Table) -> bytes:
    return _long(b"".join(short(key) + value(entry) for key, entry in entries.items()))


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def _long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _octet(number: int) -> bytes:
    return bytes([number])


def _seconds(number: int) -> bytes:
    return struct.pack(">Q", number)


# In the order in which they stand in a frame.
_PROPERTIES: Mapping[str, Callable[[Any], bytes]] = {
    "content_type": short, "content_encoding": short, "headers": table, "delivery_mode": _octet, "priority": _octet,
    "correlation_id": short, "reply_to": short, "expiration": short, "message_id": short, "timestamp": _seconds,
    "type": short, "user_id": short, "app_id": short, "cluster_id": short,
}  # fmt: skip


class Properties(pika.BasicProperties):
    """Goes to the wire as given here."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        super().__init__()
        self.given = given

    def __repr__(self) -> str:
        return f"Properties({self.given!r})"

    def encode(self) -> list[bytes]:
        flags, pieces = 0, []
        for bit, (name, encode) in enumerate(_PROPERTIES.items()):
            if name in self.given:
                flags |= 1 << (15 - bit)
                pieces.append(encode(self.given[name]))
        return [struct.pack(">H", flags), *pieces]


def _numbers(kind: bytes, low: int, high: int) -> st.SearchStrategy[Value]:
    return st.tuples(st.just(kind), st.integers(low, high) | st.sampled_from([low, high]))


def _of(kind: bytes, content: st.SearchStrategy[Any]) -> st.SearchStrategy[Value]:
    return st.tuples(st.just(kind), content)


shorts = st.binary(max_size=255) | st.text(max_size=60).map(lambda text: text.encode()[:255])
_scalars = st.one_of(
    _of(b"t", st.booleans()),
    _numbers(b"b", -(2**7), 2**7 - 1), _numbers(b"B", 0, 2**8 - 1),
    _numbers(b"s", -(2**15), 2**15 - 1), _numbers(b"u", 0, 2**16 - 1),
    _numbers(b"I", -(2**31), 2**31 - 1), _numbers(b"i", 0, 2**32 - 1),
    _numbers(b"l", -(2**63), 2**63 - 1), _numbers(b"T", 0, 2**64 - 1),
    # The broker itself hangs up on NaN and infinity.
    _of(b"f", st.floats(width=32, allow_nan=False, allow_infinity=False)),
    _of(b"d", st.floats(allow_nan=False, allow_infinity=False)),
    _of(b"D", st.tuples(st.integers(0, 255), st.integers(-(2**31), 2**31 - 1))),
    _of(b"S", st.binary(max_size=300) | st.text().map(str.encode)), _of(b"x", st.binary(max_size=300)),
    _of(b"V", st.none()),
)  # fmt: skip
values: st.SearchStrategy[Value] = st.recursive(
    _scalars,
    lambda inner: _of(b"A", st.lists(inner, max_size=4)) | _of(b"F", st.dictionaries(shorts, inner, max_size=4)),
    max_leaves=12,
)
_KNOWN = st.sampled_from([
    b"x-attempt", b"x-first-failed-at", b"x-error-type", b"x-error-message", b"x-error-traceback", b"x-failed-at",
    b"x-source-queue", b"x-dropped-headers", b"schema-version", b"traceparent", b"x-death",
    b"x-delivery-count", b"x-first-death-reason", b"x-unreadable-headers", b"x-error-place", b"x-release",
    b"published-at-ms",
])  # fmt: skip
tables: st.SearchStrategy[Table] = st.dictionaries(shorts | _KNOWN, values, max_size=6)
properties = st.fixed_dictionaries(
    {},
    optional={
        "headers": tables,
        "type": st.just(b"thing.happened") | shorts,
        "correlation_id": shorts,
        "content_type": shorts,
        "content_encoding": shorts,
        "delivery_mode": st.sampled_from([1, 2]),  # the broker takes no other
        "priority": st.integers(0, 255),
        "reply_to": shorts,
        "expiration": st.sampled_from([b"0", b"60000"]),
        "timestamp": st.integers(0, 2**64 - 1),
        "app_id": shorts,
        "cluster_id": shorts,
    },
).map(Properties)
"""Without a message id, which each test gives as it needs."""
