"""Publishing with confirms: a batch goes out in one stream, and each message gets its receipt."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import pika
import pika.channel
import pika.exceptions
import pika.spec

from messaging import failpoints
from messaging.amqp import Connection
from messaging.conf import MessagingConfig
from messaging.frames import Publication


class Fate(Enum):
    """What became of a publication."""

    CONFIRMED = "confirmed"
    """The broker has it on disk, in every queue it is bound for."""
    REFUSED = "refused"
    """The broker does not have it, and the reason lies with this message or its destination."""
    UNKNOWN = "unknown"
    """No word from the broker in time. It may or may not have the message: publish again."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one publication."""

    fate: Fate
    reason: str = ""
    """Why it is not confirmed, for people."""


_CONFIRMED = Receipt(Fate.CONFIRMED)


class _Batch:
    """What one `publish` still waits for."""

    def __init__(self, publications: Sequence[Publication]) -> None:
        self.publications = publications
        self.receipts: list[Receipt | None] = [None] * len(publications)
        self.index_of_tag: dict[int, int] = {}
        self.returned: dict[str, str] = {}
        self.settled = False

    def settle(self, tag: int, receipt: Receipt) -> None:
        index = self.index_of_tag.pop(tag, None)
        if index is None:
            return
        # A message that no queue wants is returned first and then confirmed.
        message_id = self.publications[index].properties.message_id
        if self.returned and message_id in self.returned:
            receipt = Receipt(Fate.REFUSED, self.returned[message_id])
        self.receipts[index] = receipt


class _Channel:
    """A channel with confirms, and the batch that is under way on it.

    A connection that was given up may live on for a while, and the broker may answer there after all. That answer is
    about this channel's tags, so it settles this channel's batch, for which nobody waits any more, never the next one.
    """

    def __init__(self, connection: Connection) -> None:
        self.closed_because: BaseException | None = None
        """The broker's reason, when it has closed this channel but not the whole connection."""
        self.has_refused = False
        """The broker has refused a message on this channel, and may do so for ever.

        RabbitMQ (3.10) tells a channel when a queue is full and when there is room again, but not when the policy that
        limited its length is gone.
        """
        self._connection = connection
        self._batch = _Batch([])
        self._tag = 0
        self._lowest = 1
        self._channel = channel = connection.open_channel()
        channel.add_on_close_callback(self._on_closed)
        channel.add_on_return_callback(self._on_return)
        connection.ask(lambda answer: channel.confirm_delivery(self._on_confirm, callback=answer), what="confirms")

    def publish(self, publications: Sequence[Publication]) -> _Batch:
        """Sends all of them, and returns the batch to wait for. One batch at a time."""
        self._batch = batch = _Batch(publications)
        self._connection.tell(self._send)
        return batch

    def close(self) -> None:
        self._connection.tell(lambda: self._channel.is_open and self._channel.close())

    # What follows is called with the connection's lock held.

    def _send(self) -> None:
        channel, batch, connection = self._channel, self._batch, self._connection.inner
        self._lowest = self._tag + 1
        with connection.gathered():
            for index, publication in enumerate(batch.publications):
                try:
                    connection.publish(channel, publication)
                except (pika.exceptions.ChannelWrongStateError, pika.exceptions.ConnectionWrongStateError):
                    break
                except Exception as error:  # pika cannot encode it: nothing of it was sent, no tag was used
                    batch.receipts[index] = Receipt(Fate.REFUSED, f"{type(error).__name__}: {error}")
                else:
                    self._tag += 1
                    batch.index_of_tag[self._tag] = index
        if not batch.index_of_tag:
            batch.settled = True

    def _on_confirm(self, frame: "pika.frame.Method[pika.spec.Basic.Ack | pika.spec.Basic.Nack]") -> None:
        batch, method = self._batch, frame.method
        receipt = _CONFIRMED
        if isinstance(method, pika.spec.Basic.Nack):
            self.has_refused = True
            receipt = Receipt(Fate.REFUSED, "RabbitMQ refused it: the queue is full or not available")
        tag = method.delivery_tag
        if method.multiple:
            for one in range(self._lowest, tag + 1):
                batch.settle(one, receipt)
            self._lowest = tag + 1
        else:
            batch.settle(tag, receipt)
        if not batch.index_of_tag:
            batch.settled = True
        else:
            failpoints.reach("publisher.confirming")

    def _on_return(
        self,
        channel: pika.channel.Channel,
        method: pika.spec.Basic.Return,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        reason = f"No queue takes {method.routing_key!r} from exchange {method.exchange!r} ({method.reply_text})"
        self._batch.returned[str(properties.message_id)] = reason

    def _on_closed(self, channel: pika.channel.Channel, error: BaseException) -> None:
        if isinstance(error, pika.exceptions.ChannelClosedByBroker):
            self._connection.refuse(error)
            self.closed_because = error
            self._batch.settled = True


class Publisher:
    """Publishes batches over a connection and channel of its own. Used from one thread.

    Connects on first use and again after a loss. Every message is persistent and `mandatory`: one that no queue takes
    comes back as refused instead of being dropped.
    """

    def __init__(self, config: MessagingConfig, *, name: str) -> None:
        self._config = config
        self._name = name
        self._connection: Connection | None = None
        self._channel: _Channel | None = None

    @property
    def is_open(self) -> bool:
        return self._connection is not None and self._connection.is_open

    def open(self) -> None:
        """Connects unless connected. Raises BrokerUnavailableError or ConfigurationError."""
        self._open()

    def _open(self) -> tuple[Connection, _Channel]:
        if self._connection is not None:
            self._connection.look()  # or this batch pays for a loss that nobody has noticed yet
        if self._connection is None or not self._connection.is_open:
            self.close()
            self._connection = Connection(self._config, name=self._name)
            self._connection.open()
        if self._channel is not None and self._channel.has_refused:
            self._channel.close()
            self._channel = None
        if self._channel is None or self._channel.closed_because:
            self._channel = _Channel(self._connection)
        return self._connection, self._channel

    def close(self) -> None:
        """Closes the connection; what is not confirmed yet may or may not have arrived. Opens again when asked to."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.close()

    def publish(self, publications: Sequence[Publication]) -> list[Receipt]:
        """Publishes all, pipelined, and waits for the confirms, at most `confirm_timeout` seconds. One receipt each.

        Raises what `open` raises; nothing is published then, unless the connection was lost in the middle of the batch.
        A message that makes the broker close the channel (too large, to an exchange that is not there) is found by
        publishing the rest one at a time, each with a `confirm_timeout` of its own, and refused alone.
        After a crash in here any of them may or may not be published.
        """
        receipts = self._publish_once(publications)
        if len(publications) == 1 or self._channel is None or not self._channel.closed_because:
            return receipts
        answers = True
        for at, publication in enumerate(publications):
            if answers and receipts[at].fate is Fate.UNKNOWN:
                [receipts[at]] = self._publish_once([publication])
                # After one without an answer, each of the others would be waited for just as long.
                answers = receipts[at].fate is not Fate.UNKNOWN
        return receipts

    def _publish_once(self, publications: Sequence[Publication]) -> list[Receipt]:
        connection, channel = self._open()
        alone = len(publications) == 1
        batch = channel.publish(publications)
        in_time = connection.is_open and (
            connection.wait(lambda: batch.settled, self._config.confirm_timeout) or not connection.is_open
        )
        if not in_time:
            reason = connection.blocked or "RabbitMQ does not confirm in time"
            unknown = Receipt(Fate.UNKNOWN, reason if connection.is_open else str(connection.error))
            # What the broker answers from now on belongs to a batch that nobody waits for: start afresh.
            self.close()
        elif channel.closed_because:
            reason = "The channel closed before the confirm"
            unknown = Receipt(Fate.REFUSED, str(channel.closed_because)) if alone else Receipt(Fate.UNKNOWN, reason)
        elif not connection.is_open:
            # A message sent alone may be why the broker hung up. Where refusals are tried again later, so is this one.
            unknown = Receipt(Fate.REFUSED if alone else Fate.UNKNOWN, str(connection.error))
        else:
            unknown = Receipt(Fate.UNKNOWN, "The channel closed before the confirm")
        return [receipt or unknown for receipt in batch.receipts]
