"""Customers who wait for the end of their order, at the real service."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.browser import Browser
from tests.system import System

PROCESSOR_CONSUME = "processor-consume"


@pytest.fixture
def undecided(system: System) -> Iterator[System]:
    """The system, in which no order is decided until the processor's consumer is started again."""
    system.stop(PROCESSOR_CONSUME)
    yield system
    system.heal()


def waiting_clients(system: System) -> float:
    return system.metric("order-web", "http_waiting_clients")


def events(text: str) -> list[tuple[str, str, str]]:
    """Id, name and the order's status of each event."""
    found = []
    for block in text.strip().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append((fields["id"], fields["event"], json.loads(fields["data"])["status"]))
    return found


@pytest.mark.parametrize("how", [{"params": {"wait": 60}}, {"headers": {"Prefer": "wait=60"}}], ids=["query", "Prefer"])
def test_a_shop_that_waits_has_the_outcome_with_one_request(system: System, how: dict[str, dict[str, str]]) -> None:
    order_id = system.post_order()["id"]

    answer = httpx.get(f"{system.url('order-web')}/orders/{order_id}", timeout=90, **how)  # type: ignore[arg-type]

    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert answer.json() == system.order(order_id)


def test_while_nobody_decides_the_shop_has_its_answer_when_the_time_is_up(undecided: System) -> None:
    order_id = undecided.post_order()["id"]

    answer = undecided.orders.get(f"/orders/{order_id}", params={"wait": 1}, headers={"X-Request-ID": order_id})

    assert (answer.status_code, answer.json()["status"]) == (200, "pending")
    [line] = undecided.wait(
        lambda: undecided.programs["order-web"].lines(correlation_id=order_id, message="request"), "the request's line"
    )
    assert line["waited_ms"] >= 900
    assert waiting_clients(undecided) == 0


def test_more_shops_wait_than_there_are_threads_and_others_are_served(undecided: System) -> None:
    order_ids = [undecided.post_order()["id"] for _ in range(40)]

    def ask(order_id: str) -> str:
        answer = httpx.get(f"{undecided.url('order-web')}/orders/{order_id}?wait=60", timeout=90)
        return str(answer.json()["status"])

    with ThreadPoolExecutor(len(order_ids)) as pool:
        asked = [pool.submit(ask, order_id) for order_id in order_ids]
        undecided.wait(lambda: waiting_clients(undecided) == len(order_ids), "all of them wait")
        assert undecided.post_order()["status"] == "pending"
        assert not any(answer.done() for answer in asked)
        undecided.start(PROCESSOR_CONSUME)
        assert {answer.result() for answer in asked} == {"completed"}
    assert waiting_clients(undecided) == 0


def test_the_events_of_an_order_tell_its_way_and_then_no_more(undecided: System) -> None:
    path = f"/orders/{undecided.post_order()['id']}/events"
    client = httpx.Client(base_url=undecided.url("order-web"), timeout=90)
    told = ""

    with client, client.stream("GET", path, headers={"Accept": "text/event-stream"}) as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        parts = answer.iter_text()
        while not events(told):
            told += next(parts)
        assert events(told) == [("pending", "status", "pending")]
        undecided.start(PROCESSOR_CONSUME)
        told += "".join(parts)

    assert events(told) == [("pending", "status", "pending"), ("completed", "status", "completed")]
    again = undecided.orders.get(path, headers={"Last-Event-ID": "completed"})
    assert (again.status_code, again.content) == (204, b"")


def test_a_browser_follows_an_order_and_stops_by_itself(undecided: System, the_browser: Browser) -> None:
    url = f"{undecided.url('order-web')}/orders/{undecided.post_order()['id']}"
    the_browser.forget()
    the_browser.open(url)
    the_browser.driver.execute_script(
        """
        window.told = [];
        window.source = new EventSource(arguments[0]);
        source.addEventListener("status", (event) => told.push(event.lastEventId, JSON.parse(event.data).status));
        """,
        f"{url}/events",
    )

    def told() -> list[str]:
        return list(the_browser.driver.execute_script("return told"))

    undecided.wait(lambda: told() == ["pending", "pending"], "the browser has the first event")
    undecided.start(PROCESSOR_CONSUME)

    # EventSource connects once more and is answered 204.
    undecided.wait(lambda: the_browser.driver.execute_script("return source.readyState") == 2, "it is closed")
    assert told() == ["pending", "pending", "completed", "completed"]


def test_a_web_server_that_stops_answers_those_who_wait(undecided: System) -> None:
    order_id = undecided.post_order()["id"]
    url = f"{undecided.url('order-web')}/orders/{order_id}"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(httpx.get, f"{url}?wait=60", timeout=90)
        following = pool.submit(httpx.get, f"{url}/events", timeout=90)
        undecided.wait(lambda: waiting_clients(undecided) == 2, "both wait")

        ended = undecided.stop("order-web")

        assert ended.code == 0, ended
        assert (waiting.result().status_code, waiting.result().json()["status"]) == (200, "pending")
        assert events(following.result().text) == [("pending", "status", "pending")]
