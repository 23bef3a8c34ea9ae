"""Shops that post many orders at once, and do not give up."""

import threading
from collections.abc import Iterator
from typing import Any, Self
from uuid import uuid4

import httpx

from tests.broker import Tap
from tests.system import System, new_customer, new_order
from tests.waiting import BOUND


class Load:
    """Posts `orders` orders over `connections` connections, each order again and again until it is accepted.

    Each order has its own Idempotency-Key: whatever goes down meanwhile, sending it again places no second one.
    A context manager; leaving it early stops the posting.
    """

    def __init__(self, system: System, *, orders: int, connections: int = 8) -> None:
        self._system = system
        self.customer_id = new_customer()
        self._orders = orders
        self.accepted: list[str] = []
        """The ids of the orders that were answered with 201."""
        self._failures: list[str] = []
        self._keys: Iterator[str] = iter([str(uuid4()) for _ in range(orders)])
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._post, daemon=True) for _ in range(connections)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join(BOUND)

    def wait_until_accepted(self, number: int) -> None:
        """Waits until this many are accepted, while the rest are still being posted."""
        self._system.wait(lambda: self._failures or len(self.accepted) >= number, f"{number} accepted orders")
        assert not self._failures, self._failures

    def finish(self) -> list[str]:
        """Waits until all of them are accepted; returns the ids."""
        self.wait_until_accepted(self._orders)
        assert len(set(self.accepted)) == self._orders
        return self.accepted

    def _post(self) -> None:
        with httpx.Client(base_url=self._system.url("order-web"), timeout=BOUND) as client:
            while (key := self._next_key()) is not None:
                self._post_one(client, key)

    def _next_key(self) -> str | None:
        with self._lock:
            return None if self._stopped.is_set() else next(self._keys, None)

    def _post_one(self, client: httpx.Client, key: str) -> None:
        body = new_order(customer_id=self.customer_id)
        while not self._stopped.is_set():
            try:
                answer = client.post("/orders", json=body, headers={"Idempotency-Key": key})
            except httpx.TransportError:
                pass  # nobody answered, or hung up: the order may be placed or not
            else:
                if answer.status_code == 201:
                    self.accepted.append(answer.json()["id"])
                    return
                if answer.status_code not in (409, 503):
                    self._failures.append(f"{answer.status_code}: {answer.text}")
                    return
            self._stopped.wait(0.05)


def assert_all_took_effect_once(system: System, load: Load, tap: Tap) -> None:
    """Asserts that each accepted order is completed, with one record, and was decided once. There are no others."""
    accepted = set(load.accepted)
    orders = system.wait_until_final(load.customer_id)
    assert {order["status"] for order in orders} == {"completed"}
    assert sorted(order["id"] for order in orders) == sorted(accepted)
    records: list[dict[str, Any]] = system.records_of(load.customer_id)
    assert sorted(record["order_id"] for record in records) == sorted(accepted)
    if not tap.reads_along():
        return  # a killed RabbitMQ may forget the tap's route: what it has not seen then proves nothing
    decided = {order_id: ids for order_id, ids in tap.decisions().items() if order_id in accepted}
    assert decided.keys() == accepted
    assert {order_id for order_id, ids in decided.items() if len(ids) > 1} == set()
