"""How many messages the broker holds for this service."""

from contextlib import suppress

import pika.exceptions

from messaging import amqp, topology
from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, ConfigurationError
from messaging.management_api import ManagementApi


def messages_on_the_broker(config: MessagingConfig) -> int | None:
    """The messages in this service's work queue, rungs and dead-letter queue. None when the broker cannot be asked.

    Those that wait are counted as they are now. Those in a consumer's hands only the management API knows, and up to
    five seconds late; without it they are not counted.
    """
    queues = [queue.name for queue in topology.describe(config).queues]
    try:
        waiting = _waiting(config, queues)
    except (BrokerUnavailableError, ConfigurationError, pika.exceptions.AMQPError, OSError):
        return None
    with suppress(BrokerUnavailableError, ConfigurationError):
        waiting += _in_hand(config, queues)
    return waiting


def _waiting(config: MessagingConfig, queues: list[str]) -> int:
    count = 0
    with amqp.open_blocking(config, name="depth") as connection:
        channel = connection.channel()
        for queue in queues:
            try:
                count += channel.queue_declare(queue, passive=True).method.message_count
            except pika.exceptions.ChannelClosedByBroker as error:
                channel = connection.channel()
                if error.reply_code != 404:  # one that is not there holds nothing
                    raise
    return count


def _in_hand(config: MessagingConfig, queues: list[str]) -> int:
    if not config.management_url:
        return 0
    virtual_host = amqp.parameters(config, name="depth")[0].virtual_host
    found = ManagementApi(config.management_url, virtual_host=virtual_host).queues()
    return sum(found.get(queue, {}).get("messages_unacknowledged", 0) for queue in queues)
