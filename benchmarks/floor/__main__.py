"""The floor's other processes: `python -m benchmarks.floor relay QUEUE`, `process` or `note`.

Each is one pika connection with a loop around it. It ends when it loses a connection; what it had in hand is neither
committed nor acknowledged, and so comes again.
"""

import os
import signal
import sys
from typing import Any
from uuid import UUID

import orjson
import pika

from benchmarks.floor.tables import DECIDE, NOTE, TAKE, connect

CREATED, PROCESSED = "processor.created", "orders.processed"
BATCH = 200
FLUSH_AFTER = 0.001
LOOK_AGAIN = 0.02
"""Seconds that a batch waits at most for more messages, and a message in the outbox for a relay that nobody wakes."""
MAX_TOTAL = 100_000


def declare_queues(url: str) -> None:
    """To be called before any process starts: RabbitMQ fails (541) when two declare a new quorum queue at once."""
    connection = pika.BlockingConnection(pika.URLParameters(url))
    channel = connection.channel()
    for queue in (CREATED, PROCESSED):
        dead = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": f"{queue}.dlq"}
        safe = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        for name, arguments in ((f"{queue}.dlq", {}), (queue, dead | safe)):
            channel.queue_declare(name, durable=True, arguments={"x-queue-type": "quorum", **arguments})
    connection.close()


class Process:
    """Calls `ready` when it has a channel."""

    def run(self) -> None:
        self.connection = pika.SelectConnection(
            pika.URLParameters(os.environ["RABBITMQ_URL"]),
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=self._lost,
            on_close_callback=self._lost,
        )
        self.connection.ioloop.start()

    def ready(self) -> None:
        raise NotImplementedError

    def _opened(self, channel: Any) -> None:
        self.channel = channel
        channel.add_on_close_callback(self._lost)
        channel.basic_qos(prefetch_count=3 * BATCH, callback=lambda _: self.ready())

    def _lost(self, _: Any, reason: object) -> None:
        sys.exit(f"lost: {reason}")


class Relay(Process):
    """Moves the outbox to a queue: deletes a batch, publishes it, awaits every confirm, commits."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.database, self.cursor = connect(autocommit=False)
        self.listener, _ = connect()
        self.open: set[int] = set()
        self.first = self.last = 0
        self.refused = False

    def ready(self) -> None:
        self.channel.confirm_delivery(self.confirmed, callback=lambda _: self.look_again())
        self.channel.add_on_return_callback(self.returned)
        self.listener.execute("LISTEN outbox")
        self.connection.ioloop.add_handler(self.listener.fileno(), self.woken, self.connection.ioloop.READ)

    def woken(self, _fd: int, _events: int) -> None:
        self.listener.pgconn.consume_input()
        while self.listener.pgconn.notifies():
            pass
        self.publish_batch()

    def look_again(self) -> None:
        self.publish_batch()
        self.connection.ioloop.call_later(LOOK_AGAIN, self.look_again)

    def publish_batch(self) -> None:
        if self.open:
            return  # the last confirm of the open batch calls this again
        rows = self.cursor.execute(TAKE).fetchall()
        if not rows:
            self.database.commit()
            return
        self.first, self.last = self.last + 1, self.last + len(rows)
        self.open = set(range(self.first, self.last + 1))
        for message_id, body in rows:
            properties = pika.BasicProperties(delivery_mode=2, content_type="application/json", message_id=message_id)
            self.channel.basic_publish("", self.queue, body.encode(), properties, mandatory=True)

    def confirmed(self, frame: Any) -> None:
        tag, several = frame.method.delivery_tag, frame.method.multiple
        self.refused |= frame.method.NAME != "Basic.Ack"
        self.open.difference_update(range(self.first, tag + 1) if several else [tag])
        if self.open:
            return
        if self.refused:  # the whole batch goes back; the inbox knows the messages that got through
            self.refused = False
            self.database.rollback()
        else:
            self.database.commit()
            self.publish_batch()

    def returned(self, *_: object) -> None:
        self.refused = True


class Consumer(Process):
    """Works on batches of one queue: one statement, which commits, then one ack for the whole batch."""

    queue: str

    def __init__(self) -> None:
        _, self.cursor = connect()
        self.batch: list[Any] = []
        self.last = 0
        self.timer: Any = None

    def read(self, message_id: str, body: Any) -> Any:
        raise NotImplementedError

    def work(self, batch: list[Any]) -> None:
        raise NotImplementedError

    def ready(self) -> None:
        self.channel.basic_consume(self.queue, self.receive)

    def receive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        try:
            self.batch.append(self.read(properties.message_id, orjson.loads(body)))
        except (KeyError, TypeError, ValueError):
            channel.basic_reject(method.delivery_tag, requeue=False)
            return
        self.last = method.delivery_tag
        if len(self.batch) >= BATCH:
            self.flush()
        elif self.timer is None:
            self.timer = self.connection.ioloop.call_later(FLUSH_AFTER, self.flush)

    def flush(self) -> None:
        if self.timer is not None:
            self.connection.ioloop.remove_timeout(self.timer)
            self.timer = None
        if self.batch:
            batch, self.batch = self.batch, []
            self.work(batch)
            self.channel.basic_ack(self.last, multiple=True)


class Processor(Consumer):
    """Decides each order once."""

    queue = CREATED

    def read(self, message_id: str, body: Any) -> Any:
        total, reason = body["total_amount"], None
        if round(100 * total) != sum(item["quantity"] * round(100 * item["price"]) for item in body["items"]):
            reason = "The total amount is not the sum of the items."
        elif any(item["quantity"] <= 0 or item["price"] <= 0 for item in body["items"]):
            reason = "An item has a quantity or price that is not above zero."
        elif total > MAX_TOTAL:
            reason = f"The total amount is above {MAX_TOTAL}."
        outcome = "failed" if reason else "completed"
        UUID(message_id), UUID(body["order_id"])  # raises if it is no order
        return message_id, body["order_id"], str(body["customer_id"]), str(total), outcome, reason

    def work(self, batch: list[Any]) -> None:
        self.cursor.execute(DECIDE, [list(column) for column in zip(*batch, strict=True)])
        self.cursor.execute("NOTIFY outbox")


class Noter(Consumer):
    """Notes the verdicts, each only on a pending order."""

    queue = PROCESSED

    def read(self, message_id: str, body: Any) -> Any:
        UUID(body["order_id"]), str(body["status"])  # raises if it is no verdict
        return body

    def work(self, batch: list[Any]) -> None:
        self.cursor.execute(NOTE, [orjson.dumps(batch).decode(), [verdict["order_id"] for verdict in batch]])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    match sys.argv[1:]:
        case ["relay", queue]:
            Relay(queue).run()
        case ["process"]:
            Processor().run()
        case ["note"]:
            Noter().run()
