"""Shops that post orders all the time, at a steady pace, and do not give up."""

import threading
import time
from uuid import uuid4

import httpx

from tests.system import System, new_customer, new_order
from tests.waiting import BOUND, eventually

CONNECTIONS = 8
_TOO_DEAR_EVERY = 10
_PAUSE = 0.2
"""Seconds before a shop that got no 201 asks again."""


class Load:
    """Posts `rate` orders a second, each again and again until it is accepted. Every tenth is above the limit.

    Each has an Idempotency-Key of its own, so there must be exactly one order for each 201, whatever goes down.
    A context manager; leaving it early stops the posting.
    """

    def __init__(self, system: System, *, rate: float) -> None:
        self._url = system.url("order-web")
        self.customer_id = new_customer()
        self.accepted: list[str] = []
        """The ids of the orders that were answered with 201."""
        self.expected: dict[str, str] = {}
        """How each accepted order has to end: `completed` or `failed`."""
        self.refused = 0
        """How many answers asked to try again: 503, 409."""
        self.unanswered = 0
        """How many requests got no answer."""
        self.given_up = 0
        """How many orders were still not accepted when the posting had to end: they may exist or not."""
        self.failures: list[str] = []
        """Answers that no shop should get."""
        self._interval = 1 / rate
        self._next_at = 0.0
        self._number = 0
        self._lock = threading.Lock()
        self._running = threading.Event()
        self._running.set()
        self._finishing = threading.Event()
        self._stopped = threading.Event()
        self._threads = [threading.Thread(target=self._post, daemon=True) for _ in range(CONNECTIONS)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._finishing.set()
        self._stopped.set()
        self._running.set()
        for thread in self._threads:
            thread.join(BOUND)

    def wait_until_accepted(self, number: int) -> None:
        """Waits until this many are accepted in all, while others are being posted."""
        self.resume()
        eventually(lambda: self.failures or len(self.accepted) >= number, f"{number} accepted orders")

    def wait_for_more(self, number: int) -> None:
        """Waits until this many more are accepted."""
        self.wait_until_accepted(len(self.accepted) + number)

    def pause(self) -> None:
        """Posts no new order until `resume`. Goes on with those that are not accepted yet."""
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def finish(self) -> None:
        """Posts no new order and goes on until all that were begun are accepted."""
        self._finishing.set()
        self._running.set()
        deadline = time.monotonic() + BOUND
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._stopped.set()
        for thread in self._threads:
            thread.join(BOUND)

    def complaints(self) -> list[str]:
        """What no shop should have met, in sentences. To be called when the posting is finished."""
        complaints = self.failures[:3]
        if self.given_up:
            complaints.append(f"{self.given_up} orders were still not accepted {BOUND:g} s after the last was begun")
        if same := len(self.accepted) - len(self.expected):
            complaints.append(f"{same} orders were answered with the id of another")
        return complaints

    def _post(self) -> None:
        with httpx.Client(base_url=self._url, timeout=BOUND) as client:
            while (number := self._next()) is not None:
                self._post_one(client, too_dear=number % _TOO_DEAR_EVERY == 0)

    def _next(self) -> int | None:
        """Waits until another order is due, and returns its number; None if there is to be none."""
        with self._lock:
            self._next_at = max(time.monotonic(), self._next_at + self._interval)
            due_at = self._next_at
            self._number += 1
            number = self._number
        self._finishing.wait(due_at - time.monotonic())
        self._running.wait()
        return None if self._finishing.is_set() else number

    def _post_one(self, client: httpx.Client, *, too_dear: bool) -> None:
        body = new_order(customer_id=self.customer_id, price=60_000 if too_dear else 18.5)
        headers = {"Idempotency-Key": str(uuid4())}
        while not self._stopped.is_set():
            try:
                answer = client.post("/orders", json=body, headers=headers)
            except httpx.TransportError:  # nobody answered, or hung up: the order may be placed or not
                self._count("unanswered")
            else:
                if answer.status_code == 201:
                    order_id = answer.json()["id"]
                    self.expected[order_id] = "failed" if too_dear else "completed"
                    self.accepted.append(order_id)
                    return
                if answer.status_code not in (409, 503):
                    self.failures.append(f"POST /orders was answered with {answer.status_code}: {answer.text[:300]}")
                    return
                self._count("refused")
            self._stopped.wait(_PAUSE)
        self._count("given_up")

    def _count(self, what: str) -> None:
        with self._lock:
            setattr(self, what, getattr(self, what) + 1)
