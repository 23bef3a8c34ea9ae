from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from messaging import dead_letters, failure_groups
from messaging.failure_counter import FailureCounter
from messaging.fingerprints import fingerprint_of
from messaging.models import DeadLetter, FailureGroup, FailureHour, OperatorAction
from messaging.tests.letters import LATER, NOON, again, failed, group, stored
from messaging.tests.locks import wait_until_somebody_waits_for_us
from messaging.tests.threads import BOUND, at_once, begun


def counted() -> tuple[list[Any], list[Any]]:
    return list(FailureGroup.objects.order_by("pk").values()), list(FailureHour.objects.order_by("pk").values())


@pytest.mark.django_db(transaction=True)
class TestCounting:
    def test_a_dead_letter_has_a_group_that_tells_of_it(self) -> None:
        row = stored(place="a.b", release="1.0", subject="t-1")
        assert row.group == group()
        assert row.subject == "t-1"
        assert (group().error_type, group().place, group().type) == ("InvalidMessageError", "a.b", "thing.happened")
        assert (group().occurrences, group().sample, group().state) == (1, "number is missing", "open")
        assert (group().first_seen_at, group().last_seen_at) == (NOON, NOON)
        assert (group().first_release, group().last_release) == ("1.0", "1.0")
        assert list(FailureHour.objects.values_list("group", "hour", "occurrences")) == [(group().pk, NOON, 1)]

    def test_the_same_failure_of_many_messages_is_one_group(self) -> None:
        dead_letters.store([failed(failed_at=NOON + timedelta(minutes=n), error_message=f"{n}") for n in range(100)])
        assert (group().occurrences, group().sample) == (100, "99")
        assert (group().first_seen_at, group().last_seen_at) == (NOON, NOON + timedelta(minutes=99))
        assert list(FailureHour.objects.values_list("hour", "occurrences")) == [
            (NOON, 60), (NOON + timedelta(hours=1), 40),
        ]  # fmt: skip

    def test_another_error_place_or_type_is_another_group(self) -> None:
        dead_letters.store(
            [failed(), failed(error_type="KeyError"), failed(place="a.b"), failed(type="x"), failed(type="y")]
        )
        assert sorted(FailureGroup.objects.values_list("type", "occurrences")) == [
            ("thing.happened", 1), ("thing.happened", 1), ("thing.happened", 1), ("unknown", 2),
        ]  # fmt: skip

    def test_the_same_delivery_again_is_not_counted_again(self) -> None:
        messages = [failed(), failed(error_type="KeyError")]
        dead_letters.store(messages)
        before = counted()
        dead_letters.store(messages)
        dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="anna")
        dead_letters.store(messages)
        assert counted() == before

    def test_the_same_message_that_fails_again_is_counted_again(self) -> None:
        first = failed()
        dead_letters.store([first])
        dead_letters.store([first, again(first, failed_at=LATER, error_message="newer", release="2.0")])
        assert (group().occurrences, group().sample) == (2, "newer")
        assert (group().first_release, group().last_release) == ("", "2.0")

    def test_many_deliveries_of_one_message_are_counted_one_by_one(self) -> None:
        first = failed()
        times = [NOON + timedelta(seconds=second) for second in range(30)]
        dead_letters.store([again(first, failed_at=time) for time in [*times[:20], *times[:5]]])
        dead_letters.store([again(first, failed_at=time) for time in times])
        assert (group().occurrences, DeadLetter.objects.get().occurrences) == (30, 30)

    def test_a_message_that_fails_otherwise_changes_its_group(self) -> None:
        first = failed()
        dead_letters.store([first])
        dead_letters.store([again(first, failed_at=LATER, error_type="KeyError")])
        assert DeadLetter.objects.values_list("group__error_type", flat=True).get() == "KeyError"
        assert set(FailureGroup.objects.values_list("error_type", "occurrences")) == {
            ("InvalidMessageError", 1), ("KeyError", 1),
        }  # fmt: skip

    def test_an_older_failure_of_a_known_message_makes_no_group(self) -> None:
        newest = failed(failed_at=LATER)
        dead_letters.store([newest])
        dead_letters.store([again(newest, failed_at=NOON, error_type="KeyError")])
        assert group().error_type == "InvalidMessageError"

    def test_an_older_failure_does_not_replace_the_newest_sample(self) -> None:
        stored(failed_at=LATER, error_message="newest", release="2.0")
        stored(failed_at=NOON, error_message="older", release="1.0")
        assert (group().sample, group().last_release, group().occurrences) == ("newest", "2.0", 2)
        assert (group().first_seen_at, group().last_seen_at) == (NOON, LATER)

    def test_it_tells_the_release_of_the_oldest_failure_whatever_comes_first(self) -> None:
        dead_letters.store([failed(failed_at=LATER, release="1.1"), failed(failed_at=NOON, release="1.0")])
        assert (group().first_release, group().last_release) == ("1.0", "1.1")

    def test_a_clock_that_is_ahead_does_not_put_a_group_into_the_future(self) -> None:
        stored(failed_at=datetime(9999, 12, 31, tzinfo=UTC))
        assert group().last_seen_at <= timezone.now()
        assert FailureHour.objects.get().hour <= timezone.now()

    def test_it_counts_whatever_comes(self) -> None:
        stored(error_type="E\x00" * 300, place="\ud800" * 300, release="\x00" * 99, error_message="\x00" * 9999)
        assert (len(group().error_type), len(group().place), len(group().first_release)) == (255, 255, 64)
        assert len(group().sample) == 4_000

    def test_it_is_counted_only_with_what_it_counts(self) -> None:
        with transaction.atomic():
            dead_letters.store([failed()])
            transaction.set_rollback(True)
        assert not FailureGroup.objects.exists()
        assert not FailureHour.objects.exists()
        with pytest.raises(RuntimeError, match="transaction"):
            FailureCounter([])

    def test_consumers_with_the_same_failures_in_another_order_do_not_deadlock(self) -> None:
        low, high = sorted(("A", "B"), key=lambda error_type: fingerprint_of(error_type, "", "thing.happened"))

        with transaction.atomic():
            dead_letters.store([failed(error_type=low)])
            other = begun(
                lambda: dead_letters.store([failed(error_type=high), failed(error_type=low, failed_at=LATER)])
            )
            wait_until_somebody_waits_for_us()
            dead_letters.store([failed(error_type=high)])  # where the other holds this one, each waits for the other
        other.result(BOUND)

        assert set(FailureGroup.objects.values_list("error_type", "occurrences")) == {(low, 2), (high, 2)}

    def test_a_failure_of_a_message_that_somebody_settles_at_that_moment_is_counted_as_its_dead_letter_counts_it(
        self,
    ) -> None:
        message = failed(failed_at=LATER)
        dead_letters.store([message])

        with transaction.atomic():
            dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="anna")
            other = begun(lambda: dead_letters.store([again(message, failed_at=NOON)]))
            wait_until_somebody_waits_for_us()
        other.result(BOUND)

        assert (group().occurrences, DeadLetter.objects.get().occurrences) == (2, 2)

    def test_consumers_that_store_at_once_neither_deadlock_nor_lose_count(self) -> None:
        messages = [failed(error_type=f"E{n % 7}", failed_at=NOON + timedelta(hours=n % 3)) for n in range(210)]

        def consume(number: int) -> None:
            mine = [
                again(m, error_type=m.error_type, failed_at=m.failed_at + timedelta(minutes=number)) for m in messages
            ]
            for start in range(0, 210, 30):
                # Each in another order, and the first half of them once more.
                batch = mine[start : start + 30][:: -1 if number % 2 else 1]
                dead_letters.store(batch)
                dead_letters.store(batch[:15])

        assert at_once(*(partial(consume, number) for number in range(4))) == [None] * 4
        groups = FailureGroup.objects.all()
        assert {group.error_type for group in groups} == {f"E{n}" for n in range(7)}
        # A message that was first stored with a newer time is not counted for an older one.
        letters = sum(DeadLetter.objects.values_list("occurrences", flat=True))
        assert sum(group.occurrences for group in groups) == letters
        assert sum(FailureHour.objects.values_list("occurrences", flat=True)) == letters


@pytest.mark.django_db(transaction=True)
class TestComingBack:
    def resolved(self, **changes: Any) -> FailureGroup:
        stored(**changes)
        failure_groups.take(group_id=group().pk, by="anna")
        failure_groups.note(group_id=group().pk, by="anna", text="the new step")
        return failure_groups.resolve(group_id=group().pk, by="anna")

    def test_a_resolved_group_opens_again_by_itself(self) -> None:
        resolved = self.resolved()
        stored(failed_at=timezone.now() + timedelta(seconds=1), release="3.0")
        assert (group().state, group().owner, group().note) == ("open", "", "the new step")
        assert group().changed_by == "system"
        assert group().changed_at != resolved.changed_at
        last = OperatorAction.objects.first()
        assert last is not None
        assert (last.action, last.by, last.group_id, last.detail) == (
            "reopen",
            "system",
            group().pk,
            {"release": "3.0"},
        )

    def test_a_straggler_from_before_does_not_open_it(self) -> None:
        self.resolved()
        stored(failed_at=timezone.now() - timedelta(hours=1))
        assert (group().state, group().occurrences) == ("resolved", 2)
        assert not OperatorAction.objects.filter(by="system").exists()

    def test_the_same_delivery_again_does_not_open_it(self) -> None:
        message = failed(failed_at=timezone.now() + timedelta(hours=1))
        dead_letters.store([message])
        failure_groups.resolve(group_id=group().pk, by="anna")
        dead_letters.store([message])
        assert (group().state, group().occurrences) == ("resolved", 1)

    def test_another_failure_does_not_open_it(self) -> None:
        resolved = self.resolved()
        stored(failed_at=timezone.now() + timedelta(seconds=1), error_type="KeyError")
        resolved.refresh_from_db()
        assert resolved.state == "resolved"

    def test_one_that_somebody_looks_at_stays_theirs(self) -> None:
        stored()
        failure_groups.take(group_id=group().pk, by="anna")
        stored(failed_at=timezone.now() + timedelta(seconds=1))
        assert (group().state, group().owner) == ("taken", "anna")
