"""Replays of what fails again, and of what others settle meanwhile."""

from typing import Any
from unittest.mock import patch

import pytest
from django.db import OperationalError, transaction

from messaging import dead_letters, replay_runner, replays
from messaging.models import FailedAttempt, OperatorAction, Replay
from messaging.tests.letters import stored
from messaging.tests.replaying import (
    a_second_later,
    every,
    fail_again,
    fresh,
    grouped,
    letters,
    on_its_way,
    outcomes,
    started,
    take_effect,
    try_again,
)
from messaging.tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


class TestFailures:
    def test_the_same_failure_stops_it_and_says_so(self) -> None:
        rows = letters(40)
        group = grouped(*rows)
        replay = started()
        replay_runner.advance()
        (message_id,) = on_its_way()
        fail_again(message_id, group)
        a_second_later()
        assert on_its_way() == []
        replay = fresh(replay)
        assert replay.state == "stopped"
        for part in ("The same failure came back", str(message_id), "once more"):
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
        replay_runner.advance()
        fail_again(on_its_way()[0], grouped(error_type="Other"))
        a_second_later()
        assert fresh(replay).state == "stopped"
        assert "Another failure came during the canary" in fresh(replay).state_reason

    def test_a_retry_of_the_same_failure_stops_it_before_the_ladder_ends(self) -> None:
        rows = letters(10)
        group = grouped(*rows)
        replay = started()
        replay_runner.advance()
        (message_id,) = on_its_way()
        try_again(message_id, group)
        a_second_later()
        assert fresh(replay).state == "stopped"
        message = replay.messages.get(message_id=message_id)
        assert message.outcome == "sent"
        assert message.detail == "tried again: TransientError: not yet (attempt 1)"
        take_effect([message_id])
        replay_runner.advance()
        assert outcomes(replay) == {"handled": 1, "waiting": 9}, "what was on its way is still told"
        assert not fresh(replay).watched

    def test_why_it_stopped_tells_no_counts_which_go_on_changing(self) -> None:
        group = grouped(*letters(10))
        replay = started()
        replay_runner.advance()
        (message_id,) = on_its_way()
        try_again(message_id, group)
        a_second_later()
        why = fresh(replay).state_reason
        assert why.startswith("The same failure came back")
        assert "not sent" not in why
        assert replays.standing(fresh(replay)) == f"1 on the way, 9 not sent. {why}"
        fail_again(message_id, group)
        a_second_later()
        assert replays.standing(fresh(replay)) == f"1 failed again, 9 not sent. {why}"

    @pytest.mark.parametrize("known_before", [True, False])
    def test_a_failure_that_belongs_to_no_group_counts_as_the_same(self, known_before: bool) -> None:
        rows = letters(3)
        group = grouped(*rows)
        every().update(group=group if known_before else None)
        replay = started(canary=False)
        replay_runner.advance()
        first, *_ = on_its_way()
        fail_again(first, None if known_before else group)
        replay_runner.advance()
        assert fresh(replay).state == "stopped"

    def test_a_retry_of_the_same_failure_is_not_hidden_by_one_of_another_after_it(self) -> None:
        rows = letters(3)
        group = grouped(*rows)
        replay = started(canary=False)
        replay_runner.advance()
        first, *_ = on_its_way()
        try_again(first, group, attempt=1)
        try_again(first, grouped(error_type="Other"), attempt=2)
        replay_runner.advance()
        assert fresh(replay).state == "stopped"

    def test_a_retry_of_another_failure_does_not(self) -> None:
        rows = letters(10)
        grouped(*rows)
        replay = started()
        replay_runner.advance()
        (message_id,) = on_its_way()
        try_again(message_id, grouped(error_type="Other"))
        a_second_later()
        assert fresh(replay).state == "running"
        assert replay.messages.get(message_id=message_id).detail.startswith("tried again")
        assert on_its_way() == [], "the step waits for it"

    def test_that_the_broker_took_it_back_is_no_failure_of_it(self) -> None:
        letters(3)
        replay = started()
        replay_runner.advance()
        (message_id,) = on_its_way()
        FailedAttempt.objects.create(step="publish", message_id=message_id, attempt=1, error_type="Refused")
        replay_runner.advance()
        assert fresh(replay).state == "running"

    def test_what_was_tried_before_it_was_sent_is_no_failure_of_it(self) -> None:
        row = stored()
        group = grouped(row)
        try_again(row.message_id, group)
        replay = started()
        replay_runner.advance()
        a_second_later()
        assert fresh(replay).state == "running"


class TestWhatHappensMeanwhile:
    def test_what_somebody_else_has_settled_is_skipped(self) -> None:
        rows = letters(3)
        replay = started()
        dead_letters.discard(dead_letters=every().filter(pk=rows[0].pk), by="bert")
        replay_runner.advance()
        assert on_its_way() == [rows[1].message_id]
        message = replay.messages.get(dead_letter_id=rows[0].pk)
        assert (message.outcome, message.detail) == ("skipped", "It was discarded by bert before its turn came.")

    def test_what_purge_has_removed_is_skipped(self) -> None:
        rows = letters(2)
        replay = started()
        rows[0].delete()
        replay_runner.advance()
        assert on_its_way() == [rows[1].message_id]
        assert "purge has removed it" in replay.messages.get(position=0).detail

    def test_what_somebody_holds_at_the_moment_waits_for_the_next_time(self) -> None:
        row = stored()
        replay = started()
        with transaction.atomic():
            every().select_for_update().get(pk=row.pk)
            answers = at_once(replay_runner.advance)
        assert answers == [None]
        assert outcomes(replay) == {"waiting": 1}
        assert not OperatorAction.objects.filter(action="replay").exists()
        replay_runner.advance()
        assert outcomes(replay) == {"sent": 1}

    def test_one_that_another_consumer_carries_on_at_the_moment_is_passed_over(self) -> None:
        stored()
        replay = started()
        with transaction.atomic():
            Replay.objects.select_for_update().get(pk=replay.pk)
            assert at_once(replay_runner.advance) == [None]
        assert outcomes(replay) == {"waiting": 1}

    def test_what_had_taken_effect_before_proves_nothing(self) -> None:
        rows = letters(3)
        take_effect([rows[0].message_id])
        replay = started()
        replay_runner.advance()
        assert sorted(on_its_way()) == sorted([rows[0].message_id, rows[1].message_id])
        first, second, third = replay.messages.order_by("position")
        assert (first.outcome, second.outcome, third.outcome) == ("skipped", "sent", "waiting")
        assert "had taken effect before" in first.detail
        assert every().filter(status="waiting").count() == 1

    def test_all_that_is_skipped_finishes_it(self) -> None:
        letters(3)
        replay = started()
        dead_letters.discard(dead_letters=every(), by="bert")
        replay_runner.advance()
        assert (fresh(replay).state, fresh(replay).state_reason) == ("finished", "3 skipped.")

    def test_two_consumers_at_once_send_it_once(self) -> None:
        letters(300)
        replay = started(canary=False, rate=100)
        assert at_once(*[replay_runner.advance] * 6) == [None] * 6
        sent = on_its_way()
        assert 100 <= len(sent) < 300
        assert len(set(sent)) == len(sent)
        assert outcomes(replay) == {"sent": len(sent), "waiting": 300 - len(sent)}

    def test_a_crash_leaves_nothing_half_done(self) -> None:
        rows = letters(3)
        replay = started()
        with patch.object(replay_runner, "_leave_or_finish", side_effect=SystemExit), pytest.raises(SystemExit):
            replay_runner.advance()
        assert outcomes(replay) == {"waiting": 3}
        assert on_its_way() == []
        assert every().filter(status="waiting").count() == 3
        replay_runner.advance()
        assert on_its_way() == [rows[0].message_id]

    def test_one_that_cannot_be_carried_on_holds_back_no_other(self, caplog: pytest.LogCaptureFixture) -> None:
        first = stored()
        bad = started()
        second = stored()
        good = started()
        real = replay_runner._send

        def send(replay: Replay, **more: Any) -> None:
            if replay.pk == bad.pk:
                raise ZeroDivisionError
            real(replay, **more)

        with patch.object(replay_runner, "_send", send):
            replay_runner.advance()
        assert on_its_way() == [second.message_id]
        assert outcomes(good) == {"sent": 1}
        assert every().get(pk=first.pk).status == "waiting"
        assert "replay cannot be carried on" in caplog.text

    def test_that_the_database_is_away_is_for_the_consumer_to_wait_for(self) -> None:
        stored()
        started()
        with (
            patch.object(replay_runner, "_send", side_effect=OperationalError("server closed the connection")),
            pytest.raises(OperationalError),
        ):
            replay_runner.advance()
