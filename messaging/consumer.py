"""The consumer: from the work queue to the handlers, and from the dead-letter queue into the database.

What becomes of a message after its handler has run is decided here, and nowhere else:

    the handler returns                  the message is acknowledged
    it raises TransientError, or has     the message waits on the next retry rung; after the last rung it goes to the
      a bug                              dead letters
    it raises PermanentError, or the     the message goes to the dead letters at once
      body is not valid
    the database is away                 nothing is counted; the messages wait in hand until it is back
    the database seems to be away,       the message is tried alone, five times, or once when its statement took too
      but answers                        long; then it has failed, as if by a bug
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from django.db import Error as DatabaseFailure
from django.db import connection, transaction

from database.errors import statement_took_too_long
from messaging import dead_letters, envelope, failpoints, inbox, metrics, replay_runner, topology
from messaging.batching import Pacer
from messaging.circuit import Circuit
from messaging.conf import MessagingConfig
from messaging.database import database_is_away, database_works, ensure_committable
from messaging.envelope import Delivery
from messaging.errors import FAILURES, BrokerUnavailableError, PermanentError, text_of
from messaging.fingerprints import fingerprint_of, place_of
from messaging.frames import Publication
from messaging.heartbeat import Heartbeat
from messaging.message import Message
from messaging.models import FailedAttempt
from messaging.publisher import Fate, Publisher
from messaging.stopping import Stop
from messaging.storable import storable_text
from messaging.subscriptions import Source, Subscription

logger = logging.getLogger(__name__)

_DEAD_LETTERS_AT_ONCE = 20
# A batch is sized to take about this long (seconds), judging by how long messages have taken lately: slow handlers get
# short transactions, and a process that is asked to stop has little in hand.
_BATCH_SECONDS = 1.0
# Deleting a queue ends its consumer, which declares it anew. But nobody is told when a binding is gone, so everything
# is declared again this often (seconds); what was published meanwhile waits in the sender's outbox.
TOPOLOGY_INTERVAL = 30.0
_REPLAYS_INTERVAL = 1.0
# Deadlocks and held locks pass by themselves; a bug in a handler may look the same, but does not pass.
_TRIES_ALONE = 5


type Failure = tuple[Delivery, BaseException]
type Move = tuple[Delivery, BaseException, Publication]


class Consumer:
    """Takes batches, has them handled in one transaction each, and acknowledges after the commit.

    A crash before the commit: the database undoes the batch, the broker delivers it again. A crash between commit and
    ack: the broker delivers it again and the inbox knows it.
    """

    def __init__(self, config: MessagingConfig, stop: Stop) -> None:
        self._config = config
        self._stop = stop
        self._handlers = config.handler_table
        self._publisher = Publisher(config, name="consume, failures")
        self._broker = Circuit("broker", stop)
        self._heartbeat = Heartbeat("consume", self._broker)
        self._database = Circuit("database", stop)
        self._pacer = Pacer()
        self._seconds_per_message = 0.0
        self._replays_due = 0.0
        self._handlers_began = False
        """The handlers had their turn in the last transaction."""

    def run(self) -> None:
        """Runs until asked to stop. Waits, for ever if need be, for a broker or a database that is away.

        Raises ConfigurationError for what waiting does not mend: refused credentials, a conflicting topology.
        """
        while not self._stop:
            source = Source(self._config)
            try:
                topology.apply(self._config)
                # A wrong password ends the process here and now, not at the first message.
                if not self._while_database_away(self._heartbeat.beat):
                    break
                source.open()
                # After a crash the broker sends again what was in hand, and one of those messages may have killed the
                # process: held alone, it takes no other message with it.
                work = source.subscribe(self._config.queue, prefetch=1)
                letters = source.subscribe(topology.dead_letter_queue(self._config), prefetch=_DEAD_LETTERS_AT_ONCE)
                self._broker.worked()
                topology_due = time.monotonic() + TOPOLOGY_INTERVAL
                while not self._stop and self._while_database_away(self._heartbeat.beat):
                    if not self._while_database_away(self._carry_on_replays):
                        break
                    if time.monotonic() > topology_due:
                        topology.apply(self._config)
                        topology_due = time.monotonic() + TOPOLOGY_INTERVAL
                    self.handle_batches(work, letters)
                    source.wait(0.5)
            except BrokerUnavailableError as error:
                self._broker.failed(error)
            finally:
                source.close()
            if self._broker.is_open:
                self._while_database_away(self._heartbeat.beat)  # this process lives, and says what it waits for
                self._broker.pause()
        self._publisher.close()
        self._heartbeat.end()
        connection.close()

    def _carry_on_replays(self) -> None:
        if time.monotonic() >= self._replays_due:
            replay_runner.advance()
            self._replays_due = time.monotonic() + _REPLAYS_INTERVAL

    def handle_batches(self, work: Subscription, letters: Subscription) -> None:
        """Handles one batch of each queue."""
        limit = self._batch_limit()
        batch = work.take(limit)
        if batch:
            started = time.monotonic()
            self._handle_batch(work, letters, batch)
            rest = self._pacer.rest_after(len(batch), time.monotonic() - started, others=self._heartbeat.others)
            if rest and len(batch) < limit:  # even a sleep of nothing costs a timer and a switch
                time.sleep(rest)
            # A quorum queue puts what comes back at its head. So once a message arrives that was never delivered
            # before, all those that may have crashed a process are behind us.
            if work.prefetch == 1 and not batch[-1].redelivered:
                work.change_prefetch(2 * self._config.batch_size)
        self._take_dead_letters(letters)

    def _take_dead_letters(self, letters: Subscription) -> None:
        dead = letters.take(_DEAD_LETTERS_AT_ONCE)
        if dead and self._while_database_away(lambda: self._keep_dead_letters(dead)):
            letters.ack(dead)

    def _batch_limit(self) -> int:
        if not self._seconds_per_message:
            return self._config.batch_size
        return max(1, min(self._config.batch_size, int(_BATCH_SECONDS / self._seconds_per_message)))

    def _handle_batch(self, work: Subscription, letters: Subscription, batch: list[Delivery]) -> None:
        started = time.monotonic()
        failed: list[Failure] = []
        readable: list[tuple[Delivery, Message[Any]]] = []
        for delivery in batch:
            try:
                readable.append((delivery, envelope.read(delivery, self._handlers)))
            except FAILURES as error:  # a `decode` may have bugs like any handler
                failed.append((delivery, error))
        tries: Counter[int] = Counter()
        if not self._while_database_away(lambda: self._handle(readable, failed, tries)):
            return  # asked to stop: unacknowledged, they go back to the queue
        seconds = time.monotonic() - started
        self._heartbeat.progress(len(batch), seconds)
        self._seconds_per_message += 0.2 * (seconds / len(batch) - self._seconds_per_message)
        metrics.BATCH_SECONDS.labels("handle").observe(seconds)
        metrics.BATCH_SIZE.labels("handle").observe(len(batch))
        failpoints.reach("consume.committed")
        self._settle(work, letters, batch, failed)
        # Each error's traceback refers to this frame: without this the bodies would stay until garbage is collected.
        failed.clear()

    def _handle(self, batch: list[tuple[Delivery, Message[Any]]], failed: list[Failure], tries: Counter[int]) -> None:
        """Lets the messages take effect, together or else one by one, and adds to `failed` those that fail.

        Raises an error that says that the database is away, or may be: what is left in `batch` is then to be tried
        again, with the same `tries`.
        """
        if len(batch) > 1:
            try:
                self._take_effect([message for _, message in batch])
                return
            except FAILURES as error:
                if self._must_wait(error):
                    raise
        unclear: BaseException | None = None
        for one in batch.copy():
            delivery, message = one
            try:
                self._take_effect([message])
            except FAILURES as error:
                if self._must_wait(error):
                    raise
                tries[delivery.tag] += 1
                # Not when its statement took too long: it would hold up the others each time.
                may_pass = database_is_away(error) and not statement_took_too_long(error)
                if may_pass and tries[delivery.tag] < _TRIES_ALONE:
                    unclear = error
                    continue
                failed.append((delivery, error))
            batch.remove(one)
        if unclear:
            raise unclear

    def _must_wait(self, error: BaseException) -> bool:
        """Whether the database is at fault, and no message: the handlers had not begun, or it does not work now."""
        return database_is_away(error) and not (self._handlers_began and database_works(error))

    def _take_effect(self, messages: list[Message[Any]]) -> None:
        """Runs inbox and handlers in one transaction. On any error none of it has happened."""
        self._handlers_began = False
        with transaction.atomic():
            fresh = inbox.admit(messages)
            self._handlers_began = True
            by_type: dict[str, list[Message[Any]]] = {}
            for message in fresh:
                by_type.setdefault(message.type, []).append(message)
            for type_, group in by_type.items():
                self._handlers[type_].handle(group)
            ensure_committable()
        for type_, group in by_type.items():
            metrics.HANDLED.labels(type_).inc(len(group))
        if len(fresh) < len(messages):
            self._note_duplicates(messages, fresh)

    def _note_duplicates(self, messages: Sequence[Message[Any]], fresh: Sequence[Message[Any]]) -> None:
        new = {id(message) for message in fresh}
        for message in messages:
            if id(message) not in new:
                metrics.DUPLICATES.labels(message.type).inc()
                logger.info("duplicate message ignored", extra=_ids(message))

    def _settle(self, work: Subscription, letters: Subscription, batch: list[Delivery], failed: list[Failure]) -> None:
        """Acknowledges what took effect, and also what failed, as soon as it is safe on a rung or in the dead letters.

        While the broker takes no publications, the failed messages stay in hand: giving them back would count as a
        failed delivery of each. Raises BrokerUnavailableError when the deliveries are lost; they come back by
        themselves.
        """
        if not failed:
            work.ack(batch)
            return
        failed_ids = {id(delivery) for delivery, _ in failed}
        work.ack_each([delivery for delivery in batch if id(delivery) not in failed_ids])
        moves = [(*failure, self._destination(*failure)) for failure in failed]
        while moves := self._move(work, moves):
            work.check()
            if not (self._broker.pause() and self._while_database_away(self._heartbeat.beat)):
                return
            self._take_dead_letters(letters)  # a policy may limit their queue, which perhaps nobody else empties
            with suppress(BrokerUnavailableError):
                topology.apply(self._config)  # a rung may have been deleted

    def _move(self, work: Subscription, moves: list[Move]) -> list[Move]:
        """Publishes failed messages to where they go next, acknowledges them, and returns those not confirmed."""
        try:
            receipts = self._publisher.publish([publication for _, _, publication in moves])
        except BrokerUnavailableError as error:
            self._broker.failed(error)
            return moves
        failpoints.reach("consume.moved")
        left: list[Move] = []
        moved: list[Failure] = []
        for move, receipt in zip(moves, receipts, strict=True):
            if receipt.fate is Fate.CONFIRMED:
                delivery, failure, _ = move
                work.ack_each([delivery])
                self._note_failure(delivery, failure)
                moved.append((delivery, failure))
            else:
                self._broker.failed(BrokerUnavailableError(receipt.reason))
                left.append(move)
        if not left:
            self._broker.worked()
        self._record(moved)
        return left

    def _record(self, moved: Sequence[Failure]) -> None:
        """Writes down the tries that failed, once their messages are safe and acknowledged.

        Waits while the database is away, as handling would. A crash or a stop before it is back loses these rows. No
        message depends on them, so any other error of the database is only logged.
        """
        if not moved:
            return
        rows = [self._attempt(*failure) for failure in moved]
        try:
            self._while_database_away(lambda: FailedAttempt.objects.bulk_create(rows))
        except DatabaseFailure:
            logger.exception("failed attempts could not be recorded", extra={"attempts": len(rows)})

    def _attempt(self, delivery: Delivery, error: BaseException) -> FailedAttempt:
        type_ = delivery.type_among(self._handlers)
        place = place_of(error)
        error_type = storable_text(type(error).__name__, 255)
        return FailedAttempt(
            step=FailedAttempt.Step.HANDLE,
            message_id=delivery.message_id,
            type=storable_text(type_, 255),
            subject=delivery.subject_among(self._handlers),
            correlation_id=delivery.correlation_id,
            attempt=delivery.failures + 1,
            error_type=error_type,
            error_message=storable_text(text_of(error), envelope.MAX_ERROR_MESSAGE),
            place=place,
            fingerprint=fingerprint_of(error_type, place, type_),
            retry_in="" if self._is_given_up(delivery, error) else self._config.retry_delays[delivery.failures],
        )

    def _is_given_up(self, delivery: Delivery, error: BaseException) -> bool:
        return isinstance(error, PermanentError) or delivery.failures >= len(self._config.retry_delays)

    def _destination(self, delivery: Delivery, error: BaseException) -> Publication:
        rung = None if isinstance(error, PermanentError) else envelope.next_rung(delivery, self._config)
        return rung or envelope.dead_letter(delivery, error, self._config)

    def _note_failure(self, delivery: Delivery, error: BaseException) -> None:
        type_ = delivery.type_among(self._handlers)
        extra = {
            "message_id": str(delivery.message_id),
            "type": type_,
            "correlation_id": delivery.correlation_id,
            "attempt": delivery.failures + 1,
            "error": f"{type(error).__name__}: {text_of(error)}",
        }
        if self._is_given_up(delivery, error):
            metrics.DEAD_LETTERED.labels(type(error).__name__).inc()
            logger.error("message dead-lettered", extra=extra)
        else:
            metrics.RETRIED.labels(type_ if type_ in self._handlers else "unknown").inc()
            delay = self._config.retry_delays[delivery.failures]
            logger.warning("message will be retried", extra=extra | {"retry_in": delay})

    def _keep_dead_letters(self, deliveries: list[Delivery]) -> None:
        """Stores them; only then are they acknowledged. After a crash in between they are delivered and stored anew."""
        with transaction.atomic():
            dead_letters.store([envelope.failed(delivery, self._config) for delivery in deliveries])
        failpoints.reach("consume.kept")

    def _while_database_away(self, action: Callable[[], object]) -> bool:
        """Does the action, repeatedly while the database is away. False when asked to stop before it succeeded.

        The messages stay in hand meanwhile: giving them back would count as a failed delivery of each.
        """
        while True:
            try:
                action()
            except Exception as error:
                if not database_is_away(error):
                    raise
                self._database.failed(error)
                connection.close()
                if not self._database.pause():
                    return False
            else:
                self._database.worked()
                return True


def _ids(message: Message[Any]) -> dict[str, Any]:
    return {
        "message_id": str(message.id),
        "type": message.type,
        "correlation_id": message.correlation_id,
        "attempt": message.attempt,
    }
