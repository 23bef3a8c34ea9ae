from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from messaging import dead_letters, failure_groups
from messaging.failure_groups import GroupChangedError, seen_state
from messaging.models import DeadLetter, FailureGroup, FailureHour, OperatorAction
from messaging.tests.letters import group, group_of, stored
from messaging.tests.locks import wait_until_somebody_waits_for_us
from messaging.tests.threads import BOUND, at_once, begun


@pytest.mark.django_db(transaction=True)
class TestDeciding:
    @pytest.fixture
    def id(self) -> int:
        return group_of(stored())

    def test_who_takes_it_is_written_down(self, id: int) -> None:
        failure_groups.take(group_id=id, by="anna", reason="mine")
        assert (group().state, group().owner, group().changed_by) == ("taken", "anna", "anna")
        action = OperatorAction.objects.get()
        assert (action.action, action.by, action.reason, action.group_id) == ("take", "anna", "mine", id)

    def test_resolving_keeps_who_looked_at_it_and_opening_does_not(self, id: int) -> None:
        failure_groups.take(group_id=id, by="anna")
        assert failure_groups.resolve(group_id=id, by="bert").owner == "anna"
        assert failure_groups.reopen(group_id=id, by="bert").owner == ""
        assert list(OperatorAction.objects.values_list("action", flat=True)) == ["reopen", "resolve", "take"]

    def test_what_is_so_already_is_not_written_down_again(self, id: int) -> None:
        failure_groups.take(group_id=id, by="anna")
        failure_groups.take(group_id=id, by="anna")
        failure_groups.note(group_id=id, by="anna", text="")
        assert OperatorAction.objects.count() == 1

    def test_whoever_comes_second_hears_what_the_first_did(self, id: int) -> None:
        seen = seen_state(group())
        failure_groups.take(group_id=id, by="anna", expected=seen)
        with pytest.raises(GroupChangedError, match=r"anna has begun to look at it, on .*Nothing was changed"):
            failure_groups.take(group_id=id, by="bert", expected=seen)
        OperatorAction.objects.update(at=datetime(2026, 6, 15, 23, 59, 58, tzinfo=UTC))
        with pytest.raises(GroupChangedError, match="on 2026-06-15 23:59:58"):  # the page may be days old
            failure_groups.take(group_id=id, by="bert", expected=seen)
        assert group().owner == "anna"

    def test_whoever_resolves_what_came_back_meanwhile_hears_of_it(self, id: int) -> None:
        failure_groups.resolve(group_id=id, by="anna")
        seen = seen_state(group())
        stored(failed_at=timezone.now() + timedelta(seconds=1))
        with pytest.raises(GroupChangedError, match="opened again by itself"):
            failure_groups.reopen(group_id=id, by="bert", expected=seen)

    def test_one_can_take_what_another_has_taken_having_seen_it(self, id: int) -> None:
        failure_groups.take(group_id=id, by="anna")
        failure_groups.take(group_id=id, by="bert", expected=seen_state(group()))
        assert group().owner == "bert"

    def test_two_at_once_are_one_and_a_refusal(self, id: int) -> None:
        seen, people = seen_state(group()), ("anna", "bert", "carl", "dora")
        ends = at_once(*(partial(failure_groups.take, group_id=id, by=by, expected=seen) for by in people))
        assert sorted(type(end).__name__ for end in ends) == ["FailureGroup", *["GroupChangedError"] * 3]
        assert OperatorAction.objects.get().by == group().owner

    def test_a_note_is_kept_with_what_stood_there_before(self, id: int) -> None:
        failure_groups.note(group_id=id, by="anna", text="see the new step")
        failure_groups.note(group_id=id, by="bert", text="mended", expected="see the new step")
        assert group().note == "mended"
        last = OperatorAction.objects.first()
        assert last is not None
        assert (last.action, last.reason, last.detail) == ("note", "mended", {"before": "see the new step"})

    def test_a_note_does_not_replace_one_that_was_not_seen(self, id: int) -> None:
        failure_groups.note(group_id=id, by="anna", text="a\nb")
        with pytest.raises(GroupChangedError, match="anna has changed the note"):
            failure_groups.note(group_id=id, by="bert", text="mine", expected="")
        failure_groups.note(group_id=id, by="bert", text="mine", expected="a\r\nb\r\n")
        assert group().note == "mine"

    def test_of_two_who_write_a_note_at_once_the_second_hears_of_the_first(self, id: int) -> None:
        with transaction.atomic():
            failure_groups.note(group_id=id, by="anna", text="first", expected="")
            second = begun(lambda: failure_groups.note(group_id=id, by="bert", text="second", expected=""))
            wait_until_somebody_waits_for_us()
        with pytest.raises(GroupChangedError, match="anna has changed the note"):
            second.result(BOUND)
        assert group().note == "first"

    @pytest.mark.parametrize("verb", [failure_groups.take, failure_groups.resolve, failure_groups.reopen])
    def test_a_group_that_is_not_there_is_an_error(self, verb: Any) -> None:
        with pytest.raises(FailureGroup.DoesNotExist):
            verb(group_id=1, by="anna")


@pytest.mark.django_db(transaction=True)
class TestShowing:
    def test_only_what_waits_is_counted(self) -> None:
        first, second = group_of(stored()), group_of(stored(error_type="KeyError"))
        for _ in range(2):
            stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(group=second), by="anna")
        assert failure_groups.waiting([first, second]) == {first: 3}

    def test_a_trend_has_each_of_the_last_hours(self) -> None:
        now = timezone.now()
        mine = group_of(stored(failed_at=now))
        for hours in (1, 1, 23, 24, 100):
            stored(failed_at=now - timedelta(hours=hours))
        other = group_of(stored(failed_at=now - timedelta(days=3), error_type="KeyError"))
        # By the clock of a consumer that is ahead.
        FailureHour.objects.create(group_id=mine, hour=now + timedelta(hours=1), occurrences=1)
        found = failure_groups.trends([mine, other], hours=24)
        assert found[mine] == [1, *[0] * 21, 2, 1]
        assert found[other] == [0] * 24
