import json
import threading
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from messaging import conf, dead_letters, envelope, failures
from messaging.envelope import Delivery
from messaging.errors import InvalidMessageError
from messaging.failures import GroupChangedError, fingerprint_of, place_of, seen_state
from messaging.models import DeadLetter, FailureGroup, FailureHour, OperatorAction
from messaging.tests.handlers import HANDLERS
from messaging.tests.letters import LATER, NOON, again, failed, stored
from messaging.tests.test_envelope import delivery


def raised_by(function: Any) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def divide() -> None:
    _ = 1 / 0


class TestPlace:
    def test_it_is_where_our_code_raised_it(self) -> None:
        assert place_of(raised_by(divide)) == f"{__name__}.divide"

    def test_it_is_where_ours_called_the_library_that_raised_it(self) -> None:
        def parse() -> None:
            json.loads("{")

        assert place_of(raised_by(parse)) == f"{__name__}.TestPlace.{self._name('library_that_raised_it')}.parse"

    def _name(self, end: str) -> str:
        [name] = [name for name in dir(type(self)) if name.endswith(end)]
        return name

    def test_an_installed_package_is_not_ours(self) -> None:
        def ask() -> None:
            DeadLetter.objects.filter(**{"nothing": 1})

        assert place_of(raised_by(ask)).endswith(".ask")

    def test_it_has_no_line_numbers(self) -> None:
        def first() -> None:
            raise ValueError("a")

        def both(number: int) -> None:
            if number:
                raise ValueError("one")
            raise ValueError("the other")

        assert (
            place_of(raised_by(lambda: both(0))) == place_of(raised_by(lambda: both(1))) != place_of(raised_by(first))
        )

    def test_an_error_raised_because_of_another_has_its_own_place(self) -> None:
        error = raised_by(lambda: envelope.read(delivery(b"{", type="thing.happened"), HANDLERS))
        assert isinstance(error, InvalidMessageError)
        assert error.__cause__ is not None
        assert place_of(error) == "messaging.envelope.read"

    def test_an_error_without_a_traceback_has_the_place_of_its_cause(self) -> None:
        error = ValueError("made elsewhere")
        error.__cause__ = raised_by(divide)
        assert place_of(error) == f"{__name__}.divide"

    def test_an_error_that_is_its_own_cause_does_no_harm(self) -> None:
        error = ValueError("round")
        error.__cause__ = error
        assert place_of(error) == ""


class TestFingerprint:
    def test_it_is_the_same_for_the_same(self) -> None:
        assert fingerprint_of("E", "a.b", "thing.happened") == fingerprint_of("E", "a.b", "thing.happened")

    @pytest.mark.parametrize("other", [("F", "a.b", "thing.happened"), ("E", "a.c", "thing.happened")])
    def test_another_error_or_place_is_another(self, other: tuple[str, str, str]) -> None:
        assert fingerprint_of(*other) != fingerprint_of("E", "a.b", "thing.happened")

    def test_all_unknown_types_are_one(self) -> None:
        unknown = {fingerprint_of("E", "a.b", str(uuid.uuid4())) for _ in range(5)}
        assert len(unknown) == 1
        assert fingerprint_of("E", "a.b", "thing.happened") not in unknown

    def test_no_type_is_the_only_one_that_the_service_takes(self) -> None:
        assert fingerprint_of("E", "", "") == fingerprint_of("E", "", "thing.happened")


class TestTravelling:
    """The place and the release reach the dead letters, and do not go with the message when it is sent again."""

    def there_and_kept(self, error: BaseException, **headers: Any) -> tuple[Any, dead_letters.FailedMessage]:
        config = conf.config()
        dead = envelope.dead_letter(delivery(b'{"thing": "t-1"}', headers=headers), error, config)
        arrived = Delivery(1, False, dead.routing_key, dead.properties, dead.body)
        return dead.properties.headers, envelope.failed(arrived, config)

    def test_they_are_kept(self, settings: Any) -> None:
        settings.MESSAGING = settings.MESSAGING | {"RELEASE": "2.1"}
        _, kept = self.there_and_kept(raised_by(divide))
        assert (kept.place, kept.release, kept.subject) == (f"{__name__}.divide", "2.1", "t-1")
        assert kept.headers == {}

    def test_a_sender_cannot_set_them(self) -> None:
        headers, kept = self.there_and_kept(raised_by(divide), **{"x-error-place": "a.b", "x-release": "forged"})
        assert (headers["x-error-place"], headers["x-release"]) == (f"{__name__}.divide", "")
        assert (kept.place, kept.release) == (f"{__name__}.divide", "")

    def test_what_the_broker_has_dead_lettered_says_nothing_of_an_earlier_error(self) -> None:
        headers = {"x-death": [{"reason": "delivery_limit"}], "x-error-type": "Forged", "x-error-place": "a.b"}
        kept = envelope.failed(delivery(headers=headers), conf.config())
        assert (kept.error_type, kept.place) == ("DeliveryLimitExceeded", "")

    def test_a_subject_of_an_unknown_type_is_not_read(self) -> None:
        assert envelope.failed(delivery(b'{"thing": "t-1"}', type="else"), conf.config()).subject == ""


def group() -> FailureGroup:
    return FailureGroup.objects.get()


def group_of(row: DeadLetter) -> int:
    assert row.group_id is not None
    return row.group_id


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

    def test_a_clock_that_is_ahead_does_not_put_a_group_into_the_future(self) -> None:
        stored(failed_at=datetime(9999, 12, 31, tzinfo=UTC))
        assert group().last_seen_at <= timezone.now()
        assert FailureHour.objects.get().hour <= timezone.now()

    def test_it_counts_whatever_comes(self) -> None:
        stored(error_type="E\x00" * 300, place="\ud800" * 300, release="\x00" * 99, error_message="\x00" * 9999)
        assert (len(group().error_type), len(group().place), len(group().first_release)) == (255, 255, 64)

    def test_it_is_counted_only_with_what_it_counts(self) -> None:
        with transaction.atomic():
            dead_letters.store([failed()])
            transaction.set_rollback(True)
        assert not FailureGroup.objects.exists()
        assert not FailureHour.objects.exists()
        with pytest.raises(RuntimeError, match="transaction"):
            failures.Tally([])

    def test_consumers_that_store_at_once_neither_deadlock_nor_lose_count(self) -> None:
        messages = [failed(error_type=f"E{n % 7}", failed_at=NOON + timedelta(hours=n % 3)) for n in range(210)]
        ready = threading.Barrier(4)
        errors: list[BaseException] = []

        def consume(number: int) -> None:
            mine = [
                again(m, error_type=m.error_type, failed_at=m.failed_at + timedelta(minutes=number)) for m in messages
            ]
            ready.wait()
            try:
                for start in range(0, 210, 30):
                    # Each in another order, and the first half of them once more.
                    batch = mine[start : start + 30][:: -1 if number % 2 else 1]
                    dead_letters.store(batch)
                    dead_letters.store(batch[:15])
            except BaseException as error:
                errors.append(error)
            finally:
                connection.close()

        threads = [threading.Thread(target=consume, args=[number]) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        groups = FailureGroup.objects.all()
        assert {group.error_type for group in groups} == {f"E{n}" for n in range(7)}
        # A message that is stored with a newer time first is not counted for an older one.
        letters = sum(DeadLetter.objects.values_list("occurrences", flat=True))
        assert sum(group.occurrences for group in groups) == letters
        assert sum(FailureHour.objects.values_list("occurrences", flat=True)) == letters


@pytest.mark.django_db(transaction=True)
class TestComingBack:
    def resolved(self, **changes: Any) -> FailureGroup:
        stored(**changes)
        failures.take(group_id=group().pk, by="anna")
        failures.note(group_id=group().pk, by="anna", text="the new step")
        return failures.resolve(group_id=group().pk, by="anna")

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
        failures.resolve(group_id=group().pk, by="anna")
        dead_letters.store([message])
        assert (group().state, group().occurrences) == ("resolved", 1)

    def test_another_failure_does_not_open_it(self) -> None:
        resolved = self.resolved()
        stored(failed_at=timezone.now() + timedelta(seconds=1), error_type="KeyError")
        resolved.refresh_from_db()
        assert resolved.state == "resolved"

    def test_one_that_somebody_looks_at_stays_theirs(self) -> None:
        stored()
        failures.take(group_id=group().pk, by="anna")
        stored(failed_at=timezone.now() + timedelta(seconds=1))
        assert (group().state, group().owner) == ("taken", "anna")


@pytest.mark.django_db(transaction=True)
class TestDeciding:
    @pytest.fixture
    def id(self) -> int:
        return group_of(stored())

    def test_who_takes_it_is_written_down(self, id: int) -> None:
        failures.take(group_id=id, by="anna", reason="mine")
        assert (group().state, group().owner, group().changed_by) == ("taken", "anna", "anna")
        action = OperatorAction.objects.get()
        assert (action.action, action.by, action.reason, action.group_id) == ("take", "anna", "mine", id)

    def test_resolving_keeps_who_looked_at_it_and_opening_does_not(self, id: int) -> None:
        failures.take(group_id=id, by="anna")
        assert failures.resolve(group_id=id, by="bert").owner == "anna"
        assert failures.reopen(group_id=id, by="bert").owner == ""
        assert list(OperatorAction.objects.values_list("action", flat=True)) == ["reopen", "resolve", "take"]

    def test_what_is_so_already_is_not_written_down_again(self, id: int) -> None:
        failures.take(group_id=id, by="anna")
        failures.take(group_id=id, by="anna")
        failures.note(group_id=id, by="anna", text="")
        assert OperatorAction.objects.count() == 1

    def test_whoever_comes_second_hears_what_the_first_did(self, id: int) -> None:
        seen = seen_state(group())
        failures.take(group_id=id, by="anna", expected=seen)
        with pytest.raises(GroupChangedError, match=r"anna has begun to look at it, at .*Nothing was changed"):
            failures.take(group_id=id, by="bert", expected=seen)
        assert group().owner == "anna"

    def test_whoever_resolves_what_came_back_meanwhile_hears_of_it(self, id: int) -> None:
        failures.resolve(group_id=id, by="anna")
        seen = seen_state(group())
        stored(failed_at=timezone.now() + timedelta(seconds=1))
        with pytest.raises(GroupChangedError, match="opened again by itself"):
            failures.reopen(group_id=id, by="bert", expected=seen)

    def test_one_can_take_what_another_has_taken_having_seen_it(self, id: int) -> None:
        failures.take(group_id=id, by="anna")
        failures.take(group_id=id, by="bert", expected=seen_state(group()))
        assert group().owner == "bert"

    def test_two_at_once_are_one_and_a_refusal(self, id: int) -> None:
        seen, ready, ends = seen_state(group()), threading.Barrier(4), []

        def click(by: str) -> None:
            ready.wait()
            try:
                failures.take(group_id=id, by=by, expected=seen)
                ends.append("took it")
            except GroupChangedError:
                ends.append("was told")
            connection.close()

        threads = [threading.Thread(target=click, args=[name]) for name in ("anna", "bert", "carl", "dora")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(ends) == ["took it", "was told", "was told", "was told"]
        assert OperatorAction.objects.get().by == group().owner

    def test_a_note_is_kept_with_what_stood_there_before(self, id: int) -> None:
        failures.note(group_id=id, by="anna", text="see the new step")
        failures.note(group_id=id, by="bert", text="mended", expected="see the new step")
        assert group().note == "mended"
        last = OperatorAction.objects.first()
        assert last is not None
        assert (last.action, last.reason, last.detail) == ("note", "mended", {"before": "see the new step"})

    def test_a_note_does_not_replace_one_that_was_not_seen(self, id: int) -> None:
        failures.note(group_id=id, by="anna", text="a\nb")
        with pytest.raises(GroupChangedError, match="anna has changed the note"):
            failures.note(group_id=id, by="bert", text="mine", expected="")
        failures.note(group_id=id, by="bert", text="mine", expected="a\r\nb\r\n")
        assert group().note == "mine"

    @pytest.mark.parametrize("verb", [failures.take, failures.resolve, failures.reopen])
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
        assert failures.waiting([first, second]) == {first: 3}

    def test_a_trend_has_each_of_the_last_hours(self) -> None:
        now = timezone.now()
        mine = group_of(stored(failed_at=now))
        for hours in (1, 1, 23, 24, 100):
            stored(failed_at=now - timedelta(hours=hours))
        other = group_of(stored(failed_at=now - timedelta(days=3), error_type="KeyError"))
        found = failures.trends([mine, other], hours=24)
        assert found[mine] == [1, *[0] * 21, 2, 1]
        assert found[other] == [0] * 24
