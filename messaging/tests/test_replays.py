"""How a replay starts, goes on, and what it says of itself."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from messaging import dead_letters, replay_runner, replays
from messaging.conf import MessagingConfig
from messaging.consumer import Consumer
from messaging.errors import PermanentError
from messaging.models import OperatorAction, OutboxMessage, Replay, ReplayedMessage
from messaging.relay import Relay
from messaging.replays import AlreadyReplayingError, ReplayError
from messaging.stopping import Stop
from messaging.tests.conftest import Broker, Running, eventually
from messaging.tests.handlers import Recorder
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
)
from messaging.tests.threads import at_once

pytestmark = pytest.mark.django_db(transaction=True)


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
        assert [row.action for row in OperatorAction.objects.all()] == ["discard"]

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
        with pytest.raises(AlreadyReplayingError, match="started by anna") as caught:
            replays.start(dead_letters=every(), by="bert")
        assert caught.value.replay == replay
        late = stored()
        second = replays.start(dead_letters=every(), by="bert")
        assert [row.dead_letter_id for row in second.messages.all()] == [late.pk]

    def test_what_a_paused_replay_has_yet_to_send_is_not_replayed_by_another(self) -> None:
        letters(3)
        replay = started()
        replays.pause(replay_id=replay.pk, by="anna")
        with pytest.raises(AlreadyReplayingError) as caught:
            replays.start(dead_letters=every(), by="bert")
        assert caught.value.replay == replay
        assert Replay.objects.count() == 1

    def test_what_a_stopped_replay_has_left_can_be_part_of_another(self) -> None:
        letters(3)
        Replay.objects.filter(pk=started().pk).update(state="stopped")
        assert started().total == 3

    def test_what_failed_again_in_one_that_goes_on_can_be_part_of_another(self) -> None:
        grouped(*letters(3))
        replay = started(canary=False)
        replay_runner.advance()
        first, *_ = on_its_way()
        fail_again(first, grouped(error_type="KeyError"))
        replay_runner.advance()
        assert fresh(replay).state == "running"
        assert [row.message_id for row in started().messages.all()] == [first]

    def test_two_people_at_once_start_one(self) -> None:
        letters(50)
        answers = at_once(lambda: started(), lambda: started(), lambda: started())
        assert sorted(type(answer).__name__ for answer in answers) == [
            "AlreadyReplayingError",
            "AlreadyReplayingError",
            "Replay",
        ]
        assert ReplayedMessage.objects.count() == 50


class TestAdvance:
    def test_with_nothing_to_do_it_is_one_query(self, django_assert_num_queries: Any) -> None:
        with django_assert_num_queries(1) as queries:
            replay_runner.advance()
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
        seconds = a_second_later()
        assert 40 <= len(on_its_way()) <= 40 * seconds
        assert fresh(replay).state == "running"

    def test_the_oldest_go_first(self) -> None:
        rows = letters(6)
        started()
        replay_runner.advance()
        assert on_its_way() == [rows[0].message_id]
        take_effect([rows[0].message_id])
        a_second_later()
        assert on_its_way() == [row.message_id for row in rows[1:]]

    def test_without_a_canary_all_go_at_the_rate(self) -> None:
        letters(60)
        started(canary=False, rate=20)
        for _ in range(2):
            seconds = a_second_later()
            assert 20 <= len(on_its_way()) <= 20 * seconds
        a_second_later()
        a_second_later()
        assert OutboxMessage.objects.count() <= 20, "there are no more"

    def test_of_what_it_has_yet_to_send_it_reads_only_what_is_next(self) -> None:
        letters(5)
        started(canary=False, rate=2)
        with CaptureQueriesContext(connection) as queries:
            replay_runner.advance()
        [noting] = (query["sql"] for query in queries if "SET sent_at" in query["sql"])
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")  # a sequential scan would do for five rows
            cursor.execute(f"EXPLAIN {noting}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert "messaging_replayedmessage_pkey" in plan

    def test_no_more_than_ten_seconds_worth_is_on_its_way(self) -> None:
        letters(25)
        started(canary=False, rate=2)
        for _ in range(15):
            a_second_later()
        assert OutboxMessage.objects.count() == 20

    def test_it_goes_on_when_the_clock_of_the_database_is_set_back(self) -> None:
        letters(4)
        replay = started(canary=False, rate=2)
        replay_runner.advance()
        Replay.objects.update(last_sent_at=Now() + timedelta(hours=1))
        replay_runner.advance()
        assert outcomes(replay) == {"sent": 4}

    def test_what_is_sent_is_settled_like_any_replay(self) -> None:
        row = stored()
        replay = started()
        replay_runner.advance()
        row.refresh_from_db()
        assert (row.status, row.settled_by) == ("replayed", "anna")
        message = replay.messages.get()
        assert (message.outcome, message.occurrences) == ("sent", 1)
        assert message.sent_at is not None
        assert OutboxMessage.objects.get().message_id == row.message_id

    def test_it_finishes_when_all_took_effect(self) -> None:
        letters(3)
        replay = started()
        replay_runner.advance()
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
