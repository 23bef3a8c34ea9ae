from dataclasses import replace

import pytest

from messaging import topology
from messaging.amqp import open_blocking
from messaging.conf import MessagingConfig
from messaging.depth import QueueDepth, messages_on_the_broker, queue_depths
from messaging.errors import BrokerUnavailableError
from messaging.tests.conftest import Broker, eventually


def test_it_counts_what_waits_in_all_queues_of_the_service(broker: Broker) -> None:
    broker.publish_thing(1)
    broker.publish_thing(2)
    broker.publish(b"{}", routing_key=topology.dead_letter_queue(broker.config))

    assert messages_on_the_broker(broker.config) == 3
    assert messages_on_the_broker(replace(broker.config, management_url="")) == 3


def test_what_is_in_a_consumers_hands_counts_too_once_the_management_api_knows(broker: Broker) -> None:
    broker.publish_thing(1)
    broker.publish_thing(2)
    broker.channel.basic_get(broker.config.queue, auto_ack=False)

    assert messages_on_the_broker(replace(broker.config, management_url="")) == 1
    assert eventually(lambda: messages_on_the_broker(broker.config) == 2, within=30)


def test_what_has_no_way_back_from_its_rung_counts_too_once_the_management_api_knows(broker: Broker) -> None:
    queue, retry = broker.config.queue, topology.retry_exchange(broker.config)
    rung = topology.retry_routing_key(broker.config, "100ms")
    broker.channel.queue_unbind(queue, retry, queue)
    broker.publish(b"{}", exchange=retry, routing_key=rung)

    assert eventually(lambda: messages_on_the_broker(replace(broker.config, management_url="")) == 0)
    assert eventually(lambda: messages_on_the_broker(broker.config) == 1, within=30)


def test_a_queue_that_is_not_there_holds_nothing(broker: Broker) -> None:
    broker.publish_thing(1)
    with open_blocking(broker.config, name="test") as connection:
        connection.channel().queue_delete(topology.dead_letter_queue(broker.config))

    assert messages_on_the_broker(broker.config) == 1


def test_a_broker_that_is_away_says_nothing(config: MessagingConfig) -> None:
    assert messages_on_the_broker(replace(config, url="amqp://127.0.0.1:1/")) is None


def test_without_its_management_api_the_broker_still_says_what_waits(broker: Broker) -> None:
    broker.publish_thing(1)

    assert messages_on_the_broker(replace(broker.config, management_url="http://user:secret@127.0.0.1:1")) == 1


def test_each_queue_says_how_long_it_is_and_one_that_is_not_there_is_not_declared(broker: Broker) -> None:
    rung = f"{broker.config.queue}.retry.100ms"
    broker.publish_thing(1)
    broker.publish_thing(2)
    with open_blocking(broker.config, name="test") as connection:
        connection.channel().queue_delete(rung)

    for _ in range(2):
        assert queue_depths(broker.config) == [
            QueueDepth(broker.config.queue, 2, 0),
            QueueDepth(rung, None, 0),
            QueueDepth(f"{broker.config.queue}.retry.200ms", 0, 0),
            QueueDepth(topology.dead_letter_queue(broker.config), 0, 0),
        ]


def test_who_asks_for_each_queue_hears_why_there_is_no_answer(config: MessagingConfig) -> None:
    with pytest.raises(BrokerUnavailableError, match="cannot be reached"):
        queue_depths(replace(config, url="amqp://127.0.0.1:1/"), timeout=1)
