"""A real broker for each test: fresh queues, and a way to look into them."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from messaging import conf, topology
from messaging.amqp import Connection, open_blocking
from messaging.conf import MessagingConfig
from messaging.stopping import Stop
from messaging.tests.handlers import Recorder
from messaging.tests.handlers import recorder as the_recorder


@pytest.fixture
def config() -> MessagingConfig:
    """The test project's configuration with a short ladder."""
    return replace(conf.config(), retry_delays=("100ms", "200ms"), confirm_timeout=5.0, poll_interval=0.1)


@pytest.fixture
def client(client: Any, django_user_model: Any) -> Any:
    """A browser in which anna has logged in, who may do everything in the admin."""
    client.force_login(django_user_model.objects.create_superuser("anna"))
    return client


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    the_recorder.reset()
    yield the_recorder
    the_recorder.reset()


class Broker:
    """What a test does to the broker by hand."""

    def __init__(self, connection: BlockingConnection, config: MessagingConfig) -> None:
        self._connection = connection
        self.config = config
        self.reopen()

    def reopen(self) -> None:
        """Opens a channel again, after the broker has closed one."""
        self.channel: BlockingChannel = self._connection.channel()
        self.channel.confirm_delivery()

    def publish(
        self,
        body: bytes,
        *,
        exchange: str = "",
        routing_key: str | None = None,
        mandatory: bool = False,
        **properties: Any,
    ) -> None:
        key = self.config.queue if routing_key is None else routing_key
        self.channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties), mandatory=mandatory)

    def publish_thing(self, number: int, **properties: Any) -> None:
        self.publish(json.dumps({"number": number}).encode(), type="thing.happened", **properties)

    def get(self, queue: str, *, within: float = 30.0) -> tuple[pika.BasicProperties, bytes] | None:
        """The next message of a queue, taken off it; None when none comes in time."""
        end = time.monotonic() + within
        while True:
            method, properties, body = self.channel.basic_get(queue, auto_ack=True)
            if method is not None:
                return properties, body
            if time.monotonic() > end:
                return None
            time.sleep(0.02)

    def count(self, queue: str) -> int:
        return int(self.channel.queue_declare(queue, passive=True).method.message_count)


@pytest.fixture
def broker(config: MessagingConfig) -> Iterator[Broker]:
    with open_blocking(config, name="test") as connection:
        broker = Broker(connection, config)
        for queue in topology.describe(config).queues:
            broker.channel.queue_delete(queue.name)
        topology.apply(config)
        yield broker


def eventually(condition: Callable[[], Any], *, within: float = 60.0) -> Any:
    """Waits until the condition is true and returns what it returned; fails when it does not become true."""
    end = time.monotonic() + within
    while not (result := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
    return result


def hang_up(connection: Connection) -> None:
    """Ends the connection as a dying broker does: nothing more will come."""
    transport: Any = connection._connection._transport  # type: ignore[union-attr]
    transport._sock.shutdown(socket.SHUT_RDWR)


class Running:
    """A relay or consumer in a thread, stopped at the end of the test. Its error, if any, is raised there."""

    def __init__(self, run: Callable[[], None], stop: Callable[[], None]) -> None:
        self.error: BaseException | None = None
        self._stop = stop

        def target() -> None:
            try:
                run()
            except BaseException as error:
                self.error = error

        self.thread = threading.Thread(target=target, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self._stop()
        self.thread.join(timeout=60)
        assert not self.thread.is_alive(), "it did not stop"
        if self.error:
            raise self.error


@pytest.fixture
def start(config: MessagingConfig, request: pytest.FixtureRequest) -> Any:
    """Starts a consumer; it is stopped at the end, and must not have ended by an error."""
    from messaging.consumer import Consumer  # its models need settings, which are there by now

    def start(**changes: Any) -> Running:
        stop = Stop()
        running = Running(Consumer(replace(config, **changes), stop).run, stop.request)
        request.addfinalizer(running.stop)
        return running

    return start
