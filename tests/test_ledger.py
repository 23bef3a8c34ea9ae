"""The books of both services: whatever is removed by hand is found, named and mended."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from dev.environment import ORDER, PROCESSOR, SERVICES, Service
from tests.broker import ORDER_QUEUE, PROCESSOR_QUEUE
from tests.conftest import fresh_places, running
from tests.load import Load, assert_all_took_effect_once
from tests.system import System
from tests.waiting import BOUND

DUE = ("--older-than", "1s", "--again-after", "1s")
"""What has not moved for a second is due: these tests know when nothing is under way."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own: other tests leave events behind that belong to no order."""
    with fresh_places() as places, running(places, tmp_path_factory.mktemp("ledger")) as system:
        system.migrate()
        system.start()
        # A tap takes all that is published, so nothing would come back as unroutable before the queues are bound.
        queues = {ORDER_QUEUE, PROCESSOR_QUEUE}
        system.wait(lambda: queues <= system.broker.bound_queues(), "both queues are bound")
        yield system


@pytest.fixture
def system(shop: System) -> System:
    shop.heal()
    return shop


@dataclass(frozen=True, slots=True)
class Reconciled:
    code: int
    out: str
    error: str

    @property
    def found(self) -> dict[str, Any]:
        return dict(json.loads(self.out))

    def what(self) -> dict[str, str]:
        """What is wrong, by the id of each order with which something is wrong."""
        return {finding["order_id"]: finding["what"] for name in ("missing", "double") for finding in self.found[name]}


def command(system: System, service: Service, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "reconcile", *arguments],
        cwd=service.folder,
        env=system.environment(f"{service.name}-web"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: "subprocess.Popen[str]") -> Reconciled:
    out, error = process.communicate(timeout=2 * BOUND)
    return Reconciled(process.returncode, out, error)


def reconcile(system: System, service: Service, *arguments: str) -> Reconciled:
    return ended(command(system, service, *arguments))


def reconciled(system: System, wanted: Callable[[dict[str, Any]], bool], what: str) -> dict[str, Any]:
    """What the order service finds, once it is as wanted: the broker's statistics lag, and orders must become due."""

    def look() -> dict[str, Any] | None:
        found = reconcile(system, ORDER, "--json", *DUE).found
        return found if wanted(found) else None

    return system.wait(look, what, within=2 * BOUND)


def execute(system: System, service: Service, statement: str, *parameters: Any) -> int:
    url = system.database_of(service)
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), parameters).rowcount


def purge(system: System, queue: str, messages: int) -> None:
    """Removes all messages of a queue, once there are this many."""
    system.wait(lambda: system.broker.waiting().get(queue) == messages, f"{queue} holds {messages} messages")
    with system.broker.channel() as channel:
        channel.queue_purge(queue)


def placed(system: System, number: int = 1) -> list[dict[str, Any]]:
    """Orders that have become final."""
    orders = [system.post_order() for _ in range(number)]
    return [system.wait_for_status(order["id"], "completed") for order in orders]


def lose_on_the_way(system: System) -> dict[str, str]:
    """Loses an order in the outbox, one on the broker, and one result on the broker."""
    system.stop("order-relay")
    unpublished = system.post_order()["id"]
    assert execute(system, ORDER, "DELETE FROM messaging_outboxmessage") == 1
    system.start("order-relay")

    system.stop("processor-consume")
    undelivered = system.post_order()["id"]
    purge(system, PROCESSOR_QUEUE, 1)
    system.start("processor-consume")

    system.stop("order-consume")
    unreported = system.post_order()["id"]
    system.wait_for_record(unreported)
    purge(system, ORDER_QUEUE, 1)
    system.start("order-consume")
    return {
        unpublished: "order.created lost",
        undelivered: "order.created lost",
        unreported: "order.processed lost",
    }


def remove_by_hand(system: System) -> dict[str, str]:
    """Deletes an order, the items of another, and a record."""
    bare, incomplete = placed(system, 2)
    for order in (bare, incomplete):
        execute(system, ORDER, "DELETE FROM orders_orderitem WHERE order_id = %s", order["id"])
    execute(system, ORDER, "DELETE FROM orders_order WHERE id = %s", bare["id"])
    (forgotten,) = placed(system)
    execute(system, PROCESSOR, "DELETE FROM processing_processingrecord WHERE order_id = %s", forgotten["id"])
    return {bare["id"]: "order missing", incomplete["id"]: "items missing", forgotten["id"]: "record missing"}


def test_the_books_balance_after_load_and_count_every_order(system: System) -> None:
    with system.broker.tap() as tap, Load(system, orders=300) as load:
        accepted = load.finish()
        assert_all_took_effect_once(system, load, tap)

    for service in SERVICES:
        done = reconcile(system, service, "--json")
        assert (done.code, done.error) == (0, "")
        found = done.found
        assert found["balanced"] is True
        assert found["counted"] == found["places"]["final"] == len(accepted)
        assert (found["missing"], found["double"], found["stuck"]) == ([], [], [])


def test_the_books_balance_under_load(system: System) -> None:
    with Load(system, orders=20_000) as load:
        load.wait_until_accepted(300)
        done = [reconcile(system, service, "--json", *DUE) for service in SERVICES]
        assert len(load.accepted) < 20_000, "the load has ended before the books were read"

    assert [(one.code, one.found["missing"], one.found["double"]) for one in done] == [(0, [], [])] * 2
    system.wait_until_final(load.customer_id)


def test_what_is_lost_or_removed_is_found_and_mended_and_nothing_takes_effect_twice(
    system: System, tmp_path: Path
) -> None:
    wrong = lose_on_the_way(system) | remove_by_hand(system)
    as_removed = {order_id: system.record(order_id) for order_id in wrong}

    with system.broker.tap() as tap:
        found = reconciled(system, lambda found: found["missing_count"] == len(wrong), "all that is missing is found")
        assert found["balanced"] is False
        assert {finding["order_id"]: finding["what"] for finding in found["missing"]} == wrong
        file = str(tmp_path / "orders.jsonl")
        assert reconcile(system, ORDER, "--export", file).code == 0
        for more in ((), ("--from", file)):
            other = reconcile(system, PROCESSOR, "--json", *DUE, *more)
            assert (other.code, other.what()) == (1, wrong)
        assert not tap.decisions(), "looking mends nothing"

        first = reconcile(system, ORDER, "--json", *DUE, "--repair")
        assert first.found["repaired"] == 4
        assert set(first.what().values()) == {"order.processed lost", "record missing"}
        second = reconcile(system, PROCESSOR, "--json", *DUE, "--repair")
        assert (second.code, second.found["repaired"], second.what()) == (0, 2, {})

        for order_id, what in wrong.items():
            order = system.wait_for_status(order_id, "completed")
            assert [item["product_id"] for item in order["items"]] == ["espresso-beans-1kg"]
            assert order["total_amount"] == 37.0
            record, before = system.record(order_id), as_removed[order_id]
            assert record is not None
            assert (record["restored_at"] is not None) == (what == "record missing")
            if before is not None:
                assert record == before, "an order that was decided is not decided again"
        # Only undecided orders were decided now, each once; the lost result was announced once more.
        told = {order_id for order_id, what in wrong.items() if what.endswith(" lost")}
        assert {order_id: len(ids) for order_id, ids in tap.decisions().items()} == dict.fromkeys(told, 1)

    for service in SERVICES:
        again = reconcile(system, service, "--json", *DUE, "--repair")
        assert (again.code, again.found["repaired"]) == (0, 0)


def test_people_read_what_is_wrong_and_what_to_do_about_it(system: System) -> None:
    (order,) = placed(system)
    fail = "UPDATE orders_order SET status = 'failed', error_message = 'No.' WHERE id = %s"
    execute(system, ORDER, fail, order["id"])
    reconciled(system, lambda found: found["double_count"] == 1, "the order is due, and double")

    early = reconcile(system, PROCESSOR, "--older-than", "1h")
    assert (early.code, early.out.rstrip().endswith("look again later.")) == (0, True)
    assert "of them moved within the last 1h and cannot be judged yet" in early.out

    done = reconcile(system, PROCESSOR, *DUE, "--repair")

    assert done.code == 1
    assert "CONTRADICTION  1 order" in done.out
    assert order["id"] in done.out
    assert "A person has to decide" in done.out
    assert done.out.rstrip().endswith("counted, 1 double.")
    assert "\x1b" not in done.out
    assert done.error == "", "no progress bar where nobody watches"
    assert system.order(order["id"])["status"] == "failed", "nobody decides it but a person"
    execute(
        system, ORDER, "UPDATE orders_order SET status = 'completed', error_message = NULL WHERE id = %s", order["id"]
    )
    assert reconcile(system, PROCESSOR, *DUE).code == 0


def test_what_waits_is_counted_where_it_waits_and_is_not_missing(system: System) -> None:
    final = reconcile(system, ORDER, "--json").found["places"]["final"]
    # From the last step back, so that each order gets just as far as it should.
    system.stop("order-consume")
    result_broker = system.post_order()["id"]
    system.wait(lambda: system.broker.waiting().get(ORDER_QUEUE) == 1, "the result is on the broker")
    system.stop("processor-relay")
    result_outbox = system.post_order()["id"]
    system.wait_for_record(result_outbox)
    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1")
    dead_letter = system.post_order(correlation_id="ledger-dead")["id"]
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id="ledger-dead")
    system.stop("processor-consume")
    broker = system.post_order()["id"]
    system.wait(lambda: system.broker.waiting().get(PROCESSOR_QUEUE) == 1, "the order is on the broker")
    system.stop("order-relay")
    outbox = system.post_order()["id"]

    where = {
        "outbox": outbox,
        "broker": broker,
        "dead_letter": dead_letter,
        "result_outbox": result_outbox,
        "result_broker": result_broker,
    }
    found = reconciled(system, lambda found: found["stuck_count"] == len(where), "all of them are stuck")

    assert found["balanced"] is True
    assert found["places"] == dict.fromkeys(found["places"], 0) | dict.fromkeys(where, 1) | {"final": final}
    assert {finding["what"]: finding["order_id"] for finding in found["stuck"]} == where
    other = reconcile(system, PROCESSOR, "--json", *DUE)
    assert (other.code, other.found["places"]) == (0, found["places"])
    repaired = reconcile(system, ORDER, "--json", *DUE, "--repair").found["repaired"]
    assert repaired == 0, "what waits needs no mending"

    system.heal()
    system.manage(PROCESSOR, "dead_letters", "replay", str(letter["id"]))
    for order_id in where.values():
        system.wait_for_status(order_id, "completed")
    assert reconcile(system, ORDER).code == 0


def test_what_somebody_has_discarded_is_listed_and_not_sent_again(system: System) -> None:
    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1")
    order_id = system.post_order(correlation_id="ledger-discarded")["id"]
    letter = system.wait_for_dead_letter(PROCESSOR, correlation_id="ledger-discarded")
    system.manage(PROCESSOR, "dead_letters", "discard", str(letter["id"]), "--by", "anna")

    found = reconciled(system, lambda found: found["discarded_count"] == 1, "the order is discarded")

    assert (found["balanced"], found["missing"], found["stuck"]) == (True, [], [])
    assert [(finding["order_id"], finding["what"]) for finding in found["discarded"]] == [(order_id, "discarded")]
    for service in SERVICES:
        done = reconcile(system, service, *DUE, "--repair")
        assert (done.code, done.out.startswith("Mended 0 orders.")) == (0, True)
        assert "DISCARDED  1 order" in done.out
        assert order_id in done.out
    # Once nobody knows of the decision, it is like any order whose message is nowhere.
    system.heal()
    execute(system, PROCESSOR, "DELETE FROM messaging_operatoraction")
    assert reconcile(system, ORDER, "--json", *DUE, "--repair").found["repaired"] == 1
    system.wait_for_status(order_id, "completed")


def test_two_repairs_at_once_mend_everything_and_decide_nothing_twice(system: System) -> None:
    system.stop("order-relay")
    lost = [system.post_order()["id"] for _ in range(30)]
    assert execute(system, ORDER, "DELETE FROM messaging_outboxmessage") == len(lost)
    system.start("order-relay")
    removed = [order["id"] for order in placed(system, 10)]
    execute(system, ORDER, "DELETE FROM orders_orderitem WHERE order_id = ANY (%s)", removed)
    execute(system, ORDER, "DELETE FROM orders_order WHERE id = ANY (%s)", removed)
    forgotten = [order["id"] for order in placed(system, 10)]
    execute(system, PROCESSOR, "DELETE FROM processing_processingrecord WHERE order_id = ANY (%s)", forgotten)
    reconciled(system, lambda found: found["missing_count"] == 50, "all that is missing is found")

    with system.broker.tap() as tap:
        for service in SERVICES:
            two = [command(system, service, "--json", *DUE, "--repair") for _ in range(2)]
            assert {ended(one).code for one in two} <= {0, 1}
        for order_id in (*lost, *removed, *forgotten):
            assert len(system.wait_for_status(order_id, "completed")["items"]) == 1
            assert system.record(order_id) is not None
        assert {order_id: len(ids) for order_id, ids in tap.decisions().items()} == dict.fromkeys(lost, 1)
    for service in SERVICES:
        assert reconcile(system, service, *DUE).code == 0


@pytest.mark.parametrize(
    ("service", "peer", "variable"),
    [(ORDER, "processor-web", "PROCESSOR_API_URL"), (PROCESSOR, "order-web", "ORDERS_API_URL")],
    ids=["order", "processor"],
)
def test_without_the_other_service_it_says_so_in_one_sentence(
    system: System, service: Service, peer: str, variable: str
) -> None:
    system.stop(peer)

    done = reconcile(system, service, "--json", "--repair")

    assert (done.code, done.out) == (2, "")
    assert variable in done.error
    assert "does not answer: " in done.error
    assert len(done.error.splitlines()) == 1


def test_an_order_that_only_a_queue_could_have_is_not_called_lost_without_the_broker(system: System) -> None:
    """It may be where nobody can look."""
    system.stop("processor-consume")
    order = system.post_order()
    system.wait(lambda: system.broker.waiting().get(PROCESSOR_QUEUE) == 1, "the order is on the broker")
    system.restart("processor-web", RABBITMQ_URL="amqp://nobody:wrong@127.0.0.1:1/", RABBITMQ_MANAGEMENT_URL="")

    found = reconciled(system, lambda found: found["stuck_count"] == 1, "the order is stuck")

    assert found["queued"]["processor"] is None
    assert found["balanced"] is False
    assert (found["missing"], found["stuck"][0]["order_id"]) == ([], order["id"])
    cannot_tell = reconcile(system, ORDER, *DUE)
    assert (cannot_tell.code, "could not be asked" in cannot_tell.out) == (2, True)
    system.heal()
    system.wait_for_status(order["id"], "completed")
