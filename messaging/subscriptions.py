"""Consuming: deliveries come in while somebody waits for them, and are taken in batches."""

from collections import deque
from functools import partial
from typing import Any

import pika
import pika.channel
import pika.exceptions
import pika.spec

from messaging.amqp import Connection
from messaging.conf import MessagingConfig
from messaging.envelope import Delivery
from messaging.errors import BrokerUnavailableError
from messaging.frames import Content


class Source:
    """The consuming side: one connection, and a `Subscription` for each queue."""

    def __init__(self, config: MessagingConfig) -> None:
        self._connection = Connection(config, name="consume")
        self._subscriptions: list[Subscription] = []
        self._broken: BaseException | None = None

    def open(self) -> None:
        """Connects. Raises BrokerUnavailableError or ConfigurationError."""
        self._connection.open()

    def close(self) -> None:
        """What was not acknowledged goes back to its queue."""
        self._connection.close()

    def subscribe(self, queue: str, *, prefetch: int) -> "Subscription":
        """Begins to consume a queue, at most `prefetch` unacknowledged messages at a time.

        Raises BrokerUnavailableError when the connection is gone or the broker refuses, as for a queue that is missing.
        """
        channel = self._connection.open_channel()
        channel.add_on_close_callback(lambda channel, error: self._break(error))
        channel.add_on_cancel_callback(
            lambda frame: self._break(BrokerUnavailableError(f"RabbitMQ cancelled the consumer: {queue} was deleted"))
        )
        subscription = Subscription(self, self._connection, channel, queue, prefetch)
        self._subscriptions.append(subscription)
        return subscription

    def wait(self, seconds: float) -> None:
        """Takes in what has arrived, on any subscription; when there is nothing to take yet, waits for it.

        Raises BrokerUnavailableError after a loss.
        """
        self.check()
        self._connection.wait(self._has_something, seconds)
        self.check()

    def check(self) -> None:
        """Raises BrokerUnavailableError when the connection or a channel is gone, or a queue was deleted."""
        if self._broken is not None:
            raise BrokerUnavailableError(str(self._broken))
        if not self._connection.is_open:
            raise self._connection.error

    def _has_something(self) -> bool:
        return self._broken is not None or any(subscription.has_something for subscription in self._subscriptions)

    def _break(self, error: BaseException) -> None:
        self._broken = self._broken or error
        self._connection.refuse(error)


class Subscription:
    """The deliveries of one queue, in order."""

    def __init__(
        self, source: Source, connection: Connection, channel: pika.channel.Channel, queue: str, prefetch: int
    ) -> None:
        self._source = source
        self._connection = connection
        self._channel = channel
        self._queue = queue
        self._waiting: deque[Delivery] = deque()
        self._consumer_tag = ""
        self._frame_max = connection.frame_max
        self.prefetch = 0
        self._consume(prefetch)

    def _consume(self, prefetch: int) -> None:
        def start(answer: Any) -> None:
            self._channel.basic_qos(prefetch_count=prefetch)
            self._consumer_tag = self._channel.basic_consume(self._queue, self._on_message, callback=answer)
            self._connection.inner.receivers[self._consumer_tag] = self._on_usual_message

        self._connection.ask(start, what=f"messages of {self._queue}")
        self.prefetch = prefetch

    def change_prefetch(self, prefetch: int) -> None:
        """A consumer's prefetch is fixed when it starts, so this ends it and starts another on the same channel.

        What was taken or waits here stays in hand. Raises BrokerUnavailableError as `Source.subscribe` does.
        """
        self.check()  # pika only says that the channel is closed, not why

        def end(answer: Any) -> None:
            self._connection.inner.receivers.pop(self._consumer_tag, None)  # pika gives back what comes from now on
            self._channel.basic_cancel(self._consumer_tag, callback=answer)

        self._connection.ask(end, what="an end of consuming")
        self._consume(prefetch)

    @property
    def has_something(self) -> bool:
        """Whether there is anything to take."""
        return bool(self._waiting)

    def take(self, limit: int) -> list[Delivery]:
        """Up to `limit` deliveries that have arrived, oldest first; empty when none has."""
        taken: list[Delivery] = []
        while self._waiting and len(taken) < limit:
            taken.append(self._waiting.popleft())
        return taken

    def check(self) -> None:
        """Raises BrokerUnavailableError when what was taken has gone back to its queue."""
        self._source.check()

    def ack(self, deliveries: list[Delivery]) -> None:
        """Acknowledges these and, with the same frame, all that was taken before: that must be settled as well.

        After a loss of the connection this does nothing; the broker delivers again.
        """
        if deliveries:
            self._connection.tell(partial(self._ack, deliveries[-1].tag, multiple=True))

    def ack_each(self, deliveries: list[Delivery]) -> None:
        """Acknowledges these and no others."""
        for delivery in deliveries:
            self._connection.tell(partial(self._ack, delivery.tag))

    # Called with the connection's lock held.

    def _ack(self, tag: int, *, multiple: bool = False) -> None:
        if self._channel.is_open:
            self._channel.basic_ack(tag, multiple=multiple)

    def _on_usual_message(self, content: Content) -> None:
        self._waiting.append(
            Delivery(
                content.tag,
                content.redelivered,
                content.routing_key,
                content.properties,
                content.body,
                self._frame_max,
            )
        )

    def _on_message(
        self,
        channel: pika.channel.Channel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self._waiting.append(
            Delivery(method.delivery_tag, method.redelivered, method.routing_key, properties, body, self._frame_max)
        )
