import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from io import StringIO
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from dev.servers.rabbitmq import manage
from messaging import conf, topology
from messaging.amqp import open_blocking
from messaging.conf import MessagingConfig
from messaging.management_api import ManagementApi
from messaging.tests.conftest import eventually
from messaging.topology_diff import compare

# Names of its own: other tests leave queues behind.
WORK, DEAD = "parcels.events.v1", "parcels.events.v1.dlq"


def run(*args: str) -> str:
    out = StringIO()
    call_command("topology", *args, stdout=out)
    return out.getvalue()


def differences() -> str:
    out = StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("topology", "diff", stdout=out)
    assert ended.value.code == 1
    return out.getvalue()


def _diff_that_says(text: str) -> str:
    out = StringIO()
    with suppress(SystemExit):
        call_command("topology", "diff", stdout=out)
    return out.getvalue() if text in out.getvalue() else ""


@contextmanager
def _policy(
    config: MessagingConfig, name: str, definition: dict[str, Any], *, to: str = "queues", kind: str = "policies"
) -> Iterator[None]:
    """A policy on the queue or exchange of that name."""
    path = f"/api/{kind}/{quote(urlsplit(config.url).path[1:], safe='')}/of%20a%20test"
    policy = {"pattern": f"^{name}$", "apply-to": to, "definition": definition}
    manage(config.management_url, "PUT", path, policy)
    try:
        yield
    finally:
        manage(config.management_url, "DELETE", path)


@pytest.fixture
def config(settings: Settings) -> MessagingConfig:
    settings.MESSAGING = deepcopy(settings.MESSAGING) | {
        "EXCHANGE": "parcels",
        "QUEUE": WORK,
        "RETRY_DELAYS": ("1s", "5s"),
    }
    return conf.config()


@pytest.fixture
def channel(config: MessagingConfig) -> Iterator[Any]:
    """A broker on which nothing of ours is declared, before and after."""
    with open_blocking(config, name="test") as connection:
        channel = connection.channel()

        def clear() -> None:
            wanted = topology.describe(config)
            for name in (*(queue.name for queue in wanted.queues), f"{WORK}.retry.30s"):
                channel.queue_delete(name)
            for exchange in wanted.exchanges:
                channel.exchange_delete(exchange.name)

        clear()
        yield channel
        clear()


@pytest.fixture(params=["management", "amqp"])
def either_way(request: pytest.FixtureRequest, settings: Settings, config: MessagingConfig) -> str:
    if request.param == "amqp":
        settings.MESSAGING = settings.MESSAGING | {"MANAGEMENT_URL": ""}
    return str(request.param)


class TestShow:
    def test_it_shows_what_the_service_needs(self, config: MessagingConfig) -> None:
        shown = run("show")
        for queue in topology.describe(config).queues:
            assert queue.name in shown
        assert "x-delivery-limit = 20" in shown
        assert any(line.split() == ["parcels", "thing.happened", WORK] for line in shown.splitlines())

    def test_json_is_all_of_it(self, config: MessagingConfig) -> None:
        shown = json.loads(run("show", "--json"))
        assert [queue["name"] for queue in shown["queues"]] == [q.name for q in topology.describe(config).queues]
        assert shown["queues"][0]["arguments"]["x-queue-type"] == "quorum"
        assert {"exchange": "parcels", "routing_key": "thing.happened", "queue": WORK} in shown["bindings"]

    def test_it_asks_no_broker(self, config: MessagingConfig, settings: Settings) -> None:
        settings.MESSAGING = settings.MESSAGING | {"URL": "amqp://nobody@127.0.0.1:1/"}
        assert WORK in run("show")


class TestApply:
    def test_afterwards_nothing_differs(self, channel: Any, either_way: str) -> None:
        run("apply")
        run("apply")
        assert "The broker has what this service needs." in run("diff")

    def test_a_conflict_is_a_sentence(self, channel: Any) -> None:
        channel.queue_declare(WORK, durable=True, arguments={"x-queue-type": "quorum"})
        with pytest.raises(CommandError, match=f"queue '{WORK}'") as caught:
            run("apply")
        assert caught.value.returncode == 1

    def test_a_broker_that_is_away_is_said_to_be(self, settings: Settings) -> None:
        settings.MESSAGING = settings.MESSAGING | {"URL": "amqp://guest:secret@127.0.0.1:1/"}
        with pytest.raises(CommandError, match="RabbitMQ cannot be reached") as caught:
            run("apply")
        assert caught.value.returncode == 2
        assert "secret" not in str(caught.value)


class TestDiff:
    def test_it_names_all_that_is_missing_and_declares_nothing(
        self, channel: Any, either_way: str, config: MessagingConfig
    ) -> None:
        found = differences()
        wanted = topology.describe(config)
        for exchange in wanted.exchanges:
            assert f"exchange '{exchange.name}' is missing" in found
        for queue in wanted.queues:
            assert f"queue '{queue.name}' is missing" in found
        assert differences() == found

    def test_it_names_the_argument_and_both_values(
        self, channel: Any, either_way: str, config: MessagingConfig
    ) -> None:
        work, *_ = topology.describe(config).queues
        channel.queue_declare(WORK, durable=True, arguments=work.arguments | {"x-delivery-limit": 7})
        found = next(line for line in differences().splitlines() if f"queue '{WORK}'" in line)
        for part in ("x-delivery-limit", "7", "20"):
            assert part in found

    def test_it_names_an_argument_that_it_does_not_want(self, channel: Any, config: MessagingConfig) -> None:
        work, *_ = topology.describe(config).queues
        channel.queue_declare(WORK, durable=True, arguments=work.arguments | {"x-max-length": 7})
        assert f"queue '{WORK}': x-max-length is 7, wanted is not set" in differences()

    def test_it_names_an_exchange_of_another_type(self, channel: Any, either_way: str) -> None:
        channel.exchange_declare("parcels", "fanout", durable=True)
        found = next(line for line in differences().splitlines() if "exchange 'parcels'" in line)
        for part in ("type", "fanout", "topic"):
            assert part in found

    def test_it_names_an_exchange_that_goes_by_itself_or_takes_no_messages(self, channel: Any) -> None:
        channel.exchange_declare("parcels", "topic", durable=True, auto_delete=True, internal=True)
        found = differences()
        assert "exchange 'parcels': auto_delete is True" in found
        assert "exchange 'parcels': internal is True" in found

    def test_it_names_missing_and_extra_bindings(self, channel: Any) -> None:
        run("apply")
        channel.queue_unbind(WORK, "parcels", "thing.happened")
        channel.queue_bind(WORK, "parcels", "thing.vanished")
        found = differences()
        assert f"binding 'parcels' -> '{WORK}' by 'thing.happened' is missing" in found
        assert f"binding 'parcels' -> '{WORK}' by 'thing.vanished' is there, but not wanted" in found
        assert found.count("binding") == 2

    @pytest.mark.parametrize("queue", ["somebody.else", f"{WORK}0"])
    def test_queues_and_bindings_of_others_are_none_of_its_business(self, channel: Any, queue: str) -> None:
        run("apply")
        channel.queue_declare(queue, exclusive=True)
        channel.queue_bind(queue, "parcels", "#")
        assert run("diff") == "The broker has what this service needs.\n"

    def test_it_names_a_rung_that_an_earlier_ladder_left(self, channel: Any) -> None:
        run("apply")
        channel.queue_declare(f"{WORK}.retry.30s", durable=True)
        assert f"queue '{WORK}.retry.30s' is there" in differences()

    @pytest.mark.parametrize(
        ("kind", "queue", "harm"),
        [
            (
                "policies",
                DEAD,
                {"expires": 10**9, "max-length": 1000, "max-length-bytes": 10**6, "message-ttl": 10**9},
            ),
            ("policies", DEAD, {"delivery-limit": 999_999}),
            ("operator-policies", WORK, {"delivery-limit": 19}),
            ("policies", WORK, {"overflow": "drop-head"}),
        ],
    )
    def test_it_names_a_policy_that_drops_messages(
        self, channel: Any, config: MessagingConfig, kind: str, queue: str, harm: dict[str, Any]
    ) -> None:
        run("apply")
        with _policy(config, queue, harm, kind=kind):
            found = eventually(lambda: _diff_that_says(min(harm)), within=30)  # the API learns it every 5 s
            assert all(difference.loses_messages for difference in compare(config).differences)
        for key, value in harm.items():
            assert f"queue '{queue}': a policy sets {key} to {value}" in found
        assert "'of a test'" in found

    def test_it_names_no_policy_that_drops_nothing(self, channel: Any, config: MessagingConfig) -> None:
        run("apply")
        harmless = {
            "delivery-limit": topology.DEAD_LETTER_DELIVERY_LIMIT, "overflow": "reject-publish",
            "dead-letter-exchange": "else", "dead-letter-strategy": "at-most-once",
        }  # fmt: skip
        api = ManagementApi(config.management_url, virtual_host=urlsplit(config.url).path[1:])
        with _policy(config, f"{WORK}.*", harmless):  # of the rungs too, which have no limit of their own
            eventually(lambda: api.queues()[WORK].get("effective_policy_definition") == harmless)
            assert run("diff") == "The broker has what this service needs.\n"

    @pytest.mark.parametrize("exchange", ["parcels", "parcels.retry", "parcels.dlx"])
    def test_it_names_a_policy_that_takes_what_no_queue_takes(
        self, channel: Any, config: MessagingConfig, exchange: str
    ) -> None:
        run("apply")
        with _policy(config, exchange, {"alternate-exchange": "somebody.elses"}, to="exchanges"):
            found = differences()
            assert all(difference.loses_messages for difference in compare(config).differences)
        assert f"exchange '{exchange}': a policy sets alternate-exchange to somebody.elses" in found
        assert "'of a test'" in found
        assert found.count("alternate-exchange") == 1

    def test_it_names_an_exchange_that_was_declared_with_another_one_behind_it(
        self, channel: Any, either_way: str
    ) -> None:
        channel.exchange_declare("parcels", "topic", durable=True, arguments={"alternate-exchange": "somebody.elses"})
        found = next(line for line in differences().splitlines() if "exchange 'parcels'" in line)
        for part in ("alternate-exchange", "somebody.elses"):
            assert part in found

    def test_over_amqp_it_says_what_it_did_not_compare(self, channel: Any, settings: Settings) -> None:
        settings.MESSAGING = settings.MESSAGING | {"MANAGEMENT_URL": ""}
        run("apply")
        channel.queue_unbind(WORK, "parcels", "thing.happened")
        assert "not compared: bindings" in run("diff")
        assert "RABBITMQ_MANAGEMENT_URL" in run("diff")
