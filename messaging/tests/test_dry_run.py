import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import IntegrityError, OperationalError, connection, transaction
from msgspec.structs import replace

from messaging import dead_letters, dry_run, envelope, inbox, outbox
from messaging.conf import config
from messaging.dry_run import Verdict
from messaging.envelope import Delivery
from messaging.errors import PermanentError, TransientError
from messaging.frames import as_pika
from messaging.message import Message, OutgoingMessage
from messaging.models import DeadLetter, InboxMessage, OutboxMessage
from messaging.tests.conftest import Broker
from messaging.tests.handlers import Recorder
from messaging.tests.letters import failed, stored
from messaging.tests.threads import BOUND, begun

pytestmark = pytest.mark.django_db(transaction=True)


def every() -> Any:
    return DeadLetter.objects.order_by("pk")


def one(**changes: Any) -> dry_run.DryRun:
    dead_letters.store([failed(**changes)])
    [run] = dry_run.dry_run(every())
    return run


@contextmanager
def nothing_changes() -> Iterator[None]:
    """Afterwards no table has a row more or less, and no row has changed."""

    def rows() -> dict[str, list[Any]]:
        return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in apps.get_models()}

    before = rows()
    yield
    assert rows() == before


class TestVerdicts:
    def test_what_the_handler_takes_would_pass(self, recorder: Recorder) -> None:
        run = one(body=b'{"number": 7}', correlation_id="request-7")
        assert run.verdict == Verdict.PASSES
        assert (run.error_type, run.place) == ("", "")
        [[message]] = recorder.batches
        letter = every().get()
        assert (message.id, message.type, message.payload, message.correlation_id, message.attempt) == (
            letter.message_id, "thing.happened", {"number": 7}, "request-7", 1,
        )  # fmt: skip
        assert (run.dead_letter_id, run.message_id) == (letter.pk, letter.message_id)

    def test_what_the_handler_refuses_would_fail_with_that_error(self, recorder: Recorder) -> None:
        def refuse(messages: Any) -> None:
            raise PermanentError("the warehouse is closed")

        recorder.before = refuse
        run = one()
        assert (run.verdict, run.error_type, run.error_message) == (
            Verdict.FAILS, "PermanentError", "the warehouse is closed",
        )  # fmt: skip
        assert run.place.endswith(
            "test_dry_run.TestVerdicts.test_what_the_handler_refuses_would_fail_with_that_error.refuse"
        )
        assert run.is_permanent
        assert run.explanation == "PermanentError: the warehouse is closed"

    def test_what_passes_over_an_error_of_the_database_would_fail(self, recorder: Recorder) -> None:
        def pass_over(messages: Any) -> None:
            with suppress(IntegrityError):
                InboxMessage.objects.create(message_id=messages[0].id)

        recorder.before = pass_over
        run = one()
        assert (run.verdict, run.error_type) == (Verdict.FAILS, "RuntimeError")

    @pytest.mark.parametrize("error", [TransientError, ZeroDivisionError])
    def test_an_error_that_is_not_permanent_would_be_retried(self, error: type[Exception], recorder: Recorder) -> None:
        def fail(messages: Any) -> None:
            raise error("later")

        recorder.before = fail
        run = one()
        assert (run.verdict, run.is_permanent) == (Verdict.FAILS, False)

    @pytest.mark.parametrize(
        ("changes", "text"),
        [
            ({"body": b"[1]"}, "The body does not hold: not an object"),
            ({"type": "unheard.of"}, "Unknown type 'unheard.of'"),
            ({"headers": {"schema-version": 99}}, "Unknown schema-version 99"),
        ],
    )
    def test_what_cannot_be_read_would_fail(self, changes: Any, text: str, recorder: Recorder) -> None:
        run = one(**changes)
        assert (run.verdict, run.error_type, run.is_permanent) == (Verdict.FAILS, "InvalidMessageError", True)
        assert text in run.error_message
        assert recorder.batches == []

    def test_a_message_without_a_type_is_of_the_only_one(self) -> None:
        assert one(type="").verdict == Verdict.PASSES

    def test_what_has_taken_effect_is_not_handled_again(self, recorder: Recorder) -> None:
        message = failed()
        InboxMessage.objects.create(message_id=message.message_id, type="t")
        dead_letters.store([message])
        [run] = dry_run.dry_run(every())
        assert run.verdict == Verdict.EFFECTIVE
        assert recorder.batches == []

    def test_what_the_commit_would_refuse_would_fail(self, recorder: Recorder) -> None:
        def break_a_deferred_constraint(messages: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO auth_user_groups (user_id, group_id) VALUES (4711, 4711)")

        recorder.before = break_a_deferred_constraint
        run = one()
        assert (run.verdict, run.error_type) == (Verdict.FAILS, "IntegrityError")

    def test_one_does_not_hinder_the_next(self, recorder: Recorder) -> None:
        def fail_on_two(messages: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / (%s - 2)", [messages[0].payload["number"]])

        recorder.before = fail_on_two
        for number in (1, 2, 3):
            stored(body=b'{"number": %d}' % number)
        verdicts = [run.verdict for run in dry_run.dry_run(every())]
        assert verdicts == [Verdict.PASSES, Verdict.FAILS, Verdict.PASSES]


class TestItLeavesNothing:
    def write_a_lot(self, messages: Any) -> None:
        User.objects.create(username=f"made by {messages[0].id}")
        Session.objects.all().delete()
        outbox.add([OutgoingMessage(type="made", body=b"{}")])
        transaction.on_commit(lambda: self.committed.append(1))
        with transaction.atomic(savepoint=False):
            dead_letters.store([failed()])

    committed: list[int] = []

    def test_no_row_and_nothing_that_waits_for_a_commit(self, recorder: Recorder) -> None:
        recorder.before = self.write_a_lot
        for _ in range(3):
            stored()
        with nothing_changes(), patch.object(outbox, "wake_relay") as wake:
            runs = dry_run.dry_run(list(every()))
        assert [run.verdict for run in runs] == [Verdict.PASSES] * 3
        assert self.committed == []
        wake.assert_not_called()

    def test_nor_when_it_fails_in_the_middle(self, recorder: Recorder) -> None:
        def write_and_fail(messages: Any) -> None:
            self.write_a_lot(messages)
            raise ZeroDivisionError

        recorder.before = write_and_fail
        stored()
        with nothing_changes():
            [run] = dry_run.dry_run(every())
        assert run.error_type == "ZeroDivisionError"
        assert self.committed == []

    def test_nor_inside_an_open_transaction(self, recorder: Recorder) -> None:
        recorder.before = self.write_a_lot
        stored()
        with nothing_changes(), transaction.atomic():
            [run] = dry_run.dry_run(list(every()))
            with connection.cursor() as cursor:
                cursor.execute("SHOW statement_timeout")
                assert cursor.fetchone() == ("0",)
        assert run.verdict == Verdict.PASSES
        assert self.committed == []

    def test_a_replay_afterwards_takes_effect(self, broker: Broker, recorder: Recorder) -> None:
        row = stored()
        dry_run.dry_run(every())
        message: Message[Any] = Message(row.message_id, "thing.happened", {}, "", "", 1)
        with transaction.atomic():
            assert inbox.admit([message]) == [message]

    def test_the_limits_end_with_it(self) -> None:
        one()
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_setting('statement_timeout'), current_setting('lock_timeout')")
            assert cursor.fetchone() == ("0", "0")


class TestLimits:
    def test_it_does_not_wait_for_what_a_consumer_holds(
        self, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(dry_run, "LONGEST_LOCK_WAIT", 0.1)
        row = stored()
        holds, let_go = threading.Event(), threading.Event()

        def consume() -> None:
            with transaction.atomic():
                inbox.admit([Message(row.message_id, "thing.happened", {}, "", "", 1)])
                holds.set()
                let_go.wait(BOUND)

        consumer = begun(consume)
        assert holds.wait(BOUND)
        try:
            [run] = dry_run.dry_run(every())
        finally:
            let_go.set()
            consumer.result(BOUND)
        assert run.verdict == Verdict.UNKNOWN
        assert "lock timeout" in run.error_message
        assert recorder.batches == []

    def test_a_statement_that_takes_too_long_is_ended(
        self, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def sleep(messages: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(60)")

        monkeypatch.setattr(dry_run, "LONGEST_STATEMENT", 0.1)
        recorder.before = sleep
        assert one().verdict == Verdict.UNKNOWN

    @pytest.mark.parametrize("state", ["deadlock_detected", "serialization_failure"])
    def test_what_another_transaction_ends_cannot_be_tried(self, recorder: Recorder, state: str) -> None:
        def lose(messages: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute(f"DO $$ BEGIN RAISE {state}; END $$")

        recorder.before = lose
        assert one().verdict == Verdict.UNKNOWN

    def test_a_table_that_a_migration_has_yet_to_bring_cannot_be_tried(self, recorder: Recorder) -> None:
        def select(messages: Any) -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT FROM not_yet")

        recorder.before = select
        run = one()
        assert run.verdict == Verdict.UNKNOWN
        assert "not_yet" in run.error_message

    def test_when_the_time_is_over_the_rest_is_not_tried(self, recorder: Recorder) -> None:
        for _ in range(3):
            stored()
        assert dry_run.dry_run(every(), within=0) == []
        clock = iter([0, 1, 2, 11])
        with patch.object(dry_run, "time", SimpleNamespace(monotonic=lambda: next(clock))):
            assert len(dry_run.dry_run(list(every()), within=10)) == 2

    def test_a_database_that_is_away_is_no_verdict(self, recorder: Recorder) -> None:
        def lose_the_connection(messages: Any) -> None:
            raise OperationalError("server closed the connection unexpectedly")

        recorder.before = lose_the_connection
        stored()
        with pytest.raises(OperationalError):
            dry_run.dry_run(every())


def test_it_hands_over_what_a_replay_would_deliver(broker: Broker, recorder: Recorder) -> None:
    """Byte for byte and header for header, compared with a real replay over the broker."""
    stored(headers={"schema-version": 1, "traceparent": "t", "tenant": "x"}, correlation_id="request-1")
    dry_run.dry_run(every())
    dead_letters.replay(dead_letters=every(), by="anna")
    row = OutboxMessage.objects.get()

    real = envelope.from_outbox(row, service="things")
    broker.publish(
        real.body, **{name: value for name, value in vars(as_pika(real.properties)).items() if value is not None}
    )
    found = broker.get(config().queue)
    assert found
    properties, body = found
    delivered = envelope.read(Delivery(1, False, config().queue, properties, body), config().handler_table)
    assert recorder.batches == [[replace(delivered, published_at=None)]], "only a relay knows when it was published"
