"""Whatever arrives can be read or refused, and what is refused can be published and kept."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from messaging import conf, envelope, topology
from messaging.envelope import Delivery
from messaging.errors import InvalidMessageError
from messaging.frames import as_pika
from messaging.message import Message
from messaging.tests.handlers import HANDLERS

short = st.binary(max_size=255).map(lambda raw: _decoded(raw))
scalars = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.just(UTC))
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(short, inner), max_leaves=20)
tables = st.dictionaries(
    short | st.sampled_from(["x-attempt", "schema-version", "traceparent", "x-death", "x-error-type", "x-failed-at"]),
    values,
)


def _decoded(raw: bytes) -> str | bytes:
    """As pika decodes a short string: text where it is text, else the bytes."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def delivery(body: bytes = b"{}", routing_key: str = "thing.happened", **properties: Any) -> Delivery:
    return Delivery(1, False, routing_key, pika.BasicProperties(**properties), body)


def fits_into_a_frame(properties: pika.BasicProperties, frame_max: int = 131_072) -> bool:
    """Beside the frame itself there are class, weight and size of the body in it."""
    return sum(map(len, properties.encode())) + 8 + 12 <= frame_max


@given(
    body=st.binary(), headers=tables, message_id=short | st.none(), type_=short | st.none(),
    correlation_id=short | st.none(), other=short | st.none(), routing_key=st.text(max_size=60),
)  # fmt: skip
def test_any_delivery_is_read_or_refused_and_can_be_moved_and_kept(
    body: bytes, headers: Any, message_id: Any, type_: Any, correlation_id: Any, other: Any, routing_key: str
) -> None:
    config = conf.config()
    any_delivery = delivery(
        body, routing_key, headers=headers, message_id=message_id, type=type_, correlation_id=correlation_id,
        app_id=other, content_type=other,
    )  # fmt: skip
    try:
        assert isinstance(envelope.read(any_delivery, HANDLERS), Message)
    except InvalidMessageError as error:
        dead = envelope.dead_letter(any_delivery, error, config)
        assert dead.body == body
        assert fits_into_a_frame(dead.properties)
        kept = envelope.failed(Delivery(1, False, dead.routing_key, dead.properties, dead.body), config)
        assert (kept.message_id, kept.error_type) == (any_delivery.message_id, "InvalidMessageError")
    if rung := envelope.next_rung(any_delivery, config):
        assert fits_into_a_frame(rung.properties)
    envelope.failed(any_delivery, config)


def test_a_body_without_an_id_has_one_of_its_own_and_always_the_same() -> None:
    assert delivery(b"a").message_id == delivery(b"a").message_id != delivery(b"b").message_id


def test_the_same_bytes_of_another_type_are_another_message() -> None:
    assert delivery(b"a", type="x").message_id == delivery(b"a", type="x").message_id
    assert len({delivery(b"a", type=type_).message_id for type_ in (None, "x", "y")}) == 3


def test_an_id_that_is_no_uuid_is_one_together_with_type_and_body() -> None:
    def id_of(body: bytes = b"a", message_id: str | None = "order", type_: str | None = "x") -> UUID:
        return delivery(body, message_id=message_id, type=type_).message_id

    assert id_of() == id_of()
    different = {
        id_of(), id_of(b"b"), id_of(type_="y"), id_of(type_=None), id_of(message_id="another"), id_of(message_id=None),
    }  # fmt: skip
    assert len(different) == 6


def test_what_was_derived_from_an_id_stays_the_same_on_the_way() -> None:
    config = conf.config()
    sent = delivery(b"a", message_id="order")
    for moved in (envelope.next_rung(sent, config), envelope.dead_letter(sent, ValueError(), config)):
        assert moved is not None
        assert Delivery(1, False, moved.routing_key, moved.properties, moved.body).message_id == sent.message_id


def test_each_rung_comes_after_the_last_and_then_none_does() -> None:
    config = conf.config()
    current = delivery(message_id=str(UUID(int=1)), headers={"own": "kept"})
    keys = []
    while rung := envelope.next_rung(current, config):
        keys.append(rung.routing_key)
        assert rung.exchange == topology.retry_exchange(config)
        assert rung.properties.headers["own"] == "kept"
        assert rung.properties.delivery_mode == 2
        current = Delivery(1, False, rung.routing_key, rung.properties, rung.body)
        assert current.message_id == UUID(int=1)
    assert keys == [f"{config.queue}.{delay}" for delay in config.retry_delays]


def test_what_is_kept_of_the_headers_of_a_dead_letter_is_the_senders() -> None:
    config = conf.config()
    moved = envelope.dead_letter(delivery(headers={"own": "kept"}), ValueError("x"), config)
    assert moved.properties.delivery_mode == 2
    arrived = Delivery(1, False, moved.routing_key, moved.properties, moved.body)
    assert envelope.failed(arrived, config).headers == {"own": "kept"}


def test_of_what_reached_the_delivery_limit_no_count_is_stated_that_a_policy_may_have_changed() -> None:
    headers = {"x-attempt": 2, "x-death": [{"reason": "delivery_limit"}]}
    kept = envelope.failed(delivery(headers=headers), conf.config())
    assert kept.attempts == 3
    assert "unless a policy lowers it" in kept.error_message
    assert "21" not in kept.error_message


def test_an_error_with_surrogates_and_a_huge_text_still_fits() -> None:
    error = ValueError("\ud800" + "x" * 1_000_000)
    dead = envelope.dead_letter(delivery(headers={"big": "y" * 100_000}), error, conf.config())
    assert fits_into_a_frame(dead.properties)
    assert "too many" in dead.properties.headers["x-dropped-headers"]


@pytest.mark.parametrize("frame_max", [4_096, 8_192, 16_384, 131_072])
@pytest.mark.parametrize("text", ["\ud800", "\U0001f600", "x"])
@pytest.mark.parametrize(
    "headers",
    [{}, {"own": "y" * 20_000}, {"own": "y" * 47_000}, {"own": [0] * 15_000}],
    ids=["no", "some", "many", "short"],
)
def test_whatever_fails_fits_into_the_frames_of_its_connection(headers: Any, text: str, frame_max: int) -> None:
    config = conf.config()
    texts: dict[str, Any] = dict.fromkeys(["type", "app_id", "content_type"], "t" * 255)
    envelopes = {"headers": headers | {"schema-version": 2, "traceparent": "t"}, "correlation_id": "c" * 128}
    arrived = structs.replace(delivery(**texts, **envelopes), frame_max=frame_max)
    dead = envelope.dead_letter(arrived, ValueError(text * 20_000), config)
    rung = envelope.next_rung(arrived, config)
    assert rung is not None
    for moved in (dead, rung):
        assert fits_into_a_frame(as_pika(moved.properties), frame_max)
        assert moved.properties.headers["schema-version"] == 2
        assert moved.properties.headers["traceparent"] == "t"
    assert dead.properties.headers["x-error-type"] == "ValueError"
    assert dead.properties.headers["x-error-message"].startswith(text.encode("utf-8", "backslashreplace").decode())


def test_the_traceback_gives_way_to_the_senders_headers_and_these_to_what_went_wrong() -> None:
    def dead(headers: Any, frame_max: int = 131_072) -> Any:
        arrived = structs.replace(delivery(headers=headers), frame_max=frame_max)
        return envelope.dead_letter(arrived, ValueError("x" * 9_000), conf.config()).properties.headers

    usual = dead({"own": "y" * 40_000})
    assert len(usual["own"]) == 40_000
    assert len(usual["x-error-traceback"]) > 9_000
    narrow = dead({"own": "y" * 9_000}, frame_max=16_384)
    assert len(narrow["own"]) == 9_000
    assert len(narrow["x-error-message"]) == 4_000
    assert set(narrow["x-error-traceback"]) <= {"x", "\n"}
    narrower = dead({"own": "y" * 9_000}, frame_max=8_192)
    assert "x-dropped-headers" in narrower
    assert len(narrower["x-error-message"]) == 4_000


@pytest.mark.parametrize("version", [2, "x" * 60_000, ["x" * 60_000]])
def test_with_too_many_headers_a_message_keeps_its_version_and_trace(version: Any) -> None:
    config = conf.config()
    headers = {"own": "y" * 60_000, "schema-version": version, "traceparent": "t"}
    arrived = delivery(type="thing.happened", headers=headers)
    rung = envelope.next_rung(arrived, config)
    assert rung is not None
    kept = envelope.failed(arrived, config)
    for left in (rung.properties.headers, kept.headers):
        assert left["traceparent"] == "t"
        assert "own" not in left
        assert "bytes of headers were too many" in left["x-dropped-headers"]
        with pytest.raises(InvalidMessageError, match="Unknown schema-version"):
            envelope.read(delivery(type="thing.happened", headers=left), HANDLERS)


@pytest.mark.parametrize(
    ("type_", "keys", "kept_type"),
    [
        (None, ["thing.happened", "cc"], "thing.happened"),
        ("thing.else", ["thing.happened"], "thing.else"),
        (None, ["things.events.v1"], ""),
        (None, [], ""),
        (None, [{}], ""),
        (None, "thing.happened", ""),
    ],
)
def test_what_came_without_a_type_has_that_of_the_key_by_which_it_came(
    type_: str | None, keys: Any, kept_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HANDLERS, "thing.else", HANDLERS["thing.happened"])
    headers = {"x-death": [{"reason": "delivery_limit", "routing-keys": keys}]}
    kept = envelope.failed(
        delivery(b'{"thing": "t-1"}', "things.events.v1", type=type_, headers=headers), conf.config()
    )
    assert (kept.type, kept.subject) == (kept_type, "t-1" if kept_type else "")


@pytest.mark.parametrize("time", [datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"])
def test_the_time_of_the_failure_is_kept(time: Any) -> None:
    headers = {"x-error-type": "E", "x-failed-at": time, "x-first-failed-at": "2026-01-01T00:00:00"}
    kept = envelope.failed(delivery(headers=headers), conf.config())
    assert kept.failed_at == datetime(2026, 1, 2, tzinfo=UTC)
    assert kept.first_failed_at == datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("given", [5, [], {"a": 1}, b"\xff", "yesterday", "0001-01-01T00:00:00+23:59"])
def test_a_header_of_ours_that_holds_something_else_does_no_harm(given: Any) -> None:
    config = conf.config()
    any_delivery = delivery(headers=dict.fromkeys(["x-first-failed-at", "x-failed-at", "x-error-type"], given))
    rung = envelope.next_rung(any_delivery, config)
    assert rung is not None
    assert fits_into_a_frame(rung.properties)
    assert datetime.fromisoformat(rung.properties.headers["x-first-failed-at"]) <= datetime.now(UTC)
    assert envelope.failed(any_delivery, config).failed_at <= datetime.now(UTC)


def test_a_number_that_pika_cannot_send_is_sent_as_a_text() -> None:
    dead = envelope.dead_letter(delivery(headers={"double": 10**300}), ValueError(), conf.config())
    assert fits_into_a_frame(dead.properties)
    assert dead.properties.headers["double"] == str(10**300)


@pytest.mark.parametrize("header", ["CC", "x-death", "x-unreadable-headers"])
def test_what_only_this_delivery_means_is_not_sent_on(header: str) -> None:
    dead = envelope.dead_letter(delivery(headers={header: ["things.events.v1"]}), ValueError(), conf.config())
    assert header not in dead.properties.headers
