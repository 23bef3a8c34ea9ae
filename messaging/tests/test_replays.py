import threading
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from messaging import dead_letters, replays
from messaging.conf import MessagingConfig
from messaging.consumer import Consumer
from messaging.errors import PermanentError
from messaging.models import (
    DeadLetter,
    FailedAttempt,
    FailureGroup,
    InboxMessage,
    OperatorAction,
    OutboxMessage,
    Replay,
    ReplayedMessage,
)
from messaging.relay import Relay
from messaging.replays import AlreadyReplaying, ReplayError
from messaging.stopping import Stop
from messaging.tests.conftest import Broker, Running, eventually
from messaging.tests.handlers import Recorder
from messaging.tests.letters import LATER, failed, stored

pytestmark = pytest.mark.django_db(transaction=True)

Outcome = ReplayedMessage.Outcome


def every() -> Any:
    return DeadLetter.objects.all()


def letters(number: int) -> list[DeadLetter]:
    dead_letters.store([failed() for _ in range(number)])
    return list(every().order_by("pk"))


def grouped(*rows: DeadLetter, error_type: str = "InvalidMessageError") -> FailureGroup:
    """Puts the dead letters into one group of their own."""
    group = FailureGroup.objects.create(
        fingerprint=uuid4(), error_type=error_type, first_seen_at=timezone.now(), last_seen_at=timezone.now()
    )
    DeadLetter.objects.filter(pk__in=[row.pk for row in rows]).update(group=group)
    return group


def started(**values: Any) -> Replay:
    return replays.start(dead_letters=every(), by="anna", **values)


def on_its_way() -> list[UUID]:
    """What was sent since the last look, as if the relay had taken it."""
    sent = list(OutboxMessage.objects.order_by("id").values_list("message_id", flat=True))
    OutboxMessage.objects.all().delete()
    return sent


def take_effect(sent: Sequence[UUID]) -> None:
    InboxMessage.objects.bulk_create([InboxMessage(message_id=message_id, type="t") for message_id in sent])


def fail_again(message_id: UUID, group: FailureGroup | None) -> None:
    letter = DeadLetter.objects.get(message_id=message_id)
    changes = failed(message_id=message_id, body=bytes(letter.body), failed_at=LATER, error_message="once more")
    dead_letters.store([changes])
    DeadLetter.objects.filter(pk=letter.pk).update(group=group)


def a_second_later() -> None:
    """Advances as if it had not been called for a second."""
    Replay.objects.filter(last_sent_at__isnull=False).update(last_sent_at=Now() - timedelta(seconds=1))
    replays.advance()


def outcomes(replay: Replay) -> dict[str, int]:
    progress = replays.progress(replay)
    counts = {name: getattr(progress, name) for name in Outcome.values}
    return {name: number for name, number in counts.items() if number}


def fresh(replay: Replay) -> Replay:
    return Replay.objects.get(pk=replay.pk)


class TestStart:
    def test_it_fixes_what_waits_now(self) -> None:
        first, second, settled = letters(3)
        dead_letters.discard(dead_letters=every().filter(pk=settled.pk), by="bert")
        replay = started(reason="repaired in 1.2")
        stored()
        assert (replay.total, replay.state, replay.created_by, replay.reason) == (
            2, "running", "anna", "repaired in 1.2",
        )  # fmt: skip
        rows = replay.messages.values_list("position", "dead_letter_id", "message_id", "outcome")
        assert list(rows) == [
            (0, first.pk, first.message_id, "waiting"),
            (1, second.pk, second.message_id, "waiting"),
        ]
        assert not OutboxMessage.objects.exists()
        assert every().filter(status="waiting").count() == 3

    def test_it_refuses_when_none_waits(self) -> None:
        stored()
        dead_letters.discard(dead_letters=every(), by="bert")
        for none in (every(), every().none(), every().filter(pk__in=[])):
            with pytest.raises(ReplayError, match="None of them waits"):
                replays.start(dead_letters=none, by="anna")
        assert not Replay.objects.exists()
        assert not OperatorAction.objects.exists()

    def test_it_takes_the_letters_of_any_queryset(self) -> None:
        letters(5)
        assert replays.start(dead_letters=every().order_by("-pk")[:2], by="anna").total == 2

    @pytest.mark.parametrize("rate", [0, -1, replays.MAX_RATE + 1])
    def test_it_refuses_a_rate_that_is_none(self, rate: int) -> None:
        stored()
        with pytest.raises(ReplayError, match="rate"):
            started(rate=rate)

    def test_many_take_as_many_statements_as_one(self, django_assert_num_queries: Any) -> None:
        letters(1000)
        with django_assert_num_queries(8):  # begin, replay, lock, freeze, total, action, commit, and the row once more
            assert started().total == 1000

    def test_it_is_written_down_who_started_it(self) -> None:
        stored()
        replay = started(reason="repaired")
        action = OperatorAction.objects.get()
        assert (action.action, action.by, action.reason, action.replay_id) == (
            "start replay", "anna", "repaired", replay.pk,
        )  # fmt: skip
        assert action.detail["messages"] == 1

    def test_what_is_being_replayed_is_not_replayed_twice(self) -> None:
        letters(3)
        replay = started()
        with pytest.raises(AlreadyReplaying, match="started by anna") as caught:
            replays.start(dead_letters=every(), by="bert")
        assert caught.value.replay == replay
        late = stored()
        second = replays.start(dead_letters=every(), by="bert")
        assert [row.dead_letter_id for row in second.messages.all()] == [late.pk]

    def test_what_a_stopped_replay_has_left_can_be_part_of_another(self) -> None:
        letters(3)
        Replay.objects.filter(pk=started().pk).update(state="stopped")
        assert started().total == 3

    def test_two_people_at_once_start_one(self) -> None:
        letters(50)
        answers = at_once(lambda: started(), lambda: started(), lambda: started())
        assert sorted(type(answer).__name__ for answer in answers) == ["AlreadyReplaying", "AlreadyReplaying", "Replay"]
        assert ReplayedMessage.objects.count() == 50


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each returned or raised, each in a thread and a database connection of its own."""
    ready = threading.Barrier(len(calls))
    answers: list[Any] = []

    def run(call: Callable[[], Any]) -> None:
        ready.wait()
        try:
            answers.append(call())
        except Exception as error:
            answers.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=[call]) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


class TestAdvance:
    def test_with_nothing_to_do_it_is_one_query(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(1) as queries:
            replays.advance()
        assert "watched" in queries.captured_queries[0]["sql"]

    def test_a_canary_sends_1_then_5_then_25_then_the_rest(self) -> None:
        letters(100)
        replay = started(rate=40)
        for size in (1, 5, 25):
            a_second_later()
            step = on_its_way()
            assert len(step) == size
            a_second_later()
            assert on_its_way() == [], "a step does not begin before all of the one before took effect"
            take_effect(step[1:])
            a_second_later()
            assert on_its_way() == []
            take_effect(step[:1])
        a_second_later()
        assert 40 <= len(on_its_way()) < 69, "what a second allows, and a little for the time that this test takes"
        assert fresh(replay).state == "running"

    def test_the_oldest_go_first(self) -> None:
        rows = letters(6)
        started()
        replays.advance()
        assert on_its_way() == [rows[0].message_id]
        take_effect([rows[0].message_id])
        a_second_later()
        assert on_its_way() == [row.message_id for row in rows[1:]]

    def test_without_a_canary_all_go_at_the_rate(self) -> None:
        letters(60)
        started(canary=False, rate=20)
        for _ in range(2):
            a_second_later()
            assert 20 <= len(on_its_way()) < 40, "what a second allows, and a little for the time that this test takes"
        a_second_later()
        a_second_later()
        assert OutboxMessage.objects.count() <= 20, "there are no more"

    def test_no_more_than_ten_seconds_worth_is_on_its_way(self) -> None:
        letters(25)
        started(canary=False, rate=2)
        for _ in range(15):
            a_second_later()
        assert OutboxMessage.objects.count() == 20

    def test_what_is_sent_is_settled_like_any_replay(self) -> None:
        row = stored()
        replay = started()
        replays.advance()
        row.refresh_from_db()
        assert (row.status, row.settled_by) == ("replayed", "anna")
        message = replay.messages.get()
        assert (message.outcome, message.occurrences) == ("sent", 1)
        assert message.sent_at is not None
        assert OutboxMessage.objects.get().message_id == row.message_id

    def test_it_finishes_when_all_took_effect(self) -> None:
        letters(3)
        replay = started()
        replays.advance()
        take_effect(on_its_way())
        a_second_later()
        take_effect(on_its_way())
        a_second_later()
        replay = fresh(replay)
        assert (replay.state, replay.state_reason, replay.watched) == ("finished", "3 handled.", False)
        assert replay.finished_at is not None
        assert outcomes(replay) == {"handled": 3}

    def test_it_finishes_by_itself_with_a_consumer(
        self, broker: Broker, config: MessagingConfig, recorder: Recorder
    ) -> None:
        rows = letters(8)
        replay = started()
        stop = Stop()
        consumer = Running(Consumer(config, stop).run, stop.request)
        relay = Running(Relay(config, stop).run, stop.request)
        eventually(lambda: fresh(replay).state == "finished", within=60)
        consumer.stop()
        relay.stop()
        handled = [message.id for batch in recorder.batches for message in batch]
        assert sorted(handled) == sorted(row.message_id for row in rows)
        assert len(recorder.batches[0]) == 1, "the canary's first went alone"
        assert not every().filter(status="waiting").exists()

    def test_it_stops_by_itself_with_a_consumer(
        self, broker: Broker, config: MessagingConfig, recorder: Recorder
    ) -> None:
        def refuse(messages: Any) -> None:
            raise PermanentError("still broken")

        recorder.before = refuse
        rows = letters(8)
        replay = started()
        stop = Stop()
        consumer = Running(Consumer(config, stop).run, stop.request)
        relay = Running(Relay(config, stop).run, stop.request)
        eventually(lambda: fresh(replay).state == "stopped", within=60)
        eventually(lambda: not fresh(replay).watched)
        consumer.stop()
        relay.stop()
        assert "still broken" in fresh(replay).state_reason
        assert outcomes(replay) == {"failed": 1, "waiting": 7}
        assert every().filter(status="waiting").count() == 8
        assert every().get(pk=rows[0].pk).occurrences == 2
        assert not OutboxMessage.objects.exists()


class TestFailures:
    def test_the_same_failure_stops_it_and_says_so(self) -> None:
        rows = letters(40)
        group = grouped(*rows)
        replay = started()
        replays.advance()
        (message_id,) = on_its_way()
        fail_again(message_id, group)
        a_second_later()
        assert on_its_way() == []
        replay = fresh(replay)
        assert replay.state == "stopped"
        for part in ("The same failure came back", str(message_id), "once more", "1 failed again, 39 not sent"):
            assert part in replay.state_reason
        assert replay.messages.get(outcome="failed").detail == "InvalidMessageError: once more"
        a_second_later()
        assert on_its_way() == [], "it stays stopped"

    def test_after_the_canary_another_failure_does_not_stop_it(self) -> None:
        rows = letters(60)
        group = grouped(*rows)
        replay = started()
        for _ in range(3):
            a_second_later()
            take_effect(on_its_way())
        a_second_later()
        sent = on_its_way()
        assert len(sent) == 29
        fail_again(sent[0], grouped(error_type="Other"))
        take_effect(sent[1:])
        a_second_later()
        assert fresh(replay).state == "finished"
        assert fresh(replay).state_reason == "59 handled, 1 failed again."
        assert outcomes(replay) == {"handled": 59, "failed": 1}
        assert group.dead_letters.filter(status="waiting").count() == 0

    def test_after_the_canary_the_same_failure_does(self) -> None:
        rows = letters(100)
        group = grouped(*rows)
        replay = started(rate=10)
        for _ in range(3):
            a_second_later()
            for _ in range(3):
                a_second_later()
            take_effect(on_its_way())
        a_second_later()
        sent = on_its_way()
        fail_again(sent[3], group)
        a_second_later()
        assert fresh(replay).state == "stopped"
        assert on_its_way() == []

    def test_during_the_canary_any_failure_stops_it(self) -> None:
        rows = letters(10)
        grouped(*rows)
        replay = started()
        replays.advance()
        fail_again(on_its_way()[0], grouped(error_type="Other"))
        a_second_later()
        assert fresh(replay).state == "stopped"
        assert "Another failure came during the canary" in fresh(replay).state_reason

    def test_a_retry_of_the_same_failure_stops_it_before_the_ladder_ends(self) -> None:
        rows = letters(10)
        group = grouped(*rows)
        replay = started()
        replays.advance()
        (message_id,) = on_its_way()
        try_again(message_id, group)
        a_second_later()
        assert fresh(replay).state == "stopped"
        message = replay.messages.get(message_id=message_id)
        assert message.outcome == "sent"
        assert message.detail == "tried again: TransientError: not yet (attempt 1)"
        take_effect([message_id])
        replays.advance()
        assert outcomes(replay) == {"handled": 1, "waiting": 9}, "what was on its way is still told"
        assert not fresh(replay).watched

    def test_a_retry_of_another_failure_does_not(self) -> None:
        rows = letters(10)
        grouped(*rows)
        replay = started()
        replays.advance()
        (message_id,) = on_its_way()
        try_again(message_id, grouped(error_type="Other"))
        a_second_later()
        assert fresh(replay).state == "running"
        assert replay.messages.get(message_id=message_id).detail.startswith("tried again")
        assert on_its_way() == [], "the step waits for it"

    def test_what_was_tried_before_it_was_sent_is_no_failure_of_it(self) -> None:
        row = stored()
        group = grouped(row)
        try_again(row.message_id, group)
        replay = started()
        replays.advance()
        a_second_later()
        assert fresh(replay).state == "running"


def try_again(message_id: UUID, group: FailureGroup, *, attempt: int = 1) -> None:
    FailedAttempt.objects.create(
        step="handle", message_id=message_id, attempt=attempt, error_type="TransientError", error_message="not yet",
        fingerprint=group.fingerprint, retry_in="5s",
    )  # fmt: skip


class TestWhatHappensMeanwhile:
    def test_what_somebody_else_has_settled_is_skipped(self) -> None:
        rows = letters(3)
        replay = started()
        dead_letters.discard(dead_letters=every().filter(pk=rows[0].pk), by="bert")
        replays.advance()
        assert on_its_way() == [rows[1].message_id]
        message = replay.messages.get(dead_letter_id=rows[0].pk)
        assert (message.outcome, message.detail) == ("skipped", "It was discarded by bert before its turn came.")

    def test_what_purge_has_removed_is_skipped(self) -> None:
        rows = letters(2)
        replay = started()
        rows[0].delete()
        replays.advance()
        assert on_its_way() == [rows[1].message_id]
        assert "purge has removed it" in replay.messages.get(position=0).detail

    def test_what_somebody_holds_at_the_moment_waits_for_the_next_time(self) -> None:
        row = stored()
        replay = started()
        with transaction.atomic():
            every().select_for_update().get(pk=row.pk)
            answers = at_once(replays.advance)
        assert answers == [None]
        assert outcomes(replay) == {"waiting": 1}
        replays.advance()
        assert outcomes(replay) == {"sent": 1}

    def test_what_had_taken_effect_before_proves_nothing(self) -> None:
        rows = letters(3)
        take_effect([rows[0].message_id])
        replay = started()
        replays.advance()
        assert sorted(on_its_way()) == sorted([rows[0].message_id, rows[1].message_id])
        first, second, third = replay.messages.order_by("position")
        assert (first.outcome, second.outcome, third.outcome) == ("skipped", "sent", "waiting")
        assert "had taken effect before" in first.detail
        assert every().filter(status="waiting").count() == 1

    def test_all_that_is_skipped_finishes_it(self) -> None:
        letters(3)
        replay = started()
        dead_letters.discard(dead_letters=every(), by="bert")
        replays.advance()
        assert (fresh(replay).state, fresh(replay).state_reason) == ("finished", "3 skipped.")

    def test_two_consumers_at_once_send_it_once(self) -> None:
        letters(300)
        replay = started(canary=False, rate=100)
        assert at_once(*[replays.advance] * 6) == [None] * 6
        sent = on_its_way()
        assert 100 <= len(sent) < 300
        assert len(set(sent)) == len(sent)
        assert outcomes(replay) == {"sent": len(sent), "waiting": 300 - len(sent)}

    def test_a_crash_leaves_nothing_half_done(self) -> None:
        rows = letters(3)
        replay = started()
        with patch.object(replays, "_leave_or_finish", side_effect=SystemExit), pytest.raises(SystemExit):
            replays.advance()
        assert outcomes(replay) == {"waiting": 3}
        assert on_its_way() == []
        assert every().filter(status="waiting").count() == 3
        replays.advance()
        assert on_its_way() == [rows[0].message_id]

    def test_one_that_cannot_be_carried_on_holds_back_no_other(self, caplog: pytest.LogCaptureFixture) -> None:
        first = stored()
        bad = started()
        second = stored()
        good = started()
        real = replays._send

        def send(replay: Replay, **more: Any) -> None:
            if replay.pk == bad.pk:
                raise ZeroDivisionError
            real(replay, **more)

        with patch.object(replays, "_send", send):
            replays.advance()
        assert on_its_way() == [second.message_id]
        assert outcomes(good) == {"sent": 1}
        assert every().get(pk=first.pk).status == "waiting"
        assert "replay cannot be carried on" in caplog.text

    def test_that_the_database_is_away_is_for_the_consumer_to_wait_for(self) -> None:
        stored()
        started()
        with (
            patch.object(replays, "_send", side_effect=OperationalError("server closed the connection")),
            pytest.raises(OperationalError),
        ):
            replays.advance()


class TestPauseResumeCancel:
    def test_a_paused_one_sends_nothing_until_it_is_resumed(self) -> None:
        letters(3)
        replay = started()
        replays.advance()
        take_effect(on_its_way())
        replays.pause(replay_id=replay.pk, by="bert", reason="looking")
        a_second_later()
        assert on_its_way() == []
        assert fresh(replay).state_reason == "Paused by bert: looking"
        assert outcomes(replay) == {"handled": 1, "waiting": 2}, "what was on its way is told all the same"
        replays.resume(replay_id=replay.pk, by="carl")
        a_second_later()
        assert len(on_its_way()) == 2, "it goes on with the second step"
        actions = OperatorAction.objects.filter(replay_id=replay.pk, dead_letter_id=None).order_by("id")
        assert list(actions.values_list("action", "by", "reason")) == [
            ("start replay", "anna", ""), ("pause replay", "bert", "looking"), ("resume replay", "carl", ""),
        ]  # fmt: skip

    def test_after_a_stop_the_canary_begins_anew(self) -> None:
        rows = letters(60)
        group = grouped(*rows)
        replay = started()
        for _ in range(2):
            a_second_later()
            take_effect(on_its_way())
        a_second_later()
        sent = on_its_way()
        assert len(sent) == 25
        fail_again(sent[0], group)
        take_effect(sent[1:])
        a_second_later()
        assert fresh(replay).state == "stopped"
        replays.resume(replay_id=replay.pk, by="anna", reason="repaired again")
        for size in (1, 5, 23):
            a_second_later()
            sent = on_its_way()
            assert len(sent) == size
            take_effect(sent)
        a_second_later()
        assert fresh(replay).state_reason == "59 handled, 1 failed again."
        assert every().get(status="waiting").group == group, "what failed again waits among the dead letters"

    def test_an_old_retry_does_not_stop_what_was_resumed(self) -> None:
        rows = letters(3)
        group = grouped(*rows)
        replay = started()
        replays.advance()
        (first,) = on_its_way()
        try_again(first, group)
        replays.advance()
        assert fresh(replay).state == "stopped"
        replays.resume(replay_id=replay.pk, by="anna")
        a_second_later()
        assert fresh(replay).state == "running"
        assert len(on_its_way()) == 1
        try_again(first, group, attempt=2)
        a_second_later()
        assert fresh(replay).state == "stopped", "a new one does"

    def test_a_failure_that_comes_during_a_pause_stops_it(self) -> None:
        group = grouped(*letters(3))
        replay = started()
        replays.advance()
        replays.pause(replay_id=replay.pk, by="anna")
        fail_again(on_its_way()[0], group)
        replays.advance()
        assert fresh(replay).state == "stopped"

    def test_a_cancelled_one_leaves_what_was_not_sent(self) -> None:
        letters(3)
        replay = started()
        replays.advance()
        sent = on_its_way()
        replays.cancel(replay_id=replay.pk, by="bert")
        take_effect(sent)
        a_second_later()
        assert on_its_way() == []
        assert outcomes(replay) == {"handled": 1, "skipped": 2}
        assert every().filter(status="waiting").count() == 2
        assert fresh(replay).finished_at is not None
        assert not fresh(replay).watched

    @pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
    def test_what_is_over_stays_over(self, action: str) -> None:
        stored()
        replay = started()
        replays.cancel(replay_id=replay.pk, by="anna", reason="wrong ones")
        with pytest.raises(ReplayError, match=r"left alone: it is Cancelled \(Cancelled by anna: wrong ones\)"):
            getattr(replays, action)(replay_id=replay.pk, by="bert")
        assert fresh(replay).state == "cancelled"
        assert not OperatorAction.objects.filter(by="bert").exists()

    def test_one_that_is_not_there_is_named(self) -> None:
        with pytest.raises(ReplayError, match="There is no replay 4711"):
            replays.pause(replay_id=4711, by="anna")

    @pytest.mark.parametrize(("action", "before"), [("pause", None), ("resume", "pause"), ("cancel", None)])
    def test_two_people_at_once_do_it_once(self, action: str, before: str | None) -> None:
        letters(20)
        replay = started()
        if before:
            getattr(replays, before)(replay_id=replay.pk, by="anna")

        def press(by: str) -> Callable[[], None]:
            return lambda: getattr(replays, action)(replay_id=replay.pk, by=by)

        answers = at_once(*map(press, ("bert", "carl", "dora")))
        assert sorted(type(answer).__name__ for answer in answers) == ["NoneType", "ReplayError", "ReplayError"]
        assert OperatorAction.objects.filter(action=f"{action} replay").exclude(by="anna").count() == 1

    def test_pressing_while_it_is_carried_on_waits_for_that(self) -> None:
        letters(200)
        replay = started(canary=False, rate=50)
        answers = at_once(replays.advance, lambda: replays.cancel(replay_id=replay.pk, by="bert"), replays.advance)
        assert answers == [None, None, None]
        counts = outcomes(replay)
        assert counts.get("sent", 0) == OutboxMessage.objects.count()
        assert counts.get("sent", 0) + counts["skipped"] == 200
        assert every().filter(status="waiting").count() == counts["skipped"]


def test_what_it_says_of_itself() -> None:
    letters(40)
    replay = started(rate=20)
    assert replays.progress(replay).step == "canary 1 of 3: 1 message"
    ReplayedMessage.objects.filter(position__lt=6).update(outcome="handled", sent_at=Now(), settled_at=Now())
    progress = replays.progress(replay)
    assert progress.step == "canary 3 of 3: 25 messages"
    assert (str(progress), progress.total, progress.settled) == ("6 handled, 34 not sent", 40, 6)
    ReplayedMessage.objects.filter(position__lt=31).update(outcome="handled", sent_at=Now(), settled_at=Now())
    assert replays.progress(replay).step == "the rest, 20 a second"
    Replay.objects.update(state="finished", total=F("total"))
    assert replays.progress(fresh(replay)).step == ""
