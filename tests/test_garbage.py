"""Whatever is put on a work queue ends up where an operator finds it, and holds up nothing else."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest

from dev.environment import ORDER, PROCESSOR, Service
from tests.broker import ORDER_QUEUE, PROCESSOR_QUEUE
from tests.events import order_created, order_processed
from tests.system import System

type Bad = tuple[bytes | dict[str, Any], dict[str, Any]]
"""A body and the message's properties."""

QUEUES = {ORDER: ORDER_QUEUE, PROCESSOR: PROCESSOR_QUEUE}


def garbage(service: Service) -> dict[str, Bad]:
    """Messages that this service cannot take, by what is wrong with each."""
    order_id = str(uuid4())
    good = order_created(order_id) if service is PROCESSOR else order_processed(order_id)
    for_both: dict[str, Bad] = {
        "no JSON": (b"<order/>", {}),
        "an empty body": (b"", {}),
        "no UTF-8": (b'{"order_id": "\xff\xfe"}', {}),
        "a list": (b"[]", {}),
        "no fields": (b"{}", {}),
        "a body nested too deeply": (b"[" * 100_000, {}),
        "an id that is none": ({**good, "order_id": "17"}, {}),
        "an id of 5,000 digits": (json.dumps(good).replace(f'"{order_id}"', "9" * 5_000).encode(), {}),
        "an unknown type": (good, {"type": "order.vanished"}),
        "an unknown version": (good, {"headers": {"schema-version": 99}}),
    }
    if service is ORDER:
        return for_both | {
            "an unknown status": ({**good, "status": "perhaps"}, {}),
            "a NUL in a text": ({**good, "error_message": "\0"}, {}),
            "an unknown order": (good, {}),
        }
    return for_both | {
        "a total that is NaN": ({**good, "total_amount": math.nan}, {}),
        "a total that takes minutes to compute with": (json.dumps(good).replace("37.0", "1e3000000").encode(), {}),
        "a total in a string": ({**good, "total_amount": "37.00"}, {}),
        "items that are a text": ({**good, "items": "beans"}, {}),
        "a NUL in a text": ({**good, "customer_id": "\0"}, {}),
    }


@pytest.mark.parametrize("service", [ORDER, PROCESSOR], ids=lambda service: service.name)
def test_garbage_ends_in_the_dead_letters_with_a_reason_and_stops_nobody(system: System, service: Service) -> None:
    bad = garbage(service)
    ids = {kind: str(uuid4()) for kind in bad}

    system.broker.publish_all(
        [(body, {**properties, "message_id": ids[kind]}) for kind, (body, properties) in bad.items()],
        routing_key=QUEUES[service],
    )

    system.wait_for_status(system.post_order()["id"], "completed")

    def arrived() -> dict[str, dict[str, Any]] | None:
        letters = {letter["message_id"]: letter for letter in system.dead_letters(service)}
        found = {kind: letters[message_id] for kind, message_id in ids.items() if message_id in letters}
        return found if len(found) == len(ids) else None

    letters = system.wait(arrived, "all garbage is among the dead letters")
    for kind, letter in letters.items():
        assert letter["error_message"], kind
        assert (letter["queue"], letter["attempts"], letter["occurrences"]) == (QUEUES[service], 1, 1), kind
    assert "order.vanished" in letters["an unknown type"]["error_message"]
    assert "99" in letters["an unknown version"]["error_message"]
    assert "order_id" in letters["an id that is none"]["error_message"]
    system.wait(lambda: not system.broker.waiting(), "the queues are empty")


@pytest.mark.parametrize("service", [ORDER, PROCESSOR], ids=lambda service: service.name)
def test_headers_that_cannot_be_read_cost_nobody_the_connection(system: System, service: Service) -> None:
    consume = system.programs[f"{service.name}-consume"]
    before = consume.position
    order = system.post_order()
    system.wait_for_status(order["id"], "completed")
    good = order_created(order["id"]) if service is PROCESSOR else order_processed(order["id"])

    with deep_recursion():
        system.broker.publish(
            good, routing_key=QUEUES[service], message_id=str(uuid4()), headers={"deep": nested(3_000)}
        )

    system.wait_for_status(system.post_order()["id"], "completed")
    letters = system.wait(
        lambda: [letter for letter in system.dead_letters(service) if "headers" in letter["error_message"]],
        "a dead letter about the headers",
    )
    assert len(letters) == 1
    assert not [line for line in consume.lines(since=before) if "away" in line["message"]]


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@contextmanager
def deep_recursion() -> Iterator[None]:
    """Writing the deepest headers takes more recursion than Python allows by default."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)
