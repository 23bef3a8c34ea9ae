"""GET /records/{order_id}/timeline: what the processor knows of an order; the order service adds it to its own."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import Client
from django.utils import timezone
from rest_framework.permissions import IsAuthenticated
from uuid_utils.compat import uuid7

from messaging import dead_letters, replay_runner, replays
from messaging.models import (
    DeadLetter,
    FailedAttempt,
    FailureGroup,
    InboxMessage,
    OperatorAction,
    OutboxMessage,
    Process,
    Replay,
    ReplayedMessage,
)
from processing.services import process_orders
from processing.tests.factories import make_message, make_record
from timeline.views import RecordTimelineView

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def read(client: Client, order_id: Any, query: str = "") -> dict[str, Any]:
    answer = client.get(f"/records/{order_id}/timeline{query}")
    assert answer.status_code == 200, answer.content
    return dict(answer.json())


def kinds(timeline: dict[str, Any]) -> list[str]:
    return [event["kind"] for event in timeline["events"]]


def event(timeline: dict[str, Any], kind: str) -> dict[str, Any]:
    """The only one of this kind."""
    (found,) = [event for event in timeline["events"] if event["kind"] == kind]
    return dict(found)


def attempt(order_id: UUID, **changes: Any) -> FailedAttempt:
    return FailedAttempt.objects.create(
        **{
            "step": "handle",
            "message_id": uuid4(),
            "type": "order.created",
            "subject": str(order_id),
            "correlation_id": "request-1",
            "attempt": 1,
            "error_type": "RuntimeError",
            "error_message": "the stock service is away",
            "place": "shop.rules.reserve",
            "retry_in": "5s",
        }
        | changes
    )


def letter(order_id: UUID, **changes: Any) -> DeadLetter:
    at = changes.pop("at", None) or timezone.now()
    return DeadLetter.objects.create(
        **{
            "fingerprint": uuid4(),
            "message_id": uuid4(),
            "type": "order.created",
            "queue": "processor.events.v1",
            "body": b'{"secret": "payload"}',
            "subject": str(order_id),
            "correlation_id": "request-1",
            "error_type": "RuntimeError",
            "error_message": "the stock service is away",
            "traceback": "Traceback: secret",
            "first_failed_at": at,
            "last_failed_at": at,
        }
        | changes
    )


def replayed(order_id: UUID, **changes: Any) -> ReplayedMessage:
    replay = Replay.objects.create(created_by="ada", total=1, state=changes.pop("state", "running"))
    return ReplayedMessage.objects.create(
        **{"replay": replay, "position": 0, "dead_letter_id": 1, "message_id": uuid4(), "subject": str(order_id)}
        | changes
    )


def test_a_decided_order_is_told_from_its_publication_to_its_decision(client):
    record = make_record(finished_at=NOON, correlation_id="request-1", attempts=2)
    InboxMessage.objects.create(
        message_id=record.message_id,
        type="order.created",
        correlation_id="request-1",
        published_at=NOON - timedelta(seconds=2),
        processed_at=NOON - timedelta(seconds=1),
    )

    timeline = read(client, record.order_id)

    assert kinds(timeline) == ["published", "received", "decided"]
    assert [event["service"] for event in timeline["events"]] == ["orders", "processor", "processor"]
    assert [event["seconds_since_previous"] for event in timeline["events"]] == [None, 1, 1]
    decided = event(timeline, "decided")
    assert decided["detail"] == {"took_ms": 0.0, "try": 2, "message_id": str(record.message_id)}
    assert decided["link"] == f"processing/processingrecord/{record.order_id}/change/"
    assert (timeline["service"], timeline["status"], timeline["summary"]) == (
        "processor", "completed", "Decided: completed.",
    )  # fmt: skip
    assert timeline["waits_for"] is None
    assert timeline["is_whole"] is False


def test_a_decision_whose_inbox_row_is_purged_or_whose_sender_gave_no_time_is_still_told(client):
    purged = make_record(finished_at=NOON)
    silent = make_record(finished_at=NOON)
    InboxMessage.objects.create(message_id=silent.message_id, type="order.created", processed_at=NOON)

    assert kinds(read(client, purged.order_id)) == ["decided"]
    assert kinds(read(client, silent.order_id)) == ["received", "decided"]


def test_a_broken_rule_is_told_as_the_reason(client):
    record = make_record(reason="We do not sell tobacco.")

    timeline = read(client, record.order_id)

    assert event(timeline, "decided")["detail"]["reason"] == "We do not sell tobacco."
    assert timeline["status"] == "failed"


def test_a_result_in_the_outbox_is_what_the_order_waits_for(client):
    message = make_message()
    with transaction.atomic():
        process_orders([message, make_message()])

    timeline = read(client, message.payload.order_id)

    assert kinds(timeline) == ["decided", "outbox"]
    assert event(timeline, "outbox")["title"] == "Waits in the outbox"
    assert timeline["waits_for"]["text"].startswith("It waits in the processor's outbox for ")
    assert timeline["summary"] == timeline["waits_for"]["text"]
    assert OutboxMessage.objects.count() == 2


def test_the_outbox_is_not_searched_for_an_order_that_has_its_result(client):
    message = make_message()
    with transaction.atomic():
        process_orders([message])

    timeline = read(client, message.payload.order_id, "?final=true")

    assert kinds(timeline) == ["decided"]
    assert timeline["waits_for"] is None


def test_failed_tries_are_told_with_error_place_rung_and_group(client):
    order_id = uuid7()
    fingerprint = uuid4()
    group = FailureGroup.objects.create(
        fingerprint=fingerprint, error_type="RuntimeError", first_seen_at=NOON, last_seen_at=NOON
    )
    first = attempt(order_id, at=timezone.now() - timedelta(seconds=6), retry_in="5s", fingerprint=fingerprint)
    attempt(order_id, at=timezone.now(), attempt=2, retry_in="30s", message_id=first.message_id)

    timeline = read(client, order_id)

    one, two = timeline["events"]
    assert (one["title"], two["title"]) == ("Try 1 failed, waits 5s", "Try 2 failed, waits 30s")
    assert one["detail"] == {
        "error": "RuntimeError: the stock service is away",
        "place": "shop.rules.reserve",
        "type": "order.created",
        "message_id": str(first.message_id),
        "try": 1,
        "waits": "5s",
    }
    assert (one["link"], two["link"]) == (f"messaging/failuregroup/{group.pk}/change/", "")
    assert timeline["status"] == "pending"
    assert timeline["summary"].startswith("The processor has tried it 2 times (RuntimeError), next try in ")


@pytest.mark.parametrize("consumes", [True, False])
def test_a_try_that_is_due_and_does_not_come_says_whether_a_consumer_runs(client, consumes):
    if consumes:
        Process.objects.create(name="consume@host:1", role="consume")
    order_id = uuid7()
    attempt(order_id, at=timezone.now() - timedelta(seconds=100))

    summary = read(client, order_id)["summary"]

    assert "the next try was due 1 min 35 s ago" in summary
    assert summary.endswith("no consumer of it is running.") != consumes


def test_a_try_with_a_delay_that_nobody_knows_is_told_as_it_stands(client):
    order_id = uuid7()
    attempt(order_id, retry_in="soon")

    assert read(client, order_id)["summary"].endswith(", the next try comes after soon.")


def test_a_dead_letter_waits_for_somebody(client):
    order_id = uuid7()
    attempt(order_id, retry_in="", attempt=6)
    kept = letter(order_id)

    timeline = read(client, order_id)

    assert event(timeline, "tried")["title"] == "Try 6 failed, given up"
    assert event(timeline, "dead_letter")["title"] == f"Became dead letter {kept.pk}, which waits for somebody"
    assert timeline["waits_for"] == {
        "service": "processor",
        "text": "A dead letter of the processor waits for somebody: RuntimeError: the stock service is away",
        "link": f"messaging/deadletter/{kept.pk}/change/",
    }
    assert "secret" not in json.dumps(timeline)


def test_a_dead_letter_comes_after_the_try_whose_end_it_is(client):
    order_id = uuid7()
    kept = letter(order_id, at=NOON)
    attempt(order_id, retry_in="", at=NOON + timedelta(milliseconds=3), message_id=kept.message_id)

    assert kinds(read(client, order_id)) == ["tried", "dead_letter"]


@pytest.mark.parametrize(
    ("sent", "told"), [(1781524799000, ["published"]), (None, []), ("soon", []), (10**30, []), ({"a": 1}, [])]
)
def test_a_dead_letter_knows_when_it_was_published_if_its_sender_said_so(client, sent, told):
    order_id = uuid7()
    letter(order_id, at=NOON, headers={} if sent is None else {"published-at-ms": sent})

    timeline = read(client, order_id)

    assert kinds(timeline) == [*told, "dead_letter"]
    if told:
        published = event(timeline, "published")
        assert (published["at"], published["service"]) == ("2026-06-15T11:59:59.000000Z", "orders")


def test_a_message_that_was_given_up_and_is_not_kept_yet_is_on_its_way_there(client):
    order_id = uuid7()
    attempt(order_id, retry_in="")

    assert read(client, order_id)["summary"].endswith("given it up: it is on its way to the dead letters.")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("replayed", "The processor has sent it to itself again "),
        ("superseded", "The processor has sent it to itself again "),
        ("discarded", "A dead letter of the processor was discarded by ada "),
    ],
)
def test_a_dead_letter_that_somebody_has_settled_says_what_came_of_it(client, status, said):
    order_id = uuid7()
    attempt(order_id, at=timezone.now() - timedelta(hours=1), retry_in="")
    letter(
        order_id,
        at=timezone.now() - timedelta(hours=1),
        status=status,
        settled_at=timezone.now() - timedelta(seconds=20),
        settled_by="ada",
    )

    timeline = read(client, order_id)

    assert timeline["summary"].startswith(said)
    assert event(timeline, "settled")["title"].endswith(f"{status} by ada")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("discard", "A dead letter of the processor was discarded by ada "),
        ("replay", "No consumer of the processor is running"),
    ],
)
def test_what_an_operator_did_with_a_dead_letter_that_is_purged_counts_when_it_was_discarded(client, action, said):
    order_id = uuid7()
    OperatorAction.objects.create(action=action, by="ada", dead_letter_id=7, subject=str(order_id))

    assert read(client, order_id)["summary"].startswith(said)


def test_what_an_operator_did_is_told_once(client):
    order_id = uuid7()
    kept = letter(order_id, status="replayed", settled_at=timezone.now(), settled_by="ada")
    OperatorAction.objects.create(
        action="replay", by="ada", reason="mended", dead_letter_id=kept.pk, subject=str(order_id)
    )

    timeline = read(client, order_id)

    assert event(timeline, "action")["title"] == "Replay by ada"
    assert event(timeline, "action")["detail"] == {"reason": "mended", "dead_letter": kept.pk}
    assert "settled" not in kinds(timeline)


def test_a_message_that_failed_again_after_its_replay_waits_for_its_next_try(client):
    order_id = uuid7()
    kept = letter(order_id, status="replayed", settled_at=timezone.now() - timedelta(seconds=60), settled_by="ada")
    attempt(order_id, message_id=kept.message_id, retry_in="10m")

    assert "has tried it once (RuntimeError), next try in " in read(client, order_id)["summary"]


def test_a_replay_tells_when_it_sent_the_message_and_how_that_went(client):
    order_id = uuid7()
    row = replayed(order_id, outcome="failed", detail="RuntimeError again", sent_at=NOON, settled_at=timezone.now())

    sent, settled = read(client, order_id)["events"]

    assert sent["title"] == f"Sent again by replay {row.replay_id} (ada)"
    assert (settled["title"], settled["severity"]) == (f"Replay {row.replay_id}: failed again", "error")
    assert settled["detail"]["why"] == "RuntimeError again"
    assert sent["link"] == f"messaging/replay/{row.replay_id}/change/"


def test_what_a_replay_has_sent_is_told_once_with_who_asked_for_it_and_why(client):
    order_id = uuid7()
    kept = letter(order_id)
    replay = replays.start(dead_letters=DeadLetter.objects.all(), by="ada", reason="mended")
    replay_runner.advance()

    timeline = read(client, order_id)

    assert OperatorAction.objects.filter(action="replay", dead_letter_id=kept.pk, replay_id=replay.pk).exists()
    assert kinds(timeline) == ["dead_letter", "replay"]
    assert event(timeline, "replay")["title"] == f"Sent again by replay {replay.pk} (ada)"
    assert event(timeline, "replay")["detail"]["reason"] == "mended"


def test_a_dead_letter_in_the_outbox_waits_there_to_be_sent_again(client):
    order_id = uuid7()
    letter(order_id, body=json.dumps({"order_id": str(order_id)}).encode())
    dead_letters.replay(dead_letters=DeadLetter.objects.all(), by="ada")

    timeline = read(client, order_id)

    assert event(timeline, "outbox")["title"] == "Waits in the outbox to be sent again"
    assert timeline["summary"].startswith("It waits in the processor's outbox for ")


def test_a_replay_that_has_not_sent_it_yet_is_what_the_order_waits_for(client):
    order_id = uuid7()
    kept = letter(order_id)
    row = replayed(order_id, dead_letter_id=kept.pk, message_id=kept.message_id, state="paused")

    timeline = read(client, order_id)

    assert timeline["summary"] == f"Replay {row.replay_id} of the processor is to send it again, and is paused."
    assert event(timeline, "replay")["title"] == f"In replay {row.replay_id}, not sent yet"


def test_a_replay_that_sends_no_more_is_not_what_the_order_waits_for(client):
    order_id = uuid7()
    kept = letter(order_id)
    replayed(order_id, dead_letter_id=kept.pk, message_id=kept.message_id, state="stopped")

    assert read(client, order_id)["summary"].startswith("A dead letter of the processor waits for somebody: ")


def test_a_message_that_came_again_after_its_purged_dead_letter_was_discarded_waits_for_its_next_try(client):
    order_id = uuid7()
    OperatorAction.objects.create(action="discard", by="ada", dead_letter_id=7, subject=str(order_id))
    attempt(order_id, retry_in="10m")

    assert "has tried it once (RuntimeError), next try in " in read(client, order_id)["summary"]


def test_what_was_replayed_was_published_by_the_processor_itself(client):
    record = make_record(correlation_id="request-1")
    letter(
        record.order_id,
        message_id=record.message_id,
        at=NOON,
        headers={"published-at-ms": 1781524799000},
        status="replayed",
        settled_at=NOON + timedelta(minutes=1),
        settled_by="ada",
    )
    InboxMessage.objects.create(
        message_id=record.message_id,
        type="order.created",
        published_at=NOON + timedelta(minutes=1, seconds=1),
        processed_at=NOON + timedelta(minutes=1, seconds=2),
    )

    timeline = read(client, record.order_id)

    published = [event for event in timeline["events"] if event["kind"] == "published"]
    assert [(event["service"], event["title"]) for event in published] == [
        ("orders", "Published order.created"),
        ("processor", "Published again"),
    ]
    assert timeline["waits_for"] is None


def test_failures_that_name_no_order_are_found_by_the_request_and_marked(client):
    order_id = uuid7()
    attempt(order_id, subject="", correlation_id="request-1")
    letter(order_id, subject="", correlation_id="request-1")
    attempt(order_id, subject="", correlation_id="request-2", error_message="of another request")
    attempt(uuid7(), correlation_id="request-1", error_message="of another order")

    unasked = read(client, order_id)
    timeline = read(client, order_id, "?correlation_id=request-1")

    assert unasked["events"] == []
    assert sorted(kinds(timeline)) == ["dead_letter", "tried"]
    assert all("it may be about another order" in event["detail"]["found_by"] for event in timeline["events"])
    assert "of another" not in json.dumps(timeline)


def test_what_failed_and_was_handled_in_the_end_is_not_what_another_order_of_its_request_waits_for(client):
    Process.objects.create(name="consume@host:1", role="consume")
    for failed in (
        attempt(uuid7(), subject=""),
        letter(uuid7(), subject="", status="replayed", settled_at=timezone.now(), settled_by="ada"),
    ):
        InboxMessage.objects.create(message_id=failed.message_id, type="order.created")

    timeline = read(client, uuid7(), "?correlation_id=request-1")

    assert {"tried", "dead_letter"} < set(kinds(timeline))
    assert timeline["waits_for"] is None


def test_a_restored_record_says_so_and_tells_no_message(client):
    record = make_record(finished_at=NOON, restored_at=NOON + timedelta(days=1), message_id=UUID(int=0))
    InboxMessage.objects.create(message_id=UUID(int=0), type="order.created")

    timeline = read(client, record.order_id)

    assert kinds(timeline) == ["decided", "restored"]
    assert "written anew" in event(timeline, "decided")["detail"]["known_from"]
    assert "message_id" not in event(timeline, "decided")["detail"]


def test_an_order_that_never_came_has_an_empty_half(client):
    Process.objects.create(name="consume@host:1", role="consume")

    timeline = read(client, uuid4())

    assert timeline["events"] == []
    assert timeline["status"] == "pending"
    assert timeline["summary"] == "The processor has not received it, or is just working on it."


def test_where_no_consumer_runs_an_order_that_has_not_come_waits_for_one(client):
    timeline = read(client, uuid4())

    assert timeline["events"] == []
    assert timeline["waits_for"]["text"].startswith("No consumer of the processor is running")


def test_it_asks_nobody(client, settings):
    settings.LEDGER = settings.LEDGER | {"PEER_URL": "http://127.0.0.1:1/"}

    assert read(client, make_record().order_id)["notes"] == []


def test_what_is_no_id_of_an_order_is_not_found(client):
    answer = client.get("/records/no-uuid/timeline")

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("final=yes", "?final"),
        ("final=", "?final"),
        ("correlation_id=", "?correlation_id"),
        ("correlation_id=%00", "?correlation_id"),
        (f"correlation_id={'a' * 256}", "?correlation_id"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(client, query, pointer):
    answer = client.get(f"/records/{uuid4()}/timeline?{query}")

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_with_access_required_only_those_who_are_known_may_read(client, monkeypatch):
    monkeypatch.setattr(RecordTimelineView, "permission_classes", [IsAuthenticated])

    assert client.get(f"/records/{uuid4()}/timeline").status_code == 401


def test_the_command_tells_the_half_and_where_the_whole_is(capsys):
    record = make_record(finished_at=NOON, reason="We do not sell tobacco.", correlation_id="request-1")

    call_command("trace", str(record.order_id))

    said = capsys.readouterr().out
    assert "Decided: failed" in said
    assert "We do not sell tobacco." in said
    assert "the order service's `manage.py trace` tells the whole" in said


def test_the_command_fails_for_an_order_that_never_came():
    with pytest.raises(CommandError, match="knows no order") as failure:
        call_command("trace", str(uuid4()))

    assert failure.value.returncode == 1
