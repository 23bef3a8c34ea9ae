"""Replays that somebody pauses, resumes or cancels."""

from collections.abc import Callable
from typing import Any

import pytest

from messaging import replay_runner, replays
from messaging.models import OperatorAction, OutboxMessage
from messaging.replays import ReplayError
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


class TestPauseResumeCancel:
    def test_a_paused_one_sends_nothing_until_it_is_resumed(self) -> None:
        letters(3)
        replay = started()
        replay_runner.advance()
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
        replay_runner.advance()
        (first,) = on_its_way()
        try_again(first, group)
        replay_runner.advance()
        assert fresh(replay).state == "stopped"
        try_again(first, group, attempt=2)
        replays.resume(replay_id=replay.pk, by="anna")
        a_second_later()
        assert fresh(replay).state == "running"
        assert len(on_its_way()) == 1
        try_again(first, group, attempt=3)
        a_second_later()
        assert fresh(replay).state == "stopped", "a new one does"

    def test_a_failure_that_comes_during_a_pause_stops_it(self) -> None:
        group = grouped(*letters(3))
        replay = started()
        replay_runner.advance()
        replays.pause(replay_id=replay.pk, by="anna")
        fail_again(on_its_way()[0], group)
        replay_runner.advance()
        assert fresh(replay).state == "stopped"

    def test_a_cancelled_one_leaves_what_was_not_sent(self) -> None:
        letters(3)
        replay = started()
        replay_runner.advance()
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

    def test_what_cannot_be_kept_of_a_name_or_reason_is_replaced(self) -> None:
        letters(1)
        said: Any = {"by": "anna\udcff", "reason": "why\x00"}
        replay = replays.start(dead_letters=every(), **said)
        replays.pause(replay_id=replay.pk, **said)
        assert fresh(replay).state_reason == "Paused by anna?: why?"
        replays.cancel(replay_id=replay.pk, **said)
        assert (fresh(replay).created_by, fresh(replay).reason) == ("anna?", "why?")

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
        answers = at_once(
            replay_runner.advance, lambda: replays.cancel(replay_id=replay.pk, by="bert"), replay_runner.advance
        )
        assert answers == [None, None, None]
        counts = outcomes(replay)
        assert counts.get("sent", 0) == OutboxMessage.objects.count()
        assert counts.get("sent", 0) + counts["skipped"] == 200
        assert every().filter(status="waiting").count() == counts["skipped"]
