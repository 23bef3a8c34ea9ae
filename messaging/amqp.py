"""Connections to RabbitMQ. pika is spoken here, in `publisher`, `deliveries` and `topology`, and nowhere else.

A `Connection` runs pika's event loop in a thread of its own. The main thread does plain, blocking Django work and
asks the loop for what it needs. So heartbeats are answered however long a handler takes, and no Django code ever
runs inside a pika callback.
"""

import logging
import re
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

import pika
import pika.channel
import pika.exceptions
import pika.spec
from pika.adapters.blocking_connection import BlockingConnection
from pika.adapters.select_connection import IOLoop

from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, ConfigurationError

logger = logging.getLogger(__name__)

# pika reports what we report better ourselves: one line for each change of state.
logging.getLogger("pika").setLevel(logging.CRITICAL)

UNREADABLE_HEADERS = "x-unreadable-headers"

_ANSWER_TIMEOUT = 10.0
_REFUSALS = {403: "refuses the user or password", 530: "does not let this user into the virtual host"}


class _TolerantProperties(pika.spec.BasicProperties):
    """Properties that can always be decoded.

    pika decodes headers before anybody sees the message, and one that it cannot decode (a timestamp past the year
    9999, arrays nested a thousand deep) costs the connection, again at every redelivery. Here it costs the headers
    only, and the message goes the way of every bad message: to the dead letters, under its own id.
    """

    def decode(self, encoded: bytes, offset: int = 0) -> Any:
        try:
            return super().decode(encoded, offset)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"[:200]
        with suppress(IndexError, struct.error):
            super().decode(_without_headers(encoded[offset:]))
        self.headers = {UNREADABLE_HEADERS: reason}
        return self


def _without_headers(encoded: bytes) -> bytes:
    """The same properties with the table of headers cut out: its length stands before it."""
    (flags,) = struct.unpack_from(">H", encoded)
    start = 2
    for flag in (pika.BasicProperties.FLAG_CONTENT_TYPE, pika.BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & flag:
            start += 1 + encoded[start]
    (length,) = struct.unpack_from(">I", encoded, start)
    flags &= ~pika.BasicProperties.FLAG_HEADERS
    return struct.pack(">H", flags) + encoded[2:start] + encoded[start + 4 + length :]


pika.spec.props[pika.spec.Basic.INDEX] = _TolerantProperties


class _Connection(pika.SelectConnection):
    """pika's, but what is sent within `gathered` goes out in one write instead of three a message."""

    _gathered: list[bytes] | None = None

    @contextmanager
    def gathered(self) -> Iterator[None]:
        self._gathered = []
        try:
            yield
        finally:
            data, self._gathered = b"".join(self._gathered), None
            if data and self.is_open:
                super()._adapter_emit_data(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        if self._gathered is None:
            super()._adapter_emit_data(data)
        else:
            self._gathered.append(data)


def parameters(config: MessagingConfig, *, name: str) -> list[pika.URLParameters]:
    """One set of connection parameters for each URL. Raises ConfigurationError for a URL that is none."""
    result = []
    for url in config.url.split(","):
        try:
            found = pika.URLParameters(url.strip())
        except (ValueError, TypeError, IndexError) as error:
            raise ConfigurationError(f"RABBITMQ_URL is no AMQP URL: {error}") from None
        if not url.strip().startswith(("amqp://", "amqps://")):
            raise ConfigurationError("RABBITMQ_URL must begin with amqp:// or amqps://")
        found.heartbeat = config.heartbeat
        found.blocked_connection_timeout = 2 * config.confirm_timeout
        found.socket_timeout = 5
        found.stack_timeout = 10
        found.connection_attempts = 1
        found.client_properties = {"connection_name": f"{config.service} {name}"}
        result.append(found)
    return result


def _unavailable(error: BaseException | None) -> BrokerUnavailableError | ConfigurationError:
    """Says in one sentence what a failure to connect means; a wrong password or virtual host is for a human."""
    code = getattr(error, "reply_code", None)
    # pika guesses at a refusal whenever a connection ends at this stage, as it does when the broker goes down just
    # then. Only what the broker itself has said counts; it stands in the text.
    if isinstance(error, pika.exceptions.ProbableAuthenticationError | pika.exceptions.ProbableAccessDeniedError):
        said = re.search(r"ConnectionClosedByBroker: \((\d+)\)", str(error))
        code = int(said[1]) if said else None
    elif isinstance(error, pika.exceptions.AuthenticationError):
        code = 403
    if code in _REFUSALS:
        return ConfigurationError(f"RabbitMQ {_REFUSALS[code]} of RABBITMQ_URL: {_reason(error)}")
    return BrokerUnavailableError(f"RabbitMQ cannot be reached: {_reason(error)}")


def _reason(error: BaseException | None) -> str:
    """What went wrong, in words. pika wraps errors in errors that say nothing themselves."""
    while error is not None and not str(error):
        inner = getattr(error, "exception", None) or next(reversed(getattr(error, "exceptions", error.args)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return str(getattr(error, "reply_text", "") or error or type(error).__name__)


@contextmanager
def open_blocking(config: MessagingConfig, *, name: str, timeout: float = 5.0) -> Iterator[BlockingConnection]:
    """A connection for a few questions and answers: declaring, comparing, checking health.

    Raises BrokerUnavailableError when no URL answers within `timeout` seconds each, ConfigurationError when the
    broker refuses the credentials.
    """
    connection: BlockingConnection | None = None
    failure: BrokerUnavailableError | ConfigurationError | None = None
    for one in parameters(config, name=name):
        one.socket_timeout = timeout
        one.stack_timeout = timeout
        one.blocked_connection_timeout = timeout
        try:
            connection = BlockingConnection(one)
            break
        except Exception as error:  # pika hands over whatever its connector met
            failure = _unavailable(error)
    if connection is None:
        raise failure or BrokerUnavailableError("RABBITMQ_URL names no broker")
    try:
        yield connection
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


class Connection:
    """One AMQP connection whose input and output run in a thread of their own.

    `open` blocks until the connection stands. After a loss `is_open` is False and every pending or later `ask` raises
    BrokerUnavailableError; the object is then used up: make a new one.
    """

    def __init__(self, config: MessagingConfig, *, name: str) -> None:
        self._candidates = parameters(config, name=name)
        self._name = name
        self._loop: IOLoop | None = None
        self._connection: _Connection | None = None
        self._thread: threading.Thread | None = None
        self._pending: set[Future[Any]] = set()
        self._lost: BaseException | None = None
        self.blocked = ""
        """Why the broker takes no publications at the moment, in a sentence; empty while it takes them."""
        self.on_lost: Callable[[], None] = lambda: None
        """Called in the connection's thread when it is gone."""

    @property
    def is_open(self) -> bool:
        connection = self._connection
        return self._lost is None and connection is not None and connection.is_open

    @property
    def error(self) -> BrokerUnavailableError:
        """Why it is not open, as an error to raise."""
        return BrokerUnavailableError(f"The connection to RabbitMQ is lost: {_reason(self._lost)}")

    def open(self) -> None:
        """Connects to the first URL that answers. Raises BrokerUnavailableError or ConfigurationError."""
        failure: BrokerUnavailableError | ConfigurationError | None = None
        for candidate in self._candidates:
            opened: Future[None] = Future()
            self._lost = None
            self._thread = threading.Thread(
                target=self._run, args=(candidate, opened), name=f"amqp {self._name}", daemon=True
            )
            self._thread.start()
            try:
                opened.result(timeout=3 * _ANSWER_TIMEOUT)
                return
            except TimeoutError:
                failure = BrokerUnavailableError("RabbitMQ accepts the connection but does not answer")
            except Exception as error:  # pika hands over whatever its connector met
                failure = _unavailable(error)
        raise failure or BrokerUnavailableError("RABBITMQ_URL names no broker")

    def open_channel(self) -> pika.channel.Channel:
        """A new channel. Its methods are called through `ask` and `tell` only."""
        connection = self._connection
        if connection is None:
            raise self.error
        channel: pika.channel.Channel = self.ask(
            lambda answer: connection.channel(on_open_callback=answer), what="a channel"
        )
        return channel

    def tell(self, action: Callable[[], Any]) -> None:
        """Has the connection's thread do something whose answer does not matter. Silent when the connection is gone."""
        loop = self._loop
        if loop is not None and self._lost is None:
            loop.add_callback_threadsafe(action)

    def ask(self, request: Callable[[Callable[[Any], None]], Any], *, what: str) -> Any:
        """Has the connection's thread do `request(callback)` and returns what the callback is given.

        Raises BrokerUnavailableError when the connection, or the channel in use, goes meanwhile, and when no answer
        comes in time.
        """
        answer: Future[Any] = Future()

        def act() -> None:
            try:
                request(partial(_settle, answer))
            except Exception as error:
                _fail(answer, error)

        self._pending.add(answer)
        try:
            if not self.is_open:
                raise self.error
            self.tell(act)
            return answer.result(timeout=_ANSWER_TIMEOUT)
        except TimeoutError:
            raise BrokerUnavailableError(f"RabbitMQ does not answer: asked for {what}") from None
        except pika.exceptions.AMQPError as error:
            raise BrokerUnavailableError(f"RabbitMQ refused {what}: {_reason(error)}") from error
        finally:
            self._pending.discard(answer)

    def fail_pending(self, error: BaseException) -> None:
        """Answers whatever is being asked with an error. Called in the connection's thread when a channel closes."""
        for answer in list(self._pending):
            _fail(answer, error)

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """What is sent in this block, in the connection's thread, goes out in one write."""
        with self._connection.gathered() if self._connection is not None else nullcontext():
            yield

    def close(self) -> None:
        """Closes politely and waits a moment for it; returns in any case."""
        connection, thread = self._connection, self._thread
        if connection is not None and self._lost is None:
            self.tell(lambda: connection.is_open and connection.close())
        if thread is not None:
            thread.join(timeout=2)

    def _run(self, candidate: pika.URLParameters, opened: Future[None]) -> None:
        loop = IOLoop()
        self._loop = loop

        def stop(error: BaseException) -> None:
            if self._loop is loop:  # else it was given up, and another URL is being tried or used
                self._lost = self._lost or error
            _fail(opened, error)
            loop.stop()

        try:
            self._connection = _Connection(
                candidate,
                on_open_callback=lambda connection: _settle(opened, None),
                on_open_error_callback=lambda connection, error: stop(error),
                on_close_callback=lambda connection, error: stop(error),
                custom_ioloop=loop,
            )
            self._connection.add_on_connection_blocked_callback(self._on_blocked)
            self._connection.add_on_connection_unblocked_callback(self._on_unblocked)
            loop.start()
        except Exception as error:
            logger.debug("the AMQP loop ended", exc_info=True)
            stop(error)
        finally:
            if self._loop is loop:
                self.fail_pending(self.error)
                self.on_lost()

    def _on_blocked(self, connection: pika.SelectConnection, frame: Any) -> None:
        self.blocked = f"RabbitMQ blocks publishers: {frame.method.reason}"

    def _on_unblocked(self, connection: pika.SelectConnection, frame: Any) -> None:
        self.blocked = ""


def _settle(future: Future[Any], result: Any = None) -> None:
    with suppress(InvalidStateError):
        future.set_result(result)


def _fail(future: Future[Any], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
