from dataclasses import replace

import pika.exceptions
import pytest

from messaging import topology
from messaging.conf import MessagingConfig
from messaging.tests.conftest import Broker, Running, eventually


def is_there(broker: Broker, queue: str) -> bool:
    try:
        broker.count(queue)
    except pika.exceptions.ChannelClosedByBroker:
        broker.reopen()
        return False
    return True


def test_declaring_twice_changes_nothing(broker: Broker, config: MessagingConfig) -> None:
    broker.publish_thing(1)
    topology.apply(config)
    assert broker.count(config.queue) == 1


def test_nothing_is_routed_to_a_new_queue_before_the_broker_has_noted_it(
    broker: Broker, config: MessagingConfig
) -> None:
    broker.channel.queue_delete(config.queue)
    slow = replace(config, new_queue_pause=2)
    applying = Running(lambda: topology.apply(slow), stop=lambda: None)
    eventually(lambda: is_there(broker, config.queue))
    with pytest.raises(pika.exceptions.UnroutableError):
        broker.publish(b"{}", exchange=config.exchange, routing_key="thing.happened", mandatory=True)
    applying.stop()
    broker.publish(b"{}", exchange=config.exchange, routing_key="thing.happened", mandatory=True)
    assert broker.get(config.queue) is not None
    assert broker.get(config.queue, within=0.2) is None
