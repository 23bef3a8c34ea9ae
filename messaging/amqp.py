"""Connections to RabbitMQ. pika is used in this package alone, and mostly in this module.

Whoever waits for the broker drives pika's event loop meanwhile, so that nothing is handed from thread to thread. While
nobody does, because a handler or the database takes its time, a thread of the `Connection` looks in several times a
second. So heartbeats are answered however long a handler takes, and no Django code ever runs inside a pika callback.
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pika
import pika.channel
import pika.exceptions
from pika.adapters.blocking_connection import BlockingConnection

from messaging.conf import MessagingConfig
from messaging.errors import BrokerUnavailableError, ConfigurationError
from messaging.pika_patches import AT_ONCE, FastConnection, SteppedLoop

logger = logging.getLogger(__name__)

# pika reports what we report better ourselves: one line for each change of state.
logging.getLogger("pika").setLevel(logging.CRITICAL)

_ANSWER_TIMEOUT = 10.0
# How often (seconds) the thread looks in: a small part of any heartbeat's interval.
_LOOK_IN_EVERY = 0.25
_REFUSALS = {403: "refuses the user or password", 530: "does not let this user into the virtual host"}
# What pika says when time runs out after it has connected; the rest of its text is the address as Python writes it.
_SILENCE = re.compile("Timeout (during AMQP handshake|while setting up)")


def parameters(config: MessagingConfig, *, name: str) -> list[pika.URLParameters]:
    """One set of connection parameters for each URL. Raises ConfigurationError for one that is no AMQP URL."""
    result = []
    for url in config.url.split(","):
        try:
            found = pika.URLParameters(url.strip())
        except (ValueError, TypeError, IndexError, SyntaxError, OSError) as error:  # the last two: its ssl_options
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


def _unavailable(error: BaseException | None, where: pika.URLParameters) -> BrokerUnavailableError | ConfigurationError:
    """Says in one sentence what a failure to connect means; a wrong password or virtual host needs a human."""
    code = getattr(error, "reply_code", None)
    # pika guesses at a refusal whenever a connection ends at this stage, which also happens when the broker goes down
    # just then. Only what the broker itself has said counts; pika's text quotes it.
    if isinstance(error, pika.exceptions.ProbableAuthenticationError | pika.exceptions.ProbableAccessDeniedError):
        said = re.search(r"ConnectionClosedByBroker: \((\d+)\)", str(error))
        code = int(said[1]) if said else None
    elif isinstance(error, pika.exceptions.AuthenticationError):
        code = 403
    # A virtual host that has as many connections as it may have also answers 530.
    if code in _REFUSALS and "limit" not in str(error):
        return ConfigurationError(f"RabbitMQ {_REFUSALS[code]} of RABBITMQ_URL: {_reason(error)}")
    if error is None or _SILENCE.search(_reason(error)):
        return BrokerUnavailableError(
            f"RabbitMQ at {where.host}:{where.port} accepted the connection and did not answer"
        )
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
            failure = _unavailable(error, one)
    if connection is None:
        raise failure or BrokerUnavailableError("RABBITMQ_URL names no broker")
    try:
        yield connection
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


class Connection:
    """One AMQP connection, used from one thread and looked after by another.

    `open` blocks until the connection is open. After a loss `is_open` is False and every later `ask` raises
    BrokerUnavailableError; the object is then used up: make a new one. Whoever waits notices a loss at once; otherwise
    it is noticed within a second.
    """

    def __init__(self, config: MessagingConfig, *, name: str) -> None:
        self._candidates = parameters(config, name=name)
        self._name = name
        self._lock = threading.RLock()
        """Held by whoever touches pika's objects, which know nothing of threads. Their callbacks run under it."""
        self._loop: SteppedLoop | None = None
        self._connection: FastConnection | None = None
        self._lost: BaseException | None = None
        self._refused: BaseException | None = None
        self._more = False
        """Whether the last round ended before all was taken in."""
        self.blocked = ""
        """Why the broker takes no publications at the moment, in a sentence; empty while it takes them."""

    @property
    def is_open(self) -> bool:
        connection = self._connection
        return self._lost is None and connection is not None and connection.is_open

    @property
    def inner(self) -> FastConnection:
        """pika's own connection, for callables given to `tell` or `ask`. BrokerUnavailableError before `open`."""
        if self._connection is None:
            raise self.error
        return self._connection

    @property
    def frame_max(self) -> int:
        """The longest frame in bytes, as agreed on with the broker. Raises BrokerUnavailableError before `open`."""
        return int(self.inner.params.frame_max)

    @property
    def error(self) -> BrokerUnavailableError:
        """Why it is not open, as an error to raise."""
        return BrokerUnavailableError(f"The connection to RabbitMQ is lost: {_reason(self._lost)}")

    def open(self) -> None:
        """Connects to the first URL that answers. Raises BrokerUnavailableError or ConfigurationError."""
        failure: BrokerUnavailableError | ConfigurationError | None = None
        for candidate in self._candidates:
            self._lost = None
            self._begin(candidate)
            if self.wait(lambda: self.is_open, 3 * _ANSWER_TIMEOUT):
                return
            failure = _unavailable(self._lost, candidate)
        raise failure or BrokerUnavailableError("RABBITMQ_URL names no broker")

    def open_channel(self) -> pika.channel.Channel:
        """A new channel. Its methods are called through `ask` and `tell` only. Raises BrokerUnavailableError."""
        channel: pika.channel.Channel = self.ask(
            lambda answer: self.inner.channel(on_open_callback=answer), what="a channel"
        )
        return channel

    def tell(self, action: Callable[[], Any]) -> None:
        """Does something with pika's objects that needs no answer. Does nothing when the connection is gone."""
        with self._lock:
            if self._lost is None:
                action()

    def ask(self, request: Callable[[Callable[[Any], None]], Any], *, what: str) -> Any:
        """Does `request(callback)`, waits, and returns what the callback is given.

        Raises BrokerUnavailableError when the connection, or the channel in use, is lost meanwhile, and when no answer
        comes in time.
        """
        answer: list[Any] = []
        with self._lock:
            if not self.is_open:
                raise self.error
            self._refused = None
            try:
                request(answer.append)
            except pika.exceptions.AMQPError as error:
                self._refused = error
        self.wait(lambda: bool(answer or self._refused), _ANSWER_TIMEOUT)
        if answer:
            return answer[0]
        if self._lost is not None:
            raise self.error
        if self._refused is not None:
            raise BrokerUnavailableError(f"RabbitMQ refused {what}: {_reason(self._refused)}") from self._refused
        raise BrokerUnavailableError(f"RabbitMQ does not answer: asked for {what}")

    def refuse(self, error: BaseException) -> None:
        """Ends the `ask` under way with an error. For a callback that learns that a channel is closed."""
        self._refused = error

    def wait(self, done: Callable[[], bool], seconds: float) -> bool:
        """Lets the broker's messages come in until it is done or `seconds` are over. Returns whether it is done.

        Looks for messages once in any case, and takes in all that are there. Ends early when the connection is lost.
        """
        end = time.monotonic() + seconds
        self._round(0.0 if done() else seconds)
        while not done() and self._lost is None and (left := end - time.monotonic()) > 0:
            self._round(left)
        while self._more:
            self._round(0.0)
        return done()

    def look(self) -> None:
        """Takes in all that the broker has sent, without waiting: a loss of the connection, for one."""
        self.wait(lambda: True, 0.0)

    def close(self) -> None:
        """Closes politely and waits a moment for it; returns in any case."""
        connection = self._connection
        if connection is not None and self._lost is None:
            self.tell(lambda: connection.is_open and connection.close())
            self.wait(lambda: self._lost is not None, 2.0)

    def _begin(self, candidate: pika.URLParameters) -> None:
        """Begins to connect, on a loop that is looked after until it ends, even if it is given up before that."""
        self._loop = loop = SteppedLoop()
        with self._lock:
            try:
                self._connection = FastConnection(
                    candidate,
                    on_open_error_callback=lambda connection, error: self._end(loop, error),
                    on_close_callback=lambda connection, error: self._end(loop, error),
                    custom_ioloop=loop,
                )
                self._connection.add_on_connection_blocked_callback(self._on_blocked)
                self._connection.add_on_connection_unblocked_callback(self._on_unblocked)
            except Exception as error:
                self._end(loop, error)
        threading.Thread(target=self._look_after, args=[loop], name=f"amqp {self._name}", daemon=True).start()

    def _look_after(self, loop: SteppedLoop) -> None:
        """What the thread does. Whoever holds the lock is driving the loop already, and needs no help."""
        while not loop.ended.wait(_LOOK_IN_EVERY):
            if self._lock.acquire(blocking=False):
                try:
                    self._drive(loop, 0.0)
                finally:
                    self._lock.release()
        with self._lock:
            loop.close()

    def _round(self, seconds: float) -> None:
        with self._lock:
            if self._loop is not None and self._connection is not None:
                before = self._connection.taken_in
                self._drive(self._loop, seconds)
                self._more = self._connection.taken_in - before >= AT_ONCE

    def _drive(self, loop: SteppedLoop, seconds: float) -> None:
        if loop.ended.is_set():
            return
        try:
            loop.round(seconds)
        except Exception as error:
            logger.debug("the AMQP loop ended", exc_info=True)
            self._end(loop, error)

    def _end(self, loop: SteppedLoop, error: BaseException) -> None:
        loop.ended.set()
        if self._loop is loop:  # else it was given up, and another URL is being tried or used
            self._lost = self._lost or error

    def _on_blocked(self, connection: pika.SelectConnection, frame: Any) -> None:
        self.blocked = f"RabbitMQ blocks publishers: {frame.method.reason}"

    def _on_unblocked(self, connection: pika.SelectConnection, frame: Any) -> None:
        self.blocked = ""
