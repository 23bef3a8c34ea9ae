import re
from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging import conf, retention
from messaging.errors import ConfigurationError
from messaging.models import (
    DeadLetter,
    FailedAttempt,
    FailureGroup,
    FailureHour,
    InboxMessage,
    OperatorAction,
    OutboxMessage,
    Replay,
    ReplayedMessage,
)
from messaging.retention import Purge
from messaging.tests.letters import stored
from messaging.tests.threads import BOUND, begun

pytestmark = pytest.mark.django_db(transaction=True)


def days_ago(days: float) -> datetime:
    return timezone.now() - timedelta(days=days)


def processed(days: float, **values: Any) -> InboxMessage:
    values.setdefault("message_id", uuid4())
    return InboxMessage.objects.create(type="thing.happened", processed_at=days_ago(days), **values)


def settled(days: float, status: str = "replayed") -> DeadLetter:
    row = stored()
    DeadLetter.objects.filter(pk=row.pk).update(status=status, settled_at=days_ago(days), settled_by="anna")
    return row


def run(*args: str) -> str:
    out = StringIO()
    call_command("purge", *args, stdout=out)
    return out.getvalue()


def test_it_removes_what_is_older_than_the_retention() -> None:
    processed(31)
    kept = processed(29)
    settled(31, "replayed")
    settled(31, "discarded")
    kept_letter = settled(29)
    assert run() == (
        "Removed 1 inbox rows, 2 settled dead letters, 0 failed attempts, 0 resolved failure groups and "
        "0 replays older than 30 days.\n"
    )
    assert InboxMessage.objects.get().pk == kept.pk
    assert DeadLetter.objects.get().pk == kept_letter.pk


def test_dead_letters_that_wait_stay_however_old() -> None:
    row = stored(failed_at=days_ago(1000))
    run()
    assert DeadLetter.objects.get().pk == row.pk


def test_the_outbox_is_not_touched() -> None:
    OutboxMessage.objects.create(message_id=uuid4(), exchange="e", routing_key="k", body=b"", created_at=days_ago(1000))
    run()
    assert OutboxMessage.objects.count() == 1


def test_the_inbox_remembers_messages_that_are_among_the_dead_letters() -> None:
    row = stored()
    processed(1000, message_id=row.message_id)
    run()
    assert InboxMessage.objects.get().message_id == row.message_id


def test_it_forgets_them_together_with_the_dead_letter() -> None:
    processed(1000, message_id=settled(31).message_id)
    run()
    assert not InboxMessage.objects.exists()
    assert not DeadLetter.objects.exists()


def test_days_can_be_given() -> None:
    processed(3)
    processed(1)
    assert run("--days", "2").startswith("Removed 1 inbox rows")
    assert InboxMessage.objects.count() == 1


def test_a_dry_run_counts_and_removes_nothing() -> None:
    processed(31)
    settled(31)
    assert run("--dry-run") == (
        "Would remove 1 inbox rows, 1 settled dead letters, 0 failed attempts, 0 resolved failure groups and "
        "0 replays older than 30 days.\n"
    )
    assert (InboxMessage.objects.count(), DeadLetter.objects.count()) == (1, 1)


def test_it_works_in_batches() -> None:
    InboxMessage.objects.bulk_create(
        InboxMessage(message_id=uuid4(), type="t", processed_at=days_ago(40 + number % 3)) for number in range(10)
    )
    sizes: list[int] = []
    assert retention.purge(before=days_ago(30), batch_size=4, on_batch=sizes.append) == Purge(10, 0)
    assert sizes == [4, 4, 2]


def test_rows_of_one_and_the_same_time_do_not_stop_it() -> None:
    when = days_ago(40)
    InboxMessage.objects.bulk_create(InboxMessage(message_id=uuid4(), type="t", processed_at=when) for _ in range(9))
    assert retention.purge(before=days_ago(30), batch_size=3) == Purge(9, 0)


def test_a_retention_shorter_than_the_retry_ladder_is_refused() -> None:
    processed(1)
    with pytest.raises(CommandError, match=r"retention of 0 days is not longer than the retry ladder.*0:12:36"):
        run("--days", "0")
    assert InboxMessage.objects.count() == 1


def test_a_ladder_as_long_as_the_retention_is_refused() -> None:
    config = replace(conf.config(), retry_delays=("12h", "12h"))
    with pytest.raises(ConfigurationError, match="1 day, 0:00:00"):
        retention.check_retention(config, days=1)
    retention.check_retention(config, days=2)


@pytest.mark.parametrize("args", [("--batch", "0"), ("--days", "1000000")])
def test_impossible_numbers_are_refused(args: tuple[str, str]) -> None:
    with pytest.raises(CommandError) as caught:
        run(*args)
    assert caught.value.returncode == 2


def test_a_dead_letter_that_an_edited_one_took_the_place_of_goes_as_well() -> None:
    settled(31, "superseded")
    run()
    assert not DeadLetter.objects.exists()


def attempted(days: float) -> FailedAttempt:
    return FailedAttempt.objects.create(
        step="handle", message_id=uuid4(), attempt=1, error_type="KeyError", at=days_ago(days)
    )


def replayed(days: float) -> ReplayedMessage:
    replay = Replay.objects.create(
        created_by="anna", total=1, state="finished", watched=False, changed_at=days_ago(days)
    )
    return ReplayedMessage.objects.create(replay=replay, position=0, dead_letter_id=1, message_id=uuid4())


@pytest.mark.parametrize("make", [processed, settled, attempted, replayed])
def test_it_does_not_wait_for_rows_somebody_else_holds(make: Any) -> None:
    held, free = make(40), make(41)
    rows = type(held).objects

    with transaction.atomic():
        rows.select_for_update().get(pk=held.pk)
        begun(lambda: retention.purge(before=days_ago(30))).result(BOUND)
    assert not rows.filter(pk=free.pk).exists()
    assert rows.filter(pk=held.pk).exists()


def test_tries_that_failed_are_forgotten() -> None:
    for _ in range(5):
        attempted(31)
    kept = attempted(29)
    assert retention.expired(before=days_ago(30)).failed_attempts == 5
    assert retention.purge(before=days_ago(30), batch_size=2).failed_attempts == 5
    assert FailedAttempt.objects.get().pk == kept.pk


def grouped(days: float, state: str, **more: Any) -> FailureGroup:
    when = days_ago(days)
    group = FailureGroup.objects.create(
        fingerprint=uuid4(), first_seen_at=when, last_seen_at=when, changed_at=when, state=state, **more
    )
    FailureHour.objects.create(group=group, hour=when, occurrences=1)
    return group


def test_resolved_groups_of_which_nothing_is_left_are_forgotten() -> None:
    gone = [grouped(31, "resolved") for _ in range(5)]
    replay = Replay.objects.create(created_by="anna", total=1)
    ReplayedMessage.objects.create(replay=replay, position=0, dead_letter_id=1, message_id=uuid4(), group=gone[0])
    kept = {grouped(29, "resolved"), grouped(1000, "open"), grouped(1000, "taken")}
    with_a_letter = grouped(31, "resolved")
    DeadLetter.objects.filter(pk=stored().pk).update(group=with_a_letter)
    kept |= {with_a_letter, FailureGroup.objects.get(error_type="InvalidMessageError")}
    assert retention.expired(before=days_ago(30)).failure_groups == 5
    assert retention.purge(before=days_ago(30), batch_size=2).failure_groups == 5
    assert set(FailureGroup.objects.all()) == kept
    assert ReplayedMessage.objects.get().group is None


@pytest.mark.parametrize("lately", ["last_seen_at", "changed_at"])
def test_a_group_that_came_back_or_was_resolved_lately_stays(lately: str) -> None:
    group = grouped(31, "resolved")
    FailureGroup.objects.filter(pk=group.pk).update(**{lately: days_ago(1)})
    run()
    assert FailureGroup.objects.exists()


def test_a_trend_is_kept_for_thirty_days() -> None:
    group = grouped(31, "open")
    FailureHour.objects.create(group=group, hour=days_ago(29))
    run("--days", "365")
    assert FailureHour.objects.get().hour > days_ago(30)


def test_what_operators_did_stays() -> None:
    OperatorAction.objects.create(at=days_ago(1000), by="anna", action="discard")
    run()
    assert OperatorAction.objects.exists()


def test_a_group_that_gets_a_dead_letter_at_that_moment_is_kept_or_made_anew() -> None:
    stored()
    FailureGroup.objects.update(state="resolved", changed_at=days_ago(31), last_seen_at=days_ago(31))
    DeadLetter.objects.all().delete()

    with transaction.atomic():
        stored(failed_at=timezone.now())
        done = begun(lambda: retention.purge(before=days_ago(30))).result(BOUND)
    assert done.failure_groups == 0
    assert DeadLetter.objects.get().group == FailureGroup.objects.get()


def test_replays_that_are_over_are_forgotten_with_their_messages() -> None:
    def replay(state: str, days: float, **values: Any) -> Replay:
        created = Replay.objects.create(
            created_by="anna", total=5, state=state, changed_at=days_ago(days), **{"watched": False, **values}
        )
        for position in range(5):
            ReplayedMessage.objects.create(
                replay=created, position=position, dead_letter_id=position, message_id=uuid4()
            )
        return created

    for state in ("finished", "cancelled"):
        replay(state, 31)
    kept = [
        replay("finished", 29),
        replay("stopped", 31),
        replay("paused", 31),
        replay("running", 31),
        replay("cancelled", 31, watched=True),
    ]

    assert retention.expired(before=days_ago(30)).replays == 2
    assert retention.purge(before=days_ago(30), batch_size=3).replays == 2

    assert set(Replay.objects.all()) == set(kept)
    assert ReplayedMessage.objects.count() == 25


def test_of_replays_that_are_kept_no_message_is_read() -> None:
    replayed(29)
    replayed(31)
    with CaptureQueriesContext(connection) as queries, transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")  # a sequential scan would do for two rows
        retention.purge(before=days_ago(30))
        [choosing] = (sql for query in queries if "FOR UPDATE" in (sql := query["sql"]) and "replayedmessage" in sql)
        cursor.execute(f"EXPLAIN {choosing}")
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert re.search(
        r'replayed_message_position.*\n *Index Cond: \(\(replay_id = \d+\) AND \("position" >= 0\)\)', plan
    )
