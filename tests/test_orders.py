"""What a shop sees: it posts an order and reads how it ended."""

import json
import os
from functools import partial

from tests.system import System, new_correlation_id, new_order


def test_an_order_is_accepted_and_becomes_completed(system: System) -> None:
    body = new_order(price=19.95, quantity=2)

    answer = system.orders.post("/orders", json=body)

    assert answer.status_code == 201
    order = answer.json()
    assert answer.headers["Location"] == f"/orders/{order['id']}"
    assert (order["status"], order["error_message"]) == ("pending", None)
    assert (order["customer_id"], order["items"], order["total_amount"]) == (body["customer_id"], body["items"], 39.9)

    final = system.wait_for_status(order["id"], "completed")

    changed = {"status", "updated_at"}
    assert {key: value for key, value in final.items() if key not in changed} == {
        key: value for key, value in order.items() if key not in changed
    }
    record = system.wait_for_record(order["id"])
    assert (record["outcome"], record["reason"], record["attempts"]) == ("completed", None, 1)
    assert (record["customer_id"], record["total_amount"], record["item_count"]) == (body["customer_id"], 39.9, 1)


def test_an_order_above_the_limit_fails_with_the_reason(system: System) -> None:
    order = system.post_order(price=50_000.01, quantity=2)

    final = system.wait_for_status(order["id"], "failed")

    assert "100000" in final["error_message"]
    record = system.wait_for_record(order["id"])
    assert (record["outcome"], record["reason"]) == ("failed", final["error_message"])


def test_an_order_of_exactly_the_limit_is_completed(system: System) -> None:
    order = system.post_order(price=50_000, quantity=2)

    assert system.wait_for_status(order["id"], "completed")["error_message"] is None


def test_an_order_that_does_not_hold_is_refused_and_leaves_nothing(system: System) -> None:
    body = new_order(quantity=0)
    with system.broker.tap() as tap:
        answer = system.orders.post("/orders", json=body)

        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/items/0/quantity"]
        assert system.orders.get("/orders", params={"customer_id": body["customer_id"]}).json()["results"] == []
        after = system.post_order()
        system.wait_for_status(after["id"], "completed")
        announced = {event.body["customer_id"] for event in tap.events("order.created")}
        assert announced == {after["customer_id"]}


def test_the_correlation_id_of_the_request_is_in_every_log_and_on_the_record(system: System) -> None:
    correlation_id = new_correlation_id()
    with system.broker.tap() as tap:
        answer = system.orders.post("/orders", json=new_order(), headers={"X-Request-ID": correlation_id})
        order_id = answer.json()["id"]
        system.wait_for_status(order_id, "completed")

        assert answer.headers["X-Request-ID"] == correlation_id
        assert system.wait_for_record(order_id)["correlation_id"] == correlation_id
        for type_ in ("order.created", "order.processed"):
            assert {event.properties.correlation_id for event in tap.events(type_, order_id)} == {correlation_id}
    for name, service in {
        "order-web": "orders",
        "order-relay": "orders",
        "order-consume": "orders",
        "processor-consume": "processor",
        "processor-relay": "processor",
    }.items():
        find = partial(system.programs[name].lines, correlation_id=correlation_id)
        lines = system.wait(find, f"{correlation_id} in {name}'s log")
        assert {(line["service"], line["process"]) for line in lines} == {(service, name.partition("-")[2])}
        assert not any("espresso" in str(line) for line in lines), "a payload is in the log"


def test_the_metrics_tell_of_an_order_from_acceptance_to_its_end(system: System) -> None:
    counted = {
        ("order-web", "orders_accepted_total", ()): 1,
        ("order-web", "http_requests_total", (("method", "POST"), ("route", "/orders"), ("status", "201"))): 1,
        ("order-relay", "messaging_published_total", (("type", "order.created"),)): 1,
        ("processor-consume", "messaging_handled_total", (("type", "order.created"),)): 1,
        ("processor-consume", "orders_processed_total", (("outcome", "completed"),)): 1,
        ("processor-relay", "messaging_published_total", (("type", "order.processed"),)): 1,
        ("order-consume", "messaging_handled_total", (("type", "order.processed"),)): 1,
        ("order-consume", "orders_final_total", (("outcome", "completed"),)): 1,
        ("order-consume", "order_seconds_to_final_count", ()): 1,
    }
    before = {key: system.metric(key[0], key[1], **dict(key[2])) for key in counted}

    system.wait_for_status(system.post_order()["id"], "completed")

    def grown() -> dict[object, float]:
        return {key: system.metric(key[0], key[1], **dict(key[2])) - before[key] for key in counted}

    system.wait(lambda: grown() == counted, "each process has counted the order once")
    system.wait_for_empty_outboxes()


def test_every_line_that_a_process_writes_is_one_json_object_with_the_same_keys(system: System) -> None:
    system.wait_for_status(system.post_order()["id"], "completed")

    for name, program in system.programs.items():
        lines = [json.loads(line) for line in program.text().splitlines()]
        assert lines, name
        for line in lines:
            assert line.keys() >= {"time", "level", "logger", "message", "service", "process", "correlation_id"}, line
            assert line["process"] == name.partition("-")[2]


def test_relays_and_consumers_give_way_to_whoever_takes_orders(system: System) -> None:
    nicer = {
        name: os.getpriority(os.PRIO_PROCESS, program.pid or 0) - os.nice(0)
        for name, program in system.programs.items()
    }

    assert nicer == {name: 0 if name.endswith("-web") else 10 for name in nicer}
