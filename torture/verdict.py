"""The referee: what became of the orders, apart from what the system says about itself."""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from dev.environment import SERVICES, Service
from tests.system import FINAL
from tests.waiting import eventually
from torture.arena import Arena

SETTLED_WITHIN = 90.0
"""Seconds after healing; the longest pause before a process tries again is 15."""


@dataclass
class Findings:
    lost: set[str] = field(default_factory=set)
    """Accepted orders that are missing, not final, or without a record."""
    doubled: set[str] = field(default_factory=set)
    """Orders with more than one effect, with effects that contradict each other, or that nobody has placed."""
    complaints: list[str] = field(default_factory=list)
    """Whatever else is not as it should be, in sentences."""


def judge(
    *,
    expected: Mapping[str, str],
    orders: Iterable[Mapping[str, Any]],
    records: Iterable[Mapping[str, Any]],
    decisions: Mapping[str, set[str]] | None,
    given_up: int = 0,
) -> Findings:
    """Compares how the accepted orders have to end (`expected`) with what both services keep of these customers.

    `decisions` are the ids of the messages that announced how an order ended; None when nobody read along. `given_up`
    is the number of orders of which nobody knows whether they were placed.
    """
    found = Findings()
    kept: dict[str, Mapping[str, Any]] = {}
    for order in orders:
        if order["id"] in kept:
            found.doubled.add(order["id"])
        kept[order["id"]] = order
    outcomes: dict[str, str] = {}
    for record in records:
        if record["order_id"] in outcomes or record["order_id"] not in kept:
            found.doubled.add(record["order_id"])
        outcomes[record["order_id"]] = record["outcome"]

    found.lost = {id for id in expected if id not in kept or kept[id]["status"] not in FINAL or id not in outcomes}
    for id in expected.keys() - found.lost:
        if kept[id]["status"] != outcomes[id]:
            found.doubled.add(id)
        elif kept[id]["status"] != expected[id]:
            found.complaints.append(f"order {id} is {kept[id]['status']} instead of {expected[id]}")
    not_accepted = kept.keys() - expected.keys()
    if len(not_accepted) > given_up:
        found.doubled |= not_accepted
    if decisions is not None:
        found.doubled |= {id for id in kept if len(decisions.get(id, ())) > 1}
        if silent := [id for id in expected.keys() - found.lost if not decisions.get(id)]:
            found.complaints.append(f"{len(silent)} final orders were never announced, such as {silent[0]}")
    return found


def look(arena: Arena) -> Findings:
    """Judges the orders of the arena's load, as both APIs, the exchange and the ledger show them."""
    # Must come first: what has left the outboxes has also been confirmed by the tap's queue. An order may be final
    # before that, while a cluster still elects the leader of that queue.
    leftovers = _leftovers(arena)
    found = look_at_orders(arena)
    found.complaints += [*arena.load.complaints(), *leftovers, *_what_the_ledger_says(arena)]
    return found


def look_at_orders(arena: Arena) -> Findings:
    """The referee's own judgement, without the ledger."""
    system, load = arena.system, arena.load
    decisions = None
    if arena.tap is not None and not arena.tap.reads_along():
        arena.say("RabbitMQ has lost the referee's route, so what was announced is not looked at")
    elif arena.tap is not None:
        decisions = {id: ids - arena.forged for id, ids in arena.tap.decisions().items()}
    return judge(
        expected=load.expected,
        orders=system.pages(system.orders, "/orders", customer_id=load.customer_id),
        records=system.records_of(load.customer_id),
        decisions=decisions,
        given_up=load.given_up,
    )


def wait_until_final(arena: Arena, orders: Collection[str]) -> None:
    """Returns when none of these orders is pending any more, or after too long: then the referee will see it."""
    deadline = time.monotonic() + SETTLED_WITHIN
    while time.monotonic() < deadline:
        waiting = _pending(arena)
        if waiting is not None and waiting.isdisjoint(orders):
            return
        time.sleep(0.1)


def _pending(arena: Arena) -> set[str] | None:
    """The orders of the load that are not final; None while the order service cannot be asked."""
    system = arena.system
    try:
        orders = system.pages(system.orders, "/orders", customer_id=arena.load.customer_id, status="pending")
    except httpx.HTTPError:
        return None
    return {order["id"] for order in orders}


def waiting_dead_letters(arena: Arena) -> int:
    return sum(_count(arena, service, "messaging_deadletter WHERE status = 'waiting'") for service in SERVICES)


def _leftovers(arena: Arena) -> list[str]:
    """What still waits in an outbox or a queue, though everything is final."""
    complaints = []
    try:
        eventually(
            lambda: not any(_count(arena, service, "messaging_outboxmessage") for service in SERVICES),
            "the outboxes are empty",
            within=30,
        )
        eventually(lambda: not arena.system.broker.waiting(), "the queues are empty", within=30)
    except AssertionError as error:
        complaints.append(f"{error}; in queues: {arena.system.broker.waiting()}")
    return complaints


def _what_the_ledger_says(arena: Arena) -> list[str]:
    """What is wrong in the books of both services, which have to balance too. Leaves out what earlier faults broke."""
    with ThreadPoolExecutor(len(SERVICES)) as pool:
        books = list(pool.map(partial(reconcile, arena), SERVICES))
    wrong = {
        finding["order_id"]: f"the books of the {service.name} service: {finding['what']} (order {finding['order_id']})"
        for service, book in zip(SERVICES, books, strict=True)
        for finding in (*book["missing"], *book["double"])
    }
    new = [sentence for order_id, sentence in wrong.items() if order_id not in arena.blamed]
    arena.blamed |= wrong.keys()
    return [*new[:3], *([f"and {len(new) - 3} more"] if len(new) > 3 else [])]


def reconcile(arena: Arena, service: Service, *options: str) -> dict[str, Any]:
    """What `manage.py reconcile` says about the books, whether they balance or not."""
    done = arena.system.run_command(service, "reconcile", "--json", "--limit", "0", "--older-than", "0s", *options)
    if done.returncode not in (0, 1):
        raise AssertionError(f"reconcile of the {service.name} service ended with {done.returncode}: {done.stderr}")
    book: dict[str, Any] = json.loads(done.stdout)
    assert book["balanced"] == (done.returncode == 0), f"reconcile ended with {done.returncode} and says {book}"
    return book


def _count(arena: Arena, service: Service, rows: str) -> int:
    [(number,)] = arena.query(service, f"SELECT count(*) FROM {rows}")
    return int(number)
