from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import transaction

from messaging import dead_letters
from messaging.conf import config
from messaging.models import DeadLetter, OperatorAction, OutboxMessage, Replay
from messaging.tests.letters import LATER, NOON, again, failed, group, stored
from messaging.tests.threads import BOUND, at_once, begun

pytestmark = pytest.mark.django_db(transaction=True)


def every(status: str | None = None) -> Any:
    return DeadLetter.objects.filter(status=status) if status else DeadLetter.objects.all()


class TestStore:
    def test_it_keeps_all_that_is_known(self) -> None:
        message = failed()
        dead_letters.store([message])
        row = DeadLetter.objects.get()
        assert (row.message_id, row.type, row.queue) == (message.message_id, message.type, message.queue)
        assert (row.headers, bytes(row.body)) == (message.headers, message.body)
        assert (row.correlation_id, row.attempts, row.occurrences) == ("request-1", 6, 1)
        assert (row.error_type, row.error_message) == ("InvalidMessageError", "number is missing")
        assert row.traceback == "Traceback …"
        assert (row.first_failed_at, row.last_failed_at) == (message.first_failed_at, NOON)
        assert (row.status, row.settled_at, row.settled_by) == ("waiting", None, "")

    def test_it_does_nothing_with_nothing(self) -> None:
        dead_letters.store([])
        assert not every().exists()

    def test_it_takes_four_statements(self, django_assert_num_queries: Any) -> None:
        with transaction.atomic(), django_assert_num_queries(6):  # the other two are a savepoint and its release
            dead_letters.store([failed() for _ in range(100)])
        assert every().count() == 100

    def test_the_same_delivery_again_changes_nothing(self) -> None:
        message = failed()
        dead_letters.store([message])
        before = every().values().get()
        dead_letters.store([message])
        assert every().values().get() == before

    def test_the_same_delivery_again_does_not_wake_what_is_settled(self) -> None:
        message = failed()
        dead_letters.store([message])
        dead_letters.replay(dead_letters=every(), by="anna")
        dead_letters.store([message])
        row = every().get()
        assert (row.status, row.settled_by, row.occurrences) == ("replayed", "anna", 1)

    def test_the_same_message_that_fails_again_is_one_more_occurrence(self) -> None:
        first = failed(error_message="first", attempts=6)
        dead_letters.store([first])
        dead_letters.replay(dead_letters=every(), by="anna")
        second = again(
            first, error_message="second", attempts=2, failed_at=LATER, first_failed_at=LATER,
            queue="things.events.v2", correlation_id="request-2", subject="thing-1",
        )  # fmt: skip
        dead_letters.store([second])
        row = every().get()
        assert (row.occurrences, row.error_message, row.attempts) == (2, "second", 2)
        assert (row.queue, row.correlation_id, row.subject) == ("things.events.v2", "request-2", "thing-1")
        assert (row.first_failed_at, row.last_failed_at) == (first.first_failed_at, LATER)
        assert (row.status, row.settled_at, row.settled_by) == ("waiting", None, "")

    def test_an_older_failure_does_not_hide_the_newest_error(self) -> None:
        newest = failed(error_message="newest", failed_at=LATER)
        dead_letters.store([newest])
        dead_letters.store([again(newest, error_message="older", failed_at=NOON)])
        row = every().get()
        assert (row.error_message, row.occurrences, row.last_failed_at) == ("newest", 1, LATER)

    def test_a_settled_message_that_failed_on_a_machine_whose_clock_is_behind_waits_again(self) -> None:
        message = failed(failed_at=LATER)
        dead_letters.store([message])
        dead_letters.replay(dead_letters=every(), by="anna")
        dead_letters.store([again(message, failed_at=NOON)])
        row = every().get()
        assert (row.status, row.occurrences, row.last_failed_at) == ("waiting", 2, LATER)
        assert group().occurrences == 2

    def test_the_same_message_twice_in_one_call_is_one_row(self) -> None:
        first = failed(error_message="first")
        second = again(first, error_message="second", failed_at=LATER)
        dead_letters.store([second, first, second])
        row = every().get()
        assert (row.occurrences, row.error_message, row.last_failed_at) == (2, "second", LATER)

    def test_deliveries_that_come_again_with_a_new_one_are_not_counted_again(self) -> None:
        first = failed()
        second = again(first, failed_at=LATER)
        third = again(first, failed_at=LATER + timedelta(seconds=1))
        dead_letters.store([first, second])
        dead_letters.store([first, second, third])
        assert every().get().occurrences == 3

    def test_one_id_with_two_bodies_is_two_rows(self) -> None:
        message_id = uuid4()
        dead_letters.store([failed(message_id=message_id, body=b"1"), failed(message_id=message_id, body=b"2")])
        assert every().count() == 2

    def test_it_keeps_whatever_comes(self) -> None:
        headers = {"nul\x00": "a\x00b", "nested": ["\ud800", {"\x00": None}], "number": 2**63 - 1}
        row = stored(
            type="t\x00" * 300, queue="q" * 300, correlation_id="\udfff", error_type="E" * 300, headers=headers,
            error_message="\x00\ud800", traceback="\x00", body=b"\x00\xff",
        )  # fmt: skip
        assert row.type == ("t?" * 300)[:255]
        assert (len(row.queue), len(row.error_type), row.correlation_id) == (255, 255, "?")
        assert (row.error_message, row.traceback) == ("??", "?")
        assert bytes(row.body) == b"\x00\xff"
        assert row.headers == {"nul?": "a?b", "nested": ["?", {"?": None}], "number": 2**63 - 1}

    def test_huge_bodies_are_kept_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_BYTES", 1000)
        dead_letters.store([failed(body=bytes(600)) for _ in range(5)])
        assert every().count() == 5

    def test_all_are_kept_or_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_BYTES", 1)
        with pytest.raises(TypeError):
            dead_letters.store([failed(), failed(error_message=None)])
        assert not every().exists()


class TestReplay:
    def test_it_sends_the_message_to_the_work_queue_again(self) -> None:
        row = stored(
            headers={"schema-version": 7, "tenant": "x", "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01"}
        )
        assert dead_letters.replay(dead_letters=every(), by="anna") == 1
        message = OutboxMessage.objects.get()
        assert (message.exchange, message.routing_key) == ("things.retry", "things.events.v1")
        assert (message.message_id, message.type) == (row.message_id, "thing.happened")
        assert (bytes(message.body), message.correlation_id) == (b'{"number": 1}', "request-1")
        assert message.headers == row.headers

    def test_it_keeps_who_and_when(self) -> None:
        stored()
        dead_letters.replay(dead_letters=every(), by="anna")
        row = every().get()
        assert (row.status, row.settled_by) == ("replayed", "anna")
        assert row.settled_at is not None

    def test_a_message_without_a_type_is_sent_without_one(self) -> None:
        stored(type="")
        assert dead_letters.replay(dead_letters=every(), by="anna") == 1
        assert OutboxMessage.objects.get().type == ""

    def test_a_dead_letter_of_an_earlier_queue_goes_to_the_queue_that_is_read(self) -> None:
        stored(queue="things.events.v0")
        dead_letters.replay(dead_letters=every(), by="anna")
        assert OutboxMessage.objects.get().routing_key == config().queue

    def test_twice_is_once(self) -> None:
        stored()
        assert dead_letters.replay(dead_letters=every(), by="anna") == 1
        assert dead_letters.replay(dead_letters=every(), by="bert") == 0
        assert OutboxMessage.objects.count() == 1
        assert every().get().settled_by == "anna"

    def test_two_people_at_once_send_it_once(self) -> None:
        dead_letters.store([failed() for _ in range(200)])
        people = ("anna", "bert", "carl", "dora")
        counts = at_once(*(partial(dead_letters.replay, dead_letters=every(), by=by) for by in people))
        sent = list(OutboxMessage.objects.values_list("message_id", flat=True))
        assert len(sent) == len(set(sent)) == sum(counts) == every("replayed").count() == 200

    def test_it_touches_only_what_was_chosen(self) -> None:
        stored(type="other")
        stored()
        assert dead_letters.replay(dead_letters=DeadLetter.objects.filter(type="other"), by="anna") == 1
        assert every("waiting").get().type == "thing.happened"

    def test_it_works_in_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_ROWS", 2)
        dead_letters.store([failed() for _ in range(5)])
        sizes: list[int] = []
        number = dead_letters.replay(dead_letters=every(), by="anna", on_settled=lambda chunk: sizes.append(len(chunk)))
        assert (number, sizes, OutboxMessage.objects.count()) == (5, [2, 2, 1], 5)

    def test_it_begins_with_the_oldest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_ROWS", 1)
        ids = [stored(failed_at=NOON + timedelta(minutes=number)).message_id for number in range(3)]
        dead_letters.replay(dead_letters=every(), by="anna")
        assert [row.message_id for row in OutboxMessage.objects.order_by("pk")] == ids

    def test_large_bodies_make_small_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        dead_letters.store([failed(body=bytes(600)) for _ in range(3)])
        monkeypatch.setattr(dead_letters, "CHUNK_BYTES", 1000)
        sizes: list[int] = []
        dead_letters.replay(dead_letters=every(), by="anna", on_settled=lambda chunk: sizes.append(len(chunk)))
        assert sizes == [1, 1, 1]

    def test_a_failure_undoes_only_its_own_chunk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_ROWS", 2)
        dead_letters.store([failed() for _ in range(4)])
        seen: list[UUID] = []

        def fail_on_the_second_chunk(chunk: Sequence[DeadLetter]) -> None:
            if seen:
                raise ZeroDivisionError
            seen.extend(row.message_id for row in chunk)

        with pytest.raises(ZeroDivisionError):
            dead_letters.replay(dead_letters=every(), by="anna", on_settled=fail_on_the_second_chunk)
        assert set(OutboxMessage.objects.values_list("message_id", flat=True)) == set(seen)
        assert every("waiting").count() == 2

    def test_what_somebody_else_settles_meanwhile_is_left_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_ROWS", 1)
        dead_letters.store([failed(), failed()])

        def discard_the_other(chunk: Sequence[DeadLetter]) -> None:
            every("waiting").exclude(pk__in=[row.pk for row in chunk]).update(status="discarded", settled_by="bert")

        assert dead_letters.replay(dead_letters=every(), by="anna", on_settled=discard_the_other) == 1
        assert OutboxMessage.objects.get().message_id == every("replayed").get().message_id
        assert every("discarded").get().settled_by == "bert"

    def test_what_somebody_else_holds_at_this_moment_is_left_alone_and_no_action_is_recorded(self) -> None:
        stored()
        replay = Replay.objects.create(created_by="anna", total=1)
        with transaction.atomic():
            every().select_for_update().get()
            work = begun(lambda: dead_letters.replay(dead_letters=every(), by="anna", part_of=replay))
            assert work.result(BOUND) == 0
        assert every("waiting").exists()
        assert not OutboxMessage.objects.exists()
        assert not OperatorAction.objects.exists()

    def test_what_fails_again_meanwhile_is_not_sent_a_second_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dead_letters, "CHUNK_ROWS", 1)
        first, second = failed(), failed()
        dead_letters.store([first])
        dead_letters.store([second])
        failures = iter([again(first, failed_at=LATER), failed()])

        def fail_again(chunk: Sequence[DeadLetter]) -> None:
            OutboxMessage.objects.filter(message_id=chunk[0].message_id).update(attempts=1)
            transaction.on_commit(lambda: dead_letters.store([next(failures)]))

        assert dead_letters.replay(dead_letters=every(), by="anna", on_settled=fail_again) == 2
        assert OutboxMessage.objects.count() == 2
        assert every("waiting").count() == 2


class TestDiscard:
    def test_it_settles_without_sending(self) -> None:
        stored()
        assert dead_letters.discard(dead_letters=every(), by="anna") == 1
        row = every().get()
        assert (row.status, row.settled_by) == ("discarded", "anna")
        assert row.settled_at is not None
        assert not OutboxMessage.objects.exists()

    def test_what_was_replayed_cannot_be_discarded(self) -> None:
        stored()
        dead_letters.replay(dead_letters=every(), by="anna")
        assert dead_letters.discard(dead_letters=every(), by="bert") == 0
        assert every().get().status == "replayed"

    def test_what_was_discarded_cannot_be_replayed(self) -> None:
        stored()
        dead_letters.discard(dead_letters=every(), by="anna")
        assert dead_letters.replay(dead_letters=every(), by="bert") == 0
        assert not OutboxMessage.objects.exists()
