"""RabbitMQ, as seen by anybody who has its address."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import pika

from dev.servers import RabbitMQ
from dev.servers.rabbitmq import manage
from tests.waiting import eventually

EXCHANGE = "orders"
ORDER_QUEUE = "orders.events.v1"
PROCESSOR_QUEUE = "processor.events.v1"
_PERSISTENT = 2
_TAPS = "tap."


@dataclass(frozen=True, slots=True)
class Event:
    """A message as it passed the exchange."""

    type: str
    """Its routing key."""
    body: dict[str, Any]
    properties: pika.BasicProperties

    @property
    def order_id(self) -> str:
        return str(self.body["order_id"])

    @property
    def message_id(self) -> str:
        return str(self.properties.message_id)


class Broker:
    """A client of one virtual host. Each call connects anew, so that a broker may go and come back between two.

    `url` may be several, as in RABBITMQ_URL: the first node that answers is asked.
    """

    def __init__(self, url: str, management_url: str) -> None:
        self.url = url
        self._management_url = management_url

    @contextmanager
    def channel(self) -> Iterator[Any]:
        nodes = [pika.URLParameters(url) for url in self.url.split(",")]
        for node in nodes:
            node.heartbeat = 0  # a test may look away for longer than any heartbeat
        connection = pika.BlockingConnection(nodes)
        try:
            yield connection.channel()
        finally:
            connection.close()

    def publish(self, body: bytes | dict[str, Any], *, exchange: str = "", routing_key: str, **properties: Any) -> None:
        """Publishes one message and waits until the broker has it. Some queue must take it."""
        self.publish_all([(body, properties)], exchange=exchange, routing_key=routing_key)

    def publish_all(
        self, messages: list[tuple[bytes | dict[str, Any], dict[str, Any]]], *, exchange: str = "", routing_key: str
    ) -> None:
        with self.channel() as channel:
            channel.confirm_delivery()
            for body, properties in messages:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                given = pika.BasicProperties(**{"delivery_mode": _PERSISTENT, **properties})
                channel.basic_publish(exchange, routing_key, content, given, mandatory=True)

    def queues(self, *, taps: bool = False) -> list[str]:
        """The names of all queues; those of `tap` only with `taps`."""
        answer = json.loads(manage(self._management_url, "GET", f"/api/queues/{self._vhost}?columns=name"))
        return sorted(queue["name"] for queue in answer if taps or not queue["name"].startswith(_TAPS))

    def bound_queues(self) -> set[str]:
        """The queues that are bound to an exchange other than the default one."""
        answer = json.loads(manage(self._management_url, "GET", f"/api/bindings/{self._vhost}"))
        return {binding["destination"] for binding in answer if binding["source"]}

    def waiting(self) -> dict[str, int]:
        """How many messages wait in each queue that has any. Does not count those that a consumer has in hand."""
        with self.channel() as channel:
            counts = {name: channel.queue_declare(name, passive=True).method.message_count for name in self.queues()}
        return {name: count for name, count in counts.items() if count}

    @contextmanager
    def tap(self) -> Iterator["Tap"]:
        """Copies all that passes the exchange during the block, even across a restart of the broker."""
        tap = Tap(self)
        try:
            yield tap
        finally:
            with suppress(pika.exceptions.AMQPError):  # a test that failed may have left the broker stopped
                tap.close()

    @property
    def _vhost(self) -> str:
        return quote(unquote(urlsplit(self.url.partition(",")[0]).path[1:]) or "/", safe="")


def crash(server: RabbitMQ, broker: Broker) -> None:
    """SIGKILL, as soon as RabbitMQ would know its queues again afterwards.

    RabbitMQ (3.10) notes a new quorum queue on disk only a second after it was declared. Killed before that, it loses
    the queue, whatever it has confirmed. The services' queues are older than that when something happens to them.
    """
    queues = [name.encode() for name in broker.queues(taps=True)]

    def all_noted() -> bool:
        noted = b"".join(file.read_bytes() for file in server.folder.rglob("names.dets"))
        return not noted or all(name in noted for name in queues)

    eventually(all_noted, "RabbitMQ has noted all queues on disk")
    server.kill()


class Tap:
    """Reads along on the exchange, by a durable queue of its own."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._queue = f"{_TAPS}{uuid4()}"
        self._seen: list[Event] = []
        with broker.channel() as channel:
            channel.exchange_declare(EXCHANGE, "topic", durable=True)
            channel.queue_declare(self._queue, durable=True, arguments={"x-queue-type": "quorum"})
            channel.queue_bind(self._queue, EXCHANGE, "#")

    def close(self) -> None:
        with self._broker.channel() as channel:
            channel.queue_delete(self._queue)

    def reads_along(self) -> bool:
        """Whether the route is still there: RabbitMQ's topic exchanges are known to forget routes in a restart.

        The list of bindings still shows a forgotten route, so a message is sent along it to find out.
        """
        with self._broker.channel() as channel:
            channel.confirm_delivery()
            try:
                channel.basic_publish(EXCHANGE, "tap.probe", b"", mandatory=True)
            except pika.exceptions.UnroutableError:
                return False
        return True

    def events(self, type_: str, order_id: str | None = None) -> list[Event]:
        """What has passed so far of this type, for all orders or for one."""
        with self._broker.channel() as channel:
            while True:
                method, properties, body = channel.basic_get(self._queue, auto_ack=True)
                if method is None:
                    break
                # Tests also send what is no event, and do not look for that here.
                try:
                    content = json.loads(body)
                except ValueError:
                    continue
                if isinstance(content, dict) and "order_id" in content:
                    self._seen.append(Event(method.routing_key, content, properties))
        return [
            event for event in self._seen if event.type == type_ and (order_id is None or event.order_id == order_id)
        ]

    def decisions(self) -> dict[str, set[str]]:
        """For each order, the ids of the messages that said how it ended. A message that is sent twice counts once."""
        decided: dict[str, set[str]] = {}
        for event in self.events("order.processed"):
            decided.setdefault(event.order_id, set()).add(event.message_id)
        return decided
