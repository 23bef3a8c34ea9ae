"""A broker and databases that are away for a while, at the start or later."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dev.environment import ORDER, PROCESSOR
from dev.servers import PostgreSQL, RabbitMQ, temporary_folder
from tests.broker import PROCESSOR_QUEUE, crash
from tests.conftest import running
from tests.load import Load, assert_all_took_effect_once
from tests.programs import NAMES
from tests.system import Places, System, new_order


class Servers:
    """For these tests only, so that they can be stopped: each service has a PostgreSQL of its own."""

    def __init__(self, folder: Path) -> None:
        self.order_database = PostgreSQL(folder / "order")
        self.processor_database = PostgreSQL(folder / "processor")
        self.broker = RabbitMQ(folder / "rabbitmq")
        self.all = (self.order_database, self.processor_database, self.broker)

    def start(self) -> None:
        """Starts the servers that do not run."""
        stopped = [server for server in self.all if not server.is_running()]
        for server in stopped:
            server.launch()
        for server in stopped:
            server.wait()

    def stop(self) -> None:
        for server in self.all:
            server.stop()


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Servers]:
    with temporary_folder() as folder:
        servers = Servers(folder)
        try:
            yield servers
        finally:
            servers.stop()


@pytest.fixture(scope="module")
def own_system(own_servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that has never seen its broker yet."""
    places = Places(
        order_database=own_servers.order_database.url,
        processor_database=own_servers.processor_database.url,
        rabbitmq=own_servers.broker.url,
        management=own_servers.broker.management_url,
    )
    for database in (own_servers.order_database, own_servers.processor_database):
        database.launch()
    for database in (own_servers.order_database, own_servers.processor_database):
        database.wait()
    with running(places, tmp_path_factory.mktemp("outages")) as system:
        system.migrate()
        yield system


@pytest.fixture
def system(own_system: System, own_servers: Servers) -> System:
    """The system, with all servers and all six processes running as they do by default."""
    own_servers.start()
    own_system.heal()
    return own_system


def test_a_broker_that_is_away_at_start_is_waited_for(own_system: System, own_servers: Servers) -> None:
    system = own_system
    own_servers.broker.stop()
    for name in NAMES:
        assert not system.programs[name].is_running
    system.start()

    order = system.post_order()

    health = system.orders.get("/health")
    assert health.status_code == 503
    assert (health.json()["status"], health.json()["checks"]["database"]) == ("unhealthy", {"status": "ok"})
    assert health.json()["checks"]["rabbitmq"]["status"] == "failed"
    assert "dev:dev" not in health.text, "credentials are shown"
    assert system.orders.get("/health/ready").status_code == 200  # orders can be taken: the outbox holds them
    assert system.orders.get("/health/live").status_code == 200
    for name in ("order-relay", "order-consume", "processor-relay", "processor-consume"):
        system.wait(partial(system.programs[name].lines, level="WARNING"), f"{name} says that it waits")
    assert system.metric("order-web", "messaging_outbox_messages") == 1
    assert system.order(order["id"])["status"] == "pending"

    own_servers.broker.start()

    system.wait_for_status(order["id"], "completed")
    assert system.wait_for_record(order["id"])["attempts"] == 1
    system.wait(lambda: system.orders.get("/health").status_code == 200, "the order service is healthy")
    system.wait_for_empty_outboxes()


def test_a_broker_that_is_killed_under_load_loses_nothing(system: System, own_servers: Servers) -> None:
    with system.broker.tap() as tap, Load(system, orders=200) as load:
        load.wait_until_accepted(50)
        crash(own_servers.broker, system.broker)
        load.finish()  # an order is accepted whether the broker is there or not
        own_servers.broker.start()

        assert_all_took_effect_once(system, load, tap)
        system.wait_for_empty_outboxes()
    assert not system.dead_letters(ORDER)
    assert not system.dead_letters(PROCESSOR)


def test_a_route_that_the_broker_has_lost_holds_orders_and_is_given_again(system: System, own_servers: Servers) -> None:
    """RabbitMQ's topic exchanges are known to lose routes in a restart: the binding is listed, nothing is routed."""
    if PROCESSOR_QUEUE not in own_servers.broker.ask_node("eval", _ROUTES):
        pytest.skip("this RabbitMQ keeps its routes elsewhere")
    own_servers.broker.ask_node("eval", _LOSE_ROUTES.format(queue=PROCESSOR_QUEUE))
    order = system.post_order()
    system.wait(
        lambda: "No queue takes 'order.created'" in _timeline(system, order["id"])["summary"] or None,
        "the timeline says why the order waits",
    )
    assert PROCESSOR_QUEUE in system.broker.bound_queues()
    system.manage(PROCESSOR, "topology", "apply", "--rebind")
    system.wait_for_status(order["id"], "completed")


def _timeline(system: System, order_id: str) -> dict[str, Any]:
    timeline: dict[str, Any] = system.orders.get(f"/orders/{order_id}/timeline").json()
    return timeline


_ROUTES = "[R || R <- ets:tab2list(rabbit_topic_trie_binding)]."
_LOSE_ROUTES = (
    "[mnesia:dirty_delete_object(rabbit_topic_trie_binding, R) || R <- ets:tab2list(rabbit_topic_trie_binding),"
    ' string:find(io_lib:format("~p", [R]), "{queue}") =/= nomatch].'
)


def test_what_waits_on_a_rung_survives_a_restart_of_the_broker(system: System, own_servers: Servers) -> None:
    # The time on the rung runs out while the broker is down: at-most-once dead lettering would lose just these.
    ladder = {"MESSAGING_RETRY_DELAYS": "5s,10s,30s"}
    system.restart("processor-consume", SIMULATED_FAILURE_RATE="1", **ladder)
    consume = system.programs["processor-consume"]
    before = consume.position
    with system.broker.tap() as tap, Load(system, orders=50) as load:
        load.finish()
        find = partial(consume.lines, since=before, message="message will be retried", attempt=1)
        system.wait(lambda: len(find()) >= 50, "all are on a rung")
        own_servers.broker.stop()
        ended = system.stop("processor-consume")
        assert ended.code == 0
        assert ended.seconds < 10
        own_servers.broker.start()
        system.start("processor-consume", **ladder)

        assert_all_took_effect_once(system, load, tap)
    assert all(record["attempts"] > 1 for record in system.records_of(load.customer_id))


def test_while_the_processors_database_is_away_no_attempt_is_counted(system: System, own_servers: Servers) -> None:
    consume = system.programs["processor-consume"]
    before = consume.position
    with system.broker.tap() as tap, Load(system, orders=200) as load:
        load.wait_until_accepted(50)
        own_servers.processor_database.stop()
        load.finish()  # the order service has a PostgreSQL of its own
        system.wait(
            lambda: [line for line in consume.lines(since=before) if "database is away" in line["message"]],
            "the consumer says that it waits",
        )
        assert system.processor.get("/health").json()["checks"]["database"]["status"] == "failed"
        assert system.processor.get("/health/ready").status_code == 503
        assert system.processor.get("/health/live").status_code == 200
        answer = system.processor.get("/records")
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")

        own_servers.processor_database.start()

        assert_all_took_effect_once(system, load, tap)
    assert {record["attempts"] for record in system.records_of(load.customer_id)} == {1}
    assert not consume.lines(since=before, message="message will be retried")
    assert not system.dead_letters(PROCESSOR)


def test_a_database_of_the_order_service_that_crashes_loses_no_accepted_order(
    system: System, own_servers: Servers
) -> None:
    with system.broker.tap() as tap, Load(system, orders=200) as load:
        load.wait_until_accepted(50)
        own_servers.order_database.kill()
        answer = system.orders.post("/orders", json=new_order())
        assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
        assert "Retry-After" in answer.headers
        assert system.orders.get("/health/ready").status_code == 503

        own_servers.order_database.start()
        load.finish()

        assert_all_took_effect_once(system, load, tap)
    assert not system.dead_letters(ORDER)
