"""What this service needs on the broker: its exchanges, queues and bindings, described once.

One work queue, a ladder of retry queues whose messages come back after a fixed delay, one dead-letter queue. All are
durable quorum queues with at-least-once dead lettering: without it an ordinary restart of the broker can delete every
delayed retry. `docs/adr` has the measurements.
"""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika.exceptions
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from messaging.amqp import open_blocking
from messaging.conf import MessagingConfig, delay_seconds
from messaging.errors import BrokerUnavailableError, ConfigurationError

logger = logging.getLogger(__name__)

# A message that reaches the delivery limit was never answered: its process died or lost the connection each time.
DELIVERY_LIMIT = 20
# Looking into a dead-letter queue counts as a delivery; with the default limit of 20 a look can delete a message.
DEAD_LETTER_DELIVERY_LIMIT = 1_000_000


class TopologyConflictError(ConfigurationError):
    """The broker has an object of the same name with other properties."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A durable exchange."""

    name: str
    kind: str
    """`topic` or `direct`."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A durable queue."""

    name: str
    arguments: dict[str, Any]
    """Can never be changed on an existing queue: another version takes another name."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What the exchange gets with this routing key goes to the queue."""

    exchange: str
    routing_key: str
    queue: str


@dataclass(frozen=True, slots=True)
class Topology:
    """All that one service needs on the broker."""

    exchanges: tuple[Exchange, ...]
    queues: tuple[Queue, ...]
    bindings: tuple[Binding, ...]


def retry_exchange(config: MessagingConfig) -> str:
    """Name of the direct exchange that leads to the rungs and, by the work queue's name, from them back to it."""
    return f"{config.exchange}.retry"


def dead_letter_exchange(config: MessagingConfig) -> str:
    """Name of the exchange that leads to the dead-letter queues, by the work queue's name."""
    return f"{config.exchange}.dlx"


def dead_letter_queue(config: MessagingConfig) -> str:
    """Name of the queue for what this service could not handle."""
    return f"{config.queue}.dlq"


def retry_routing_key(config: MessagingConfig, delay: str) -> str:
    """The key that leads from the retry exchange to the rung with this delay, one of `retry_delays`."""
    return f"{config.queue}.{delay}"


def describe(config: MessagingConfig) -> Topology:
    """The topology of one service. Raises ConfigurationError when a retry delay cannot be read."""
    retry, dead = retry_exchange(config), dead_letter_exchange(config)
    at_least_once = {
        "x-queue-type": "quorum",
        "x-dead-letter-routing-key": config.queue,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",  # at-least-once silently needs it
    }
    work = Queue(config.queue, {**at_least_once, "x-dead-letter-exchange": dead, "x-delivery-limit": DELIVERY_LIMIT})
    rungs = tuple(
        Queue(
            f"{config.queue}.retry.{delay}",
            {
                **at_least_once,
                "x-dead-letter-exchange": retry,
                "x-message-ttl": round(delay_seconds(delay) * 1000),
            },
        )
        for delay in config.retry_delays
    )
    letters = Queue(
        dead_letter_queue(config), {"x-queue-type": "quorum", "x-delivery-limit": DEAD_LETTER_DELIVERY_LIMIT}
    )
    return Topology(
        exchanges=(Exchange(config.exchange, "topic"), Exchange(retry, "direct"), Exchange(dead, "topic")),
        queues=(work, *rungs, letters),
        bindings=(
            *(Binding(config.exchange, type_, work.name) for type_ in config.handler_table),
            Binding(retry, config.queue, work.name),
            *(
                Binding(retry, retry_routing_key(config, delay), rung.name)
                for delay, rung in zip(config.retry_delays, rungs, strict=True)
            ),
            Binding(dead, config.queue, letters.name),
        ),
    )


def apply(config: MessagingConfig) -> None:
    """Declares what is missing on the broker. A second call does nothing.

    RabbitMQ (3.10) notes a new quorum queue on disk up to a second after it has answered. Killed within that second it
    forgets the queue, with all that it has confirmed. So a new queue is bound only after a pause: until then nothing is
    routed to it, and what is published comes back to the outbox.

    Raises TopologyConflictError when an object exists with other properties, ConfigurationError also for refused
    credentials or a retry delay that cannot be read, BrokerUnavailableError when the broker cannot be reached. A crash
    in the middle leaves part of it declared; the next call declares the rest.
    """
    topology = describe(config)
    with open_blocking(config, name="topology") as connection:
        try:
            _declare(topology, connection, pause=config.new_queue_pause)
        except (pika.exceptions.AMQPError, OSError) as error:
            raise BrokerUnavailableError(f"RabbitMQ went away while the topology was declared: {error}") from error


def rebind(config: MessagingConfig) -> None:
    """Removes each binding of this service and declares it again, so that the broker learns its routes anew.

    For a broker that lists a binding but does not route by it, as RabbitMQ's topic exchanges are known to do after a
    restart: declaring a binding that is in the list changes nothing there. What is published in between comes back to
    its outbox; but where other queues take the same type of message, it is confirmed without reaching this queue.

    Raises BrokerUnavailableError when the broker cannot be reached or does not permit it, ConfigurationError as `apply`
    does. A crash in the middle leaves a binding missing; the next `apply` declares it, and every consumer calls that
    when it connects.
    """
    with open_blocking(config, name="topology") as connection:
        try:
            channel = connection.channel()
            for binding in describe(config).bindings:
                it = {"queue": binding.queue, "exchange": binding.exchange, "routing_key": binding.routing_key}
                channel.queue_unbind(**it)
                channel.queue_bind(**it)
        except (pika.exceptions.AMQPError, OSError) as error:
            raise BrokerUnavailableError(f"RabbitMQ did not bind all queues again: {error}") from error


def _declare(topology: Topology, connection: BlockingConnection, *, pause: float) -> None:
    declarer = _Declarer(connection)
    for exchange in topology.exchanges:
        declarer.declare(
            f"exchange {exchange.name!r}",
            partial(
                BlockingChannel.exchange_declare, exchange=exchange.name, exchange_type=exchange.kind, durable=True
            ),
        )
    new = [queue.name for queue in topology.queues if declarer.is_missing(queue.name)]
    for queue in topology.queues:
        declarer.declare(
            f"queue {queue.name!r}",
            partial(BlockingChannel.queue_declare, queue=queue.name, durable=True, arguments=queue.arguments),
        )
    if new:
        logger.info("queues declared", extra={"queues": new})
        connection.sleep(pause)
    for binding in topology.bindings:
        declarer.declare(
            f"binding of {binding.queue!r} to {binding.exchange!r}",
            partial(
                BlockingChannel.queue_bind,
                queue=binding.queue,
                exchange=binding.exchange,
                routing_key=binding.routing_key,
            ),
        )


_CONFLICTS = (405, 406)  # locked by another connection, or there with other properties
_not_permitted: set[str] = set()


class _Declarer:
    def __init__(self, connection: BlockingConnection) -> None:
        self._connection = connection
        self._channel = connection.channel()

    def declare(self, what: str, action: Callable[[BlockingChannel], object]) -> None:
        try:
            action(self._channel)
        except pika.exceptions.ChannelClosedByBroker as error:
            self._channel = self._connection.channel()
            if error.reply_code == 403:
                self._note_not_permitted(what)
            elif error.reply_code in _CONFLICTS:
                raise TopologyConflictError(conflict_sentence(what, error.reply_text)) from None
            else:  # such as 404: somebody deletes while we declare, or a node of the cluster is just going down
                raise

    def _note_not_permitted(self, what: str) -> None:
        """On hardened brokers an administrator declares, this user only publishes and consumes. Said once a process."""
        if what not in _not_permitted:
            logger.warning("no permission to declare, so it is taken as given", extra={"object": what})
        _not_permitted.add(what)

    def is_missing(self, queue: str) -> bool:
        try:
            self._channel.queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker as error:
            self._channel = self._connection.channel()
            return bool(error.reply_code == 404)
        return False


def conflict_sentence(what: str, broker_says: str) -> str:
    """What differs and what to do about it, from the broker's own words."""
    found = re.search(r"inequivalent arg '([^']+)'.*?received (.*?) but current is (.*)$", broker_says, re.DOTALL)
    if not found:
        return f"The {what} cannot be declared: {broker_says}"
    argument, wanted, current = found.groups()
    return (
        f"The {what} on the broker has another {argument!r} than this service declares: "
        f"it has {_tidy(current)}, wanted is {_tidy(wanted)}. The properties of a queue or exchange can never be "
        f"changed: drain it, delete it (rabbitmqctl delete_queue NAME) and start again, "
        f"or give the service a queue with a new version in its name."
    )


def _tidy(value: str) -> str:
    return re.sub(r"^(?:the value )?'(.*?)'(?: of type '.*?')?$", r"\1", value.strip(), flags=re.DOTALL)
