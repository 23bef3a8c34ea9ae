"""How things are, in words."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from dashboard import rollup
from dashboard import snapshot as snapshots
from dashboard import verdict as verdicts
from dashboard.snapshot import take
from dashboard.tests.pipelines import PIPELINE
from dashboard.verdict import Verdict, judge
from messaging import health
from messaging.depth import QueueDepth
from messaging.models import DeadLetter, FailureGroup, OutboxMessage, Process, Replay, ReplayedMessage
from messaging.topology_diff import Difference

pytestmark = pytest.mark.django_db


@pytest.fixture
def well(make, broker, processes):
    """A service in which all is well, with one thing, which is done."""
    make()
    return make


def verdict() -> Verdict:
    return judge(take(PIPELINE))


def only_problem() -> str:
    (problem,) = verdict().problems
    return f"{problem.what} {problem.remedy}"


def keep_letter(**fields: Any) -> DeadLetter:
    now = timezone.now()
    return DeadLetter.objects.create(
        fingerprint=uuid4(),
        message_id=uuid4(),
        queue="things.events.v1",
        body=b"{}",
        error_type="ValueError",
        first_failed_at=now,
        last_failed_at=now,
        **fields,
    )


def wait_in_outbox(seconds: float) -> OutboxMessage:
    return OutboxMessage.objects.create(
        message_id=uuid4(),
        exchange="things",
        routing_key="thing.happened",
        body=b"{}",
        created_at=timezone.now() - timedelta(seconds=seconds),
    )


def test_all_is_well_when_nothing_is_wrong(well):
    assert verdict().is_well
    assert verdict().line == "All is well."


def test_without_a_relay_it_says_which_command_to_start(well):
    Process.objects.filter(role="relay").update(seen_at=timezone.now() - timedelta(seconds=61))

    assert verdict().line == "No relay runs."
    assert "`python manage.py relay`" in only_problem()
    assert "connected" not in only_problem()


def test_without_a_consumer_it_says_which_command_to_start(well):
    Process.objects.filter(role="consume").delete()

    assert verdict().line == "No consumer runs."
    assert "`python manage.py consume`" in only_problem()


def test_a_consumer_that_only_the_broker_knows_is_no_sign_of_life_but_told(well, broker):
    Process.objects.filter(role="consume").delete()
    assert "The broker has 1 connected all the same" in only_problem()

    broker.says(QueueDepth("things.events.v1", 0, 0))
    assert "connected all the same" not in only_problem()


def test_a_relay_that_waits_for_the_broker_is_told(well):
    Process.objects.filter(role="relay").update(circuit="broker")

    assert verdict().line == "1 of 1 relay cannot go on: the broker is away."

    Process.objects.create(name="relay other:2", role="relay")
    assert verdict().line == "1 of 2 relays cannot go on: the broker is away."


def test_a_broker_that_is_away_is_told_with_the_reason_and_that_nothing_is_lost(well, broker):
    broker.is_away()

    assert verdict().line == "RabbitMQ does not answer."
    assert "Connection refused" in only_problem()
    assert "Nothing is lost" in only_problem()


def test_a_queue_that_is_not_there_is_told(well, broker):
    broker.says(QueueDepth("things.events.v1", None, 0), QueueDepth("things.events.v1.dlq", 0, 0))

    assert "things.events.v1, is not on the broker" in only_problem()
    assert "topology apply" in only_problem()

    broker.says(QueueDepth("things.events.v1", None, 0), QueueDepth("things.events.v1.dlq", None, 0))
    assert "2 of the 2 queues of this service, things.events.v1 and others, are not" in only_problem()


def test_what_loses_messages_on_the_broker_is_told_with_the_first_of_it(well, broker):
    policies = [f"queue 'things.events.v1': a policy sets {name} to 10" for name in ("max-length", "message-ttl")]
    broker.endangers(*(Difference(policy, "Exempt the queue.", loses_messages=True) for policy in policies))

    assert verdict().line == f"RabbitMQ is told to lose messages: {policies[0]}."
    assert "Exempt the queue. And 1 more thing of this kind. `python manage.py topology diff`" in only_problem()


def test_a_broker_that_is_away_is_not_asked_for_its_policies(well, broker):
    broker.is_away()
    broker.endangers(Difference("a policy", "Exempt the queue.", loses_messages=True))

    assert verdict().line == "RabbitMQ does not answer."


@pytest.mark.parametrize("queue", ["things.events.v1", "things.events.v1.dlq"])
def test_a_consumer_that_is_not_of_this_service_is_told(well, broker, queue):
    depths = [QueueDepth(name, 0, 1 + (name == queue)) for name in ("things.events.v1", "things.events.v1.dlq")]
    broker.says(*depths)

    assert f"2 consumers take messages from {queue}, and 1 of them is known to this service." in only_problem()


def test_whoever_takes_from_a_rung_is_not_of_this_service(well, broker):
    rung = QueueDepth("things.events.v1.retry.5s", 0, 1)
    broker.says(QueueDepth("things.events.v1", 0, 1), rung, QueueDepth("things.events.v1.dlq", 0, 1))

    assert f"1 consumer takes messages from {rung.name}, and none of them is known" in only_problem()


def test_as_many_consumers_as_live_are_no_strangers(well, broker):
    Process.objects.create(name="consume host:2", role="consume")
    broker.says(QueueDepth("things.events.v1", 0, 2), QueueDepth("things.events.v1.dlq", 0, 2))

    assert verdict().is_well


def test_messages_on_the_ladder_are_told_and_where_the_reason_stands(well, broker):
    broker.says(
        QueueDepth("things.events.v1", 7, 1),
        QueueDepth("things.events.v1.retry.5s", 2, 0),
        QueueDepth("things.events.v1.retry.30s", 1, 0),
        QueueDepth("things.events.v1.dlq", 9, 1),
    )

    (problem,) = verdict().problems

    assert problem.what == "3 messages failed, and are to be tried again."
    assert problem.model == "messaging.failedattempt"


@pytest.mark.parametrize(("seconds", "is_old"), [(55, False), (65, True)])
def test_an_old_outbox_is_told_when_health_warns_of_it(well, seconds, is_old):
    wait_in_outbox(seconds)

    assert (health.outbox().get("status") == "warning") is is_old
    assert ("outbox" in verdict().line) is is_old


@pytest.mark.parametrize(("seconds", "is_stuck"), [(55, False), (70, True)])
def test_a_thing_that_waits_too_long_is_told(well, make, seconds, is_stuck):
    make("waiting", at=timezone.now() - timedelta(seconds=seconds))

    assert ("oldest waiting thing waits for" in verdict().line) is is_stuck
    assert verdict().is_well is not is_stuck


def test_dead_letters_that_wait_are_told_and_settled_ones_are_not(well):
    letter = keep_letter()
    assert verdict().line == "1 message could not be handled and waits for a decision."

    DeadLetter.objects.filter(pk=letter.pk).update(status="discarded")
    assert verdict().is_well


def test_a_replay_that_stopped_by_itself_is_told_and_one_that_runs_or_was_paused_is_not(well):
    replay = Replay.objects.create(created_by="ann", total=3, state="running")
    ReplayedMessage.objects.bulk_create(
        ReplayedMessage(replay=replay, position=n, dead_letter_id=n, message_id=uuid4(), outcome=what)
        for n, what in enumerate(["handled", "failed", "waiting"])
    )

    assert verdict().is_well
    (shown,) = take(PIPELINE).replays
    assert (shown.sent, shown.total, shown.failed) == (2, 3, 1)

    Replay.objects.update(state="paused")
    assert verdict().is_well

    Replay.objects.update(state="stopped", state_reason="The same failure came back.")
    assert verdict().line == f"Replay {replay.id} has stopped by itself."
    assert "The same failure came back." in only_problem()

    Replay.objects.update(state="finished")
    assert verdict().is_well
    assert take(PIPELINE).replays == []


def test_several_problems_are_counted_and_causes_come_first(well, broker):
    broker.is_away()
    wait_in_outbox(100)
    keep_letter()

    assert verdict().line == "RabbitMQ does not answer. And 2 more things to look at."


def test_a_database_that_takes_too_long_is_told_and_the_rest_is_still_shown(well, monkeypatch):
    monkeypatch.setattr(rollup, "TIMEOUT_MS", 100)
    monkeypatch.setattr(snapshots, "_MESSAGING", "SELECT 1, 1, count(pg_sleep(10)) -- %(cap)s %(waiting)s")

    snapshot = take(PIPELINE)

    assert "the database did not answer within 0.1 s" in judge(snapshot).line
    assert snapshot.dead_letters is None
    assert snapshot.outbox_count is None
    assert snapshot.counts == {"done": 1}
    assert snapshot.processes


@pytest.mark.django_db(transaction=True)
def test_slots_that_somebody_holds_locked_are_told_and_the_rest_is_still_shown(well, monkeypatch):
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '30s'")  # for queries without a time limit of their own
    parameters = connection.get_connection_params()
    for django_only in ("cursor_factory", "context"):
        parameters.pop(django_only, None)
    with psycopg.connect(**parameters) as other:
        other.execute("LOCK TABLE dashboard_pipelineslot")
        snapshot = take(PIPELINE)
    connection.close()

    assert "the database did not answer within 1 s" in judge(snapshot).line
    assert snapshot.hour is None
    assert snapshot.outbox_count == 0


def test_a_table_that_is_missing_breaks_no_other_figure(broker, processes):
    snapshot = take(PIPELINE)

    assert "dashboard_test_thing" in judge(snapshot).line
    assert "migrate" in judge(snapshot).problems[0].remedy
    assert snapshot.outbox_count == 0


def test_groups_show_the_five_with_the_most_that_wait_also_a_resolved_one(well):
    now = timezone.now()
    for number in range(7):
        group = FailureGroup.objects.create(
            fingerprint=uuid4(),
            error_type=f"Error{number}",
            first_seen_at=now,
            last_seen_at=now,
            state="resolved" if number == 6 else "open",
        )
        for _ in range(number):
            keep_letter(group=group)

    snapshot = take(PIPELINE)

    assert [(group.error_type, group.waiting) for group in snapshot.groups] == [
        ("Error6", 6), ("Error5", 5), ("Error4", 4), ("Error3", 3), ("Error2", 2),
    ]  # fmt: skip
    assert snapshot.groups[0].state == "resolved"
    assert snapshot.dead_letters == 21


def test_counts_stop_at_their_limit(well, monkeypatch):
    monkeypatch.setattr(snapshots, "CAP", 2)
    for _ in range(5):
        keep_letter()
        wait_in_outbox(1)

    snapshot = take(PIPELINE)

    assert snapshot.dead_letters == 3
    assert snapshot.outbox_count == 3


def test_every_section_that_it_names_is_in_the_runbook():
    root = Path(verdicts.__file__).parents[1]
    runbook = (root / "docs" / "operations.md").read_text()
    code = Path(verdicts.__file__).read_text()

    named = {*re.findall(r'section="([^"]+)"', code), *verdicts._SECTIONS.values(), "The database is away"}

    assert len(named) >= 4
    for section in (*named, "Orders stay pending"):
        assert f"### {section}\n" in runbook, section


def test_a_look_asks_a_bounded_number_of_questions(well, django_assert_max_num_queries):
    with django_assert_max_num_queries(90):
        take(PIPELINE)
    assert connection.in_atomic_block  # nothing was rolled back
