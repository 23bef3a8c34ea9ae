"""One key, one order, however often and from however many threads it is sent."""

import threading
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import httpx

from tests.load import Load, assert_all_took_effect_once
from tests.system import System, new_order

AT_ONCE = 20


def test_the_same_key_from_twenty_threads_places_one_order(system: System) -> None:
    body, key = new_order(), str(uuid4())
    together = threading.Barrier(AT_ONCE)

    def post(_: int) -> httpx.Response:
        with httpx.Client(base_url=system.url("order-web"), timeout=30) as client:
            together.wait()
            return client.post("/orders", json=body, headers={"Idempotency-Key": key})

    with system.broker.tap() as tap:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            answers = list(threads.map(post, range(AT_ONCE)))

        assert {answer.status_code for answer in answers} <= {201, 409}
        placed = [answer for answer in answers if answer.status_code == 201]
        (order,) = {answer.text: answer.json() for answer in placed}.values()
        assert sum("Idempotent-Replayed" not in answer.headers for answer in placed) == 1
        system.wait_for_status(order["id"], "completed")
        assert len(system.pages(system.orders, "/orders", customer_id=body["customer_id"])) == 1
        assert len(system.records_of(body["customer_id"])) == 1
        assert len(tap.events("order.created", order["id"])) == 1

        # The first answer comes again later, whatever has become of the order.
        again = system.orders.post("/orders", json=body, headers={"Idempotency-Key": key})
        assert (again.status_code, again.headers["Idempotent-Replayed"]) == (201, "true")
        assert again.json() == order

        other = system.orders.post("/orders", json=new_order(), headers={"Idempotency-Key": key})
        assert other.status_code == 422
        assert "Idempotency-Key" in other.json()["detail"]


def test_a_thousand_orders_over_sixteen_connections_all_take_effect_once(system: System) -> None:
    with system.broker.tap() as tap, Load(system, orders=1_000, connections=16) as load:
        load.finish()

        assert_all_took_effect_once(system, load, tap)
    system.wait_for_empty_outboxes()
    # What a consumer has in hand does not count as waiting, so the consumers are stopped.
    for name in ("order-consume", "processor-consume"):
        system.stop(name)
    system.wait(lambda: not system.broker.waiting(), "the queues are empty")
