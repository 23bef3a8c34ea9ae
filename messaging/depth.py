"""How many messages the broker holds for this service."""

from contextlib import suppress
from dataclasses import dataclass

import pika.exceptions

from messaging import amqp, topology
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, ConfigurationError
from messaging.management_api import ManagementApi


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """A queue of this service, as the broker knows it."""

    name: str
    messages: int | None
    """Those that wait, without those in a consumer's hands. None when there is no such queue."""
    consumers: int


def queue_depths(config: MessagingConfig, *, timeout: float = 5.0) -> list[QueueDepth]:
    """This service's work queue, its rungs in their order, and its dead-letter queue. Asks, and declares nothing.

    Raises BrokerUnavailableError when no URL answers, each within `timeout` seconds, and ConfigurationError when the
    broker refuses this user.
    """
    names = [queue.name for queue in topology.describe(config).queues]
    try:
        return _depths(config, names, timeout)
    except (pika.exceptions.AMQPError, OSError) as error:
        raise BrokerUnavailableError(f"RabbitMQ did not say how long its queues are: {error!r}") from error


def messages_on_the_broker(config: MessagingConfig) -> int | None:
    """The messages in this service's work queue, rungs and dead-letter queue. None when the broker cannot be asked.

    Those that wait are counted as they are now. Only the management API knows those in a consumer's hands, or on their
    way from one queue to another, and that up to five seconds late; without it they are not counted.
    """
    try:
        queues = queue_depths(config)
    except (BrokerUnavailableError, ConfigurationError):
        return None
    messages = sum(queue.messages or 0 for queue in queues)  # one that is not there holds nothing
    with suppress(BrokerUnavailableError, ConfigurationError):
        messages += _not_waiting(config, [queue.name for queue in queues])
    return messages


def _depths(config: MessagingConfig, names: list[str], timeout: float) -> list[QueueDepth]:
    found = []
    with amqp.open_blocking(config, name="depth", timeout=timeout) as connection:
        channel = connection.channel()
        for name in names:
            try:
                answer = channel.queue_declare(name, passive=True).method
                found.append(QueueDepth(name, answer.message_count, answer.consumer_count))
            except pika.exceptions.ChannelClosedByBroker as error:
                channel = connection.channel()
                if error.reply_code != 404:
                    raise
                found.append(QueueDepth(name, None, 0))
    return found


def _not_waiting(config: MessagingConfig, queues: list[str]) -> int:
    if not config.management_url:
        return 0
    virtual_host = amqp.parameters(config, name="depth")[0].virtual_host
    found = ManagementApi(config.management_url, virtual_host=virtual_host).queues()
    # A queue keeps what it dead-letters until the next one has it: for minutes, when the way there is missing.
    kinds = ("messages_unacknowledged", "messages_dlx")
    return sum(found.get(queue, {}).get(kind, 0) for queue in queues for kind in kinds)
