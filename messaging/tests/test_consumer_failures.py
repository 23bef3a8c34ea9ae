"""Handlers that fail, or a database that goes away under them: what that costs, and whom."""

import asyncio
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from django.db import DataError, IntegrityError, connection
from prometheus_client import REGISTRY

from messaging import inbox
from messaging.dry_run import Verdict, dry_run
from messaging.errors import PermanentError
from messaging.message import Handler, Message
from messaging.models import DeadLetter, FailedAttempt, FailureGroup, InboxMessage
from messaging.tests.conftest import Broker, eventually
from messaging.tests.handlers import Recorder

pytestmark = pytest.mark.django_db(transaction=True)


def another_connection() -> psycopg.Connection:
    parameters = connection.get_connection_params()
    for django_only in ("cursor_factory", "context"):
        parameters.pop(django_only, None)
    return psycopg.connect(**parameters)


def test_a_bad_message_costs_only_itself(broker: Broker, recorder: Recorder, start: Any) -> None:
    def fail_for_13(messages: Sequence[Message[Any]]) -> None:
        if any(message.payload["number"] == 13 for message in messages):
            raise PermanentError("thirteen")

    recorder.before = fail_for_13
    for number in range(50):
        broker.publish_thing(number)
    start()
    letter = eventually(DeadLetter.objects.first)
    eventually(lambda: len(recorder.numbers) == 49)
    assert sorted(recorder.numbers) == [n for n in range(50) if n != 13]
    assert (letter.error_type, letter.error_message, letter.attempts) == ("PermanentError", "thirteen", 1)
    assert "fail_for_13" in letter.traceback
    eventually(lambda: InboxMessage.objects.count() == 49)  # the handler is done before its transaction is


def _pass_over_a_refused_row(_: Any) -> None:
    with suppress(IntegrityError):
        InboxMessage.objects.create(message_id=InboxMessage.objects.values_list("pk", flat=True)[0])


def _pass_over_a_failed_statement(_: Any) -> None:
    with suppress(DataError), connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def _pass_over_a_row_that_is_gone(_: Any) -> None:
    with suppress(FailureGroup.NotUpdated):
        FailureGroup(pk=-1, note="").save(update_fields=["note"])


@pytest.mark.parametrize(
    "pass_over", [_pass_over_a_refused_row, _pass_over_a_failed_statement, _pass_over_a_row_that_is_gone]
)
def test_a_handler_that_passes_over_an_error_of_the_database_costs_only_its_message(
    broker: Broker, recorder: Recorder, start: Any, pass_over: Callable[[Any], None]
) -> None:
    def pass_over_at_13(messages: Sequence[Message[Any]]) -> None:
        if any(message.payload["number"] == 13 for message in messages):
            pass_over(messages)

    recorder.before = pass_over_at_13
    for number in range(50):
        broker.publish_thing(number)
    start()
    letter = eventually(DeadLetter.objects.first)
    assert b"13" in bytes(letter.body)
    assert "was passed over" in letter.error_message
    eventually(lambda: InboxMessage.objects.count() == 49)
    assert DeadLetter.objects.count() == 1


def test_a_decode_with_a_bug_fails_its_message_as_a_handler_would(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decode(body: bytes) -> Any:
        payload = json.loads(body)
        return payload if payload["number"] != 13 else payload["no such field"]

    handlers = {"thing.happened": Handler(decode=decode, handle=recorder, subject="thing")}
    monkeypatch.setattr("messaging.tests.handlers.HANDLERS", handlers)
    for number in (12, 13, 14):
        broker.publish_thing(number)
    start()
    letter = eventually(DeadLetter.objects.first)
    assert (letter.error_type, letter.attempts) == ("KeyError", 3)
    eventually(lambda: sorted(recorder.numbers) == [12, 14])


def test_a_statement_that_takes_too_long_fails_its_message_and_holds_up_no_other(
    broker: Broker, recorder: Recorder, start: Any
) -> None:
    alone: list[int] = []

    def sleep_at_13(messages: Sequence[Message[Any]]) -> None:
        if any(message.payload["number"] == 13 for message in messages):
            alone.extend(message.attempt for message in messages if len(messages) == 1)
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = 50; SELECT pg_sleep(60)")

    recorder.before = sleep_at_13
    for number in (12, 13, 14):
        broker.publish_thing(number)
    start()
    letter = eventually(DeadLetter.objects.first)
    assert "statement timeout" in letter.error_message
    assert alone == [1, 2, 3], "once for each attempt"
    eventually(lambda: sorted(recorder.numbers) == [12, 14])


class _SpeechlessError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("it cannot say what it is")


@pytest.mark.parametrize("error", [_SpeechlessError(), asyncio.CancelledError()])
def test_an_error_of_an_odd_kind_costs_only_its_message(
    broker: Broker, recorder: Recorder, start: Any, error: BaseException
) -> None:
    def fail_at_13(messages: Sequence[Message[Any]]) -> None:
        if any(message.payload["number"] == 13 for message in messages):
            raise error

    recorder.before = fail_at_13
    for number in (12, 13, 14):
        broker.publish_thing(number)
    start()
    letter = eventually(DeadLetter.objects.first)
    assert (letter.error_type, letter.attempts) == (type(error).__name__, 3)
    eventually(lambda: sorted(recorder.numbers) == [12, 14])
    [dry] = dry_run([letter])
    assert (dry.verdict, dry.error_type) == (Verdict.FAILS, type(error).__name__)


def _ask_a_closed_cursor() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    cursor.fetchone()


def _ask_for_a_column_that_no_migration_brings() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM messaging_inboxmessage")


def _refuse_to_wait_for_a_lock() -> None:
    with another_connection() as other, connection.cursor() as cursor:
        other.execute("SELECT FROM messaging_operatoraction")
        cursor.execute("LOCK TABLE messaging_operatoraction NOWAIT")


@pytest.mark.parametrize(
    "fail", [_ask_a_closed_cursor, _ask_for_a_column_that_no_migration_brings, _refuse_to_wait_for_a_lock]
)
def test_a_bug_that_looks_like_a_database_that_is_away_costs_only_its_message(
    broker: Broker, recorder: Recorder, start: Any, fail: Callable[[], None]
) -> None:
    alone: list[int] = []

    def fail_at_13(messages: Sequence[Message[Any]]) -> None:
        if any(message.payload["number"] == 13 for message in messages):
            alone.extend(message.attempt for message in messages if len(messages) == 1)
            fail()

    recorder.before = fail_at_13
    for number in range(10, 20):
        broker.publish_thing(number)
    start(retry_delays=("100ms",))
    letter = eventually(DeadLetter.objects.first)
    assert (b"13" in bytes(letter.body), letter.attempts) == (True, 2)
    assert alone == [1] * 5 + [2] * 5
    assert sorted(recorder.numbers) == [n for n in range(10, 20) if n != 13]
    assert all(message.attempt == 1 for batch in recorder.batches for message in batch)
    assert InboxMessage.objects.count() == 9


def test_a_database_that_goes_away_under_a_handler_counts_nothing(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("messaging.consumer._TRIES_ALONE", 1)
    connection.ensure_connection()  # this thread keeps it
    reachable = connection.settings_dict["PORT"]

    def lose_it(messages: Sequence[Message[Any]]) -> None:
        recorder.before = lambda messages: None
        connection.settings_dict["PORT"] = 1
        connection.connection.close()
        InboxMessage.objects.count()

    recorder.before = lose_it
    try:
        broker.publish_thing(1)
        start()
        eventually(lambda: REGISTRY.get_sample_value("messaging_circuit_open", {"dependency": "database"}))
    finally:
        connection.settings_dict["PORT"] = reachable
    eventually(lambda: recorder.numbers == [1])
    assert recorder.batches[0][0].attempt == 1
    assert not FailedAttempt.objects.exists()


def test_an_inbox_that_is_locked_for_longer_than_a_statement_may_take_counts_nothing(
    broker: Broker, recorder: Recorder, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    admit = inbox.admit

    def counted(messages: Sequence[Message[Any]]) -> list[Message[Any]]:
        tries.append(len(messages))
        return admit(messages)

    monkeypatch.setattr(inbox, "admit", counted)
    connection.ensure_connection()  # this thread keeps it
    with another_connection() as locker:
        locker.execute("LOCK TABLE messaging_inboxmessage")
        monkeypatch.setitem(connection.settings_dict["OPTIONS"], "options", "-c statement_timeout=50")
        broker.publish_thing(1)
        start()
        eventually(lambda: len(tries) > 5)
    eventually(lambda: recorder.numbers == [1])
    assert recorder.batches[0][0].attempt == 1
    assert not FailedAttempt.objects.exists()
