"""The relay: moves what the outbox holds to the broker. Any number of relays may run."""

import logging
import select
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
from django.db import connection, transaction

from database.backend.base import GIVE_UP_ON_A_SILENT_CLIENT
from messaging import envelope, failpoints, metrics, outbox, topology
from messaging.batching import Pacer
from messaging.circuit import Circuit
from messaging.conf import MessagingConfig
from messaging.database import NEVER_HANG_UP, database_is_away, database_time
from messaging.errors import BrokerUnavailableError
from messaging.heartbeat import Heartbeat
from messaging.models import FailedAttempt
from messaging.outbox import Claimed
from messaging.publisher import Fate, Publisher, Receipt
from messaging.stopping import Stop
from messaging.storable import storable_text
from messaging.subject import subject_among_ours
from observability.logs import info_each

logger = logging.getLogger(__name__)

_LONGEST_RETRY = timedelta(minutes=5)
# The database's clock may be set back at any time; this often (seconds) we look for rows that are kept waiting by it.
_CLOCK_INTERVAL = 30.0
# After this many a message is tried every five minutes, maybe for days. Its row in the outbox tells how often and why.
_RECORDED_ATTEMPTS = 10


class Relay:
    """Claims a batch, publishes it, waits for the confirms and commits the deletion.

    The claim's transaction stays open until the batch is confirmed: `confirm_timeout` seconds at most, and longer only
    when the connection has just been lost, or when the messages of the batch have to be published one at a time. A
    crash anywhere rolls the claim back: the rows are there again, and what was already published is published twice.
    The inbox at the other end lets it take effect once.
    """

    def __init__(self, config: MessagingConfig, stop: Stop) -> None:
        self._config = config
        self._stop = stop
        self._publisher = Publisher(config, name="relay")
        self._alarm = Alarm()
        self._broker = Circuit("broker", stop)
        self._heartbeat = Heartbeat("relay", self._broker)
        self._database = Circuit("database", stop)
        self._pacer = Pacer()
        self._may_be_more = False
        """The last batch was a full one, whatever became of it."""
        self._one_at_a_time = 0
        """How many rows to publish singly, because one of them may be what cost the connection."""

    def run(self) -> None:
        """Runs until asked to stop. Waits, for ever if need be, for a broker or a database that is away.

        Raises ConfigurationError for what waiting does not mend: refused credentials, a conflicting topology.
        """
        while not self._stop:
            try:
                self._heartbeat.beat()
                topology.apply(self._config)
                self._publisher.open()
                self._work()
            except BrokerUnavailableError as error:
                self._broker.failed(error)
                self._broker.pause()
            except Exception as error:
                if not database_is_away(error):
                    raise
                self._database.failed(error)
                connection.close()
                self._alarm.close()
                self._database.pause()
        self._publisher.close()
        self._alarm.close()
        self._heartbeat.end()
        connection.close()

    def _work(self) -> None:
        woken = True
        in_vain = 0
        clock_due = 0.0
        while not self._stop:
            started = time.monotonic()
            if started >= clock_due:
                outbox.make_due(beyond=_LONGEST_RETRY)
                clock_due = started + _CLOCK_INTERVAL
            published = self.publish_batch()
            # Only now, because a broker that is short of memory accepts connections but confirms nothing.
            self._broker.worked()
            self._database.worked()
            self._heartbeat.beat()
            rest = self._pacer.rest_after(published, time.monotonic() - started, others=self._heartbeat.others)
            if self._may_be_more or self._one_at_a_time:
                continue
            if rest:  # even a sleep of nothing costs a timer and a switch
                time.sleep(rest)
            # Woken in vain once: the batch before had taken that row. Twice: another relay was faster, and will be
            # again.
            in_vain = in_vain + 1 if woken and not published else 0
            if in_vain > 1:
                time.sleep(outbox.WAKE_INTERVAL)
            # After a wake-up or a batch with rows there may be more rows, for which nobody has woken us.
            expecting = woken or published > 0
            woken = self._alarm.wait(1.5 * outbox.WAKE_INTERVAL if expecting else self._config.poll_interval)
            if not self._publisher.is_open:
                self._publisher.open()

    def publish_batch(self) -> int:
        """Publishes one batch and returns how many rows left the outbox.

        What the broker returned or refused stays in the outbox with the reason and a later next attempt, and holds
        back no other. Raises BrokerUnavailableError when the broker did not answer for some; those stay as they were.
        """
        started = time.monotonic()
        with transaction.atomic():
            rows = outbox.claim(1 if self._one_at_a_time else self._config.batch_size)
            self._may_be_more = len(rows) == self._config.batch_size
            if not rows:
                self._one_at_a_time = 0
                return 0
            receipts = self._publisher.publish(
                [envelope.from_outbox(row, service=self._config.service) for row in rows]
            )
            failpoints.reach("relay.confirmed")
            if any(receipt.fate is not Fate.CONFIRMED for receipt in receipts):
                # By the database's clock, which decides when a row is due: by a clock that is behind, the row would be
                # due again at once, for ever.
                outbox.put_back(_to_put_back(rows, receipts, now=database_time()))
                FailedAttempt.objects.bulk_create(_attempts(rows, receipts))
        seconds = time.monotonic() - started
        metrics.BATCH_SECONDS.labels("publish").observe(seconds)
        metrics.BATCH_SIZE.labels("publish").observe(len(rows))
        _log(rows, receipts)
        self._one_at_a_time = max(0, self._one_at_a_time - len(rows))
        unknown = [receipt.reason for receipt in receipts if receipt.fate is Fate.UNKNOWN]
        if unknown:
            self._one_at_a_time = len(rows)
            raise BrokerUnavailableError(unknown[0])
        published = sum(receipt.fate is Fate.CONFIRMED for receipt in receipts)
        self._heartbeat.progress(published, seconds)
        return published


def _log(rows: Sequence[Claimed], receipts: Sequence[Receipt]) -> None:
    published: dict[str, list[dict[str, Any]]] = {}
    for row, receipt in zip(rows, receipts, strict=True):
        ids = {
            "message_id": row.message_id,
            "type": row.type,
            "exchange": row.exchange,
            "correlation_id": row.correlation_id,
        }
        if receipt.fate is Fate.CONFIRMED:
            published.setdefault(row.type, []).append(ids)
        elif receipt.fate is Fate.REFUSED:
            metrics.REFUSED.labels(row.type).inc()
            logger.warning(
                "message refused", extra=ids | {"reason": receipt.reason, "next_attempt": row.available_at.isoformat()}
            )
    for type_, group in published.items():
        metrics.PUBLISHED.labels(type_).inc(len(group))
        info_each(logger, "message published", group)


def _to_put_back(rows: Sequence[Claimed], receipts: Sequence[Receipt], *, now: datetime) -> list[Claimed]:
    back = []
    for row, receipt in zip(rows, receipts, strict=True):
        if receipt.fate is Fate.REFUSED:
            row.attempts += 1
            row.last_error = receipt.reason
            row.available_at = now + _pause(row.attempts)
        if receipt.fate is not Fate.CONFIRMED:
            back.append(row)
    return back


def _attempts(rows: Sequence[Claimed], receipts: Sequence[Receipt]) -> list[FailedAttempt]:
    return [
        FailedAttempt(
            step=FailedAttempt.Step.PUBLISH,
            message_id=row.message_id,
            type=row.type,
            subject=subject_among_ours(row.body, row.type),
            correlation_id=row.correlation_id,
            attempt=row.attempts,
            error_type="Refused",
            error_message=storable_text(receipt.reason),
            retry_in=f"{_pause(row.attempts).total_seconds():.0f}s",
        )
        for row, receipt in zip(rows, receipts, strict=True)
        if receipt.fate is Fate.REFUSED and row.attempts <= _RECORDED_ATTEMPTS
    ]


def _pause(attempts: int) -> timedelta:
    return min(timedelta(seconds=2.0 ** min(attempts - 1, 10)), _LONGEST_RETRY)


class Alarm:
    """Listens for `outbox.wake_relay`, on a database connection of its own."""

    def __init__(self) -> None:
        self._connection: psycopg.Connection | None = None

    def wait(self, seconds: float) -> bool:
        """Waits up to `seconds`; True when woken. Raises psycopg.OperationalError when the database is away."""
        if self._connection is None:
            parameters = connection.get_connection_params()
            for django_only in ("cursor_factory", "context"):
                parameters.pop(django_only, None)
            self._connection = psycopg.connect(**parameters, autocommit=True)
            self._connection.execute(f"{GIVE_UP_ON_A_SILENT_CLIENT}; {NEVER_HANG_UP}; LISTEN {outbox.CHANNEL}")
            return True  # something may have come before we listened
        # Does what psycopg's `Connection.notifies` does, which takes four times as long for one call.
        link = self._connection.pgconn
        arrived = select.poll()
        arrived.register(link.socket, select.POLLIN)
        arrived.poll(seconds * 1000)
        link.consume_input()
        called = False
        while link.notifies():
            called = True
        return called

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
