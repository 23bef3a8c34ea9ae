"""GET /orders/{id}/timeline: what this service knows of an order, joined with what the processor tells."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.permissions import IsAuthenticated

from messaging.models import OperatorAction, OutboxMessage, Process
from orders import services
from orders.models import Order
from orders.tests.factories import NEW_ORDER, make_order
from orders.tests.timelines import attempt, kinds, letter, place, read, theirs
from timeline.views import OrderTimelineView

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def test_a_completed_order_is_told_from_both_sides_in_one_order_with_the_time_between(client, processor):
    order = make_order(at=NOON, items=2, status="completed", correlation_id="request-1")
    Order.objects.update(updated_at=NOON + timedelta(seconds=4))
    processor.tells(
        theirs("decided", NOON + timedelta(seconds=3), detail={"took_ms": 1.5}, link="processing/x/"),
        theirs("received", NOON + timedelta(seconds=2)),
        theirs("published", NOON + timedelta(seconds=1), service="orders"),
        status="completed",
    )

    timeline = read(client, order.id)

    assert kinds(timeline) == ["accepted", "published", "received", "decided", "final"]
    assert [event["seconds_since_previous"] for event in timeline["events"]] == [None, 1, 1, 1, 1]
    assert [event["service"] for event in timeline["events"]] == [
        "orders", "orders", "processor", "processor", "orders",
    ]  # fmt: skip
    accepted, *_, decided, final = timeline["events"]
    assert accepted["at"] == "2026-06-15T12:00:00.000000Z"
    assert accepted["detail"] == {"lines": 2, "correlation_id": "request-1"}
    assert (decided["detail"], decided["link"]) == ({"took_ms": 1.5}, "processing/x/")
    assert final["severity"] == "good"
    assert timeline["summary"] == "Completed 4.00 s after it was accepted."
    assert (timeline["status"], timeline["is_whole"], timeline["waits_for"], timeline["notes"]) == (
        "completed", True, None, [],
    )  # fmt: skip


def test_the_processor_is_asked_once_with_its_token_and_what_it_needs_to_search_no_more_than_needed(client, processor):
    pending = make_order(correlation_id="request-1")
    final = make_order(status="completed", correlation_id="a:b")

    client.get(f"/orders/{pending.id}/timeline", headers={"X-Request-ID": "asking-1"})
    read(client, final.id)

    (first, headers), (second, _) = processor.asked
    assert first == f"/records/{pending.id}/timeline?correlation_id=request-1"
    assert second == f"/records/{final.id}/timeline?final=true&correlation_id=a%3Ab"
    assert headers["Authorization"] == "Token t"
    assert headers["X-Request-ID"] == "asking-1"


def test_a_failed_order_says_why(client, processor):
    order = make_order(status="failed", error_message="We do not sell tobacco.")

    timeline = read(client, order.id)

    assert "We do not sell tobacco." in timeline["summary"]
    assert timeline["events"][-1]["detail"] == {"reason": "We do not sell tobacco."}


def test_an_order_in_the_outbox_says_since_when_and_why(client, processor):
    order = place()
    other = place()  # of the same request
    processor.tells(waits_for={"service": "processor", "text": "No consumer runs.", "link": ""})

    timeline = read(client, order.id)

    row = OutboxMessage.objects.earliest("id")
    assert kinds(timeline) == ["accepted", "outbox"]
    assert timeline["events"][1]["link"] == f"messaging/outboxmessage/{row.pk}/change/"
    assert timeline["summary"].startswith("It waits in the order service's outbox for ")
    assert timeline["summary"].endswith(": no relay of that service is running.")
    assert timeline["waits_for"]["service"] == "orders"
    assert timeline["waits_for"]["text"] == timeline["summary"]
    assert str(other.id) not in json.dumps(timeline)


def test_a_message_that_the_broker_gave_back_says_how_often_and_when_it_is_tried_again(client, processor):
    order = place()
    OutboxMessage.objects.update(
        attempts=3, last_error="NO_ROUTE (312)", available_at=timezone.now() + timedelta(seconds=8.5)
    )
    attempt(order, step="publish", type="order.created", error_type="Refused", error_message="NO_ROUTE (312)")

    timeline = read(client, order.id)

    assert sorted(kinds(timeline)) == ["accepted", "outbox", "refused"]
    assert "the broker has taken it back 3 times (NO_ROUTE (312)), next try in " in timeline["summary"]
    outbox = next(event for event in timeline["events"] if event["kind"] == "outbox")
    assert outbox["severity"] == "warning"
    assert outbox["detail"]["taken_back"] == 3


def test_a_message_that_the_broker_has_taken_after_all_is_on_its_way(client, processor):
    order = make_order(at=timezone.now() - timedelta(hours=2))
    refused_at = timezone.now() - timedelta(minutes=5)
    attempt(order, step="publish", type="order.created", retry_in="", at=refused_at)

    timeline = read(client, order.id)

    assert kinds(timeline) == ["accepted", "refused"]
    assert timeline["summary"].startswith("It is on its way to the processor")
    assert " for 5 min" in timeline["summary"]


@pytest.mark.parametrize(
    ("circuit", "said"), [("", "the relay has not come to it yet."), ("broker", "its relay waits for the broker.")]
)
def test_a_relay_that_runs_is_not_called_missing(client, processor, circuit, said):
    Process.objects.create(name="relay@host:1", role="relay", circuit=circuit)

    assert read(client, place().id)["summary"].endswith(said)


def test_of_several_relays_one_that_works_is_enough(client, processor):
    for number, circuit in enumerate(["broker", ""]):
        Process.objects.create(name=f"relay@host:{number}", role="relay", circuit=circuit)

    assert read(client, place().id)["summary"].endswith("the relay has not come to it yet.")


def test_an_outbox_that_cannot_be_searched_in_time_is_said_so(client, processor, monkeypatch):
    monkeypatch.setattr("timeline.messaging_events._SEARCH", "SELECT pg_sleep(30), 1 AS id WHERE %s <> '{}' OR %s = ''")
    monkeypatch.setattr("timeline.messaging_events.OUTBOX_MS", 50)
    order = place()

    timeline = read(client, order.id)

    assert kinds(timeline) == ["accepted"]
    assert any("outbox is too long" in note for note in timeline["notes"])
    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        assert cursor.fetchone() == ("0",)


def test_the_outbox_of_a_final_order_is_not_searched(client, processor):
    order = make_order(status="completed", correlation_id="request-1")

    with CaptureQueriesContext(
        connection,
    ) as queries:
        read(client, order.id)

    assert not [query for query in queries if "messaging_outboxmessage" in query["sql"]]


@pytest.mark.django_db(transaction=True)
def test_an_order_that_was_sent_again_says_so(client, processor):
    order = place(idempotency_key="key-1")
    for _ in range(2):
        services.place_order(NEW_ORDER, idempotency_key="key-1")

    timeline = read(client, order.id)

    (again,) = [event for event in timeline["events"] if event["kind"] == "sent_again"]
    assert "2 times" in again["title"]
    assert timeline["events"][0]["detail"]["with_idempotency_key"] is True
    assert "key-1" not in json.dumps(timeline)


@pytest.mark.django_db(transaction=True)
def test_an_order_that_somebody_has_placed_says_who(client, processor, operator):
    order = place(placed_by=operator)

    accepted = read(client, order.id)["events"][0]

    assert (accepted["kind"], accepted["detail"]["placed_by"]) == ("accepted", operator.get_username())


def test_failures_of_the_result_and_what_operators_did_are_told_without_bodies_and_tracebacks(client, processor):
    order = make_order(correlation_id="request-1")
    attempt(order)
    failed = letter(order, status="waiting")
    OperatorAction.objects.create(
        by="ada",
        action="edit",
        reason="typo",
        dead_letter_id=failed.pk,
        subject=str(order.id),
        detail={"diff": "secret"},
    )
    attempt(make_order(), error_message="of another order")

    timeline = read(client, order.id)

    assert sorted(kinds(timeline)) == ["accepted", "action", "dead_letter", "tried"]
    tried = next(event for event in timeline["events"] if event["kind"] == "tried")
    assert tried["title"] == "Try 1 failed, waits 5s"
    assert tried["detail"]["error"] == "ValueError: no such thing"
    assert tried["detail"]["place"] == "orders.services.record_results"
    action = next(event for event in timeline["events"] if event["kind"] == "action")
    assert (action["title"], action["detail"]["reason"]) == ("Edit by ada", "typo")
    assert timeline["waits_for"] == {
        "service": "orders",
        "text": "A dead letter of the order service waits for somebody: ValueError: no such thing",
        "link": f"messaging/deadletter/{failed.pk}/change/",
    }
    assert "secret" not in json.dumps(timeline)
    assert "of another order" not in json.dumps(timeline)


def test_what_the_processor_waits_for_is_what_the_order_waits_for(client, processor):
    order = make_order()
    waits_for = {"service": "processor", "text": "The processor has tried it twice.", "link": ""}
    processor.tells(waits_for=waits_for, notes=["Something is left out."])

    timeline = read(client, order.id)

    assert timeline["waits_for"] == waits_for
    assert timeline["summary"] == "The processor has tried it twice."
    assert timeline["notes"] == ["Something is left out."]


def test_an_order_that_is_in_neither_service_is_on_its_way(client, processor):
    order = make_order(at=timezone.now() - timedelta(seconds=90))

    assert read(client, order.id)["summary"].startswith("It is on its way to the processor, or just being worked on")

    processor.tells(theirs("decided", timezone.now()), status="completed")
    assert read(client, order.id)["summary"].endswith(
        "the result is on its way back: no consumer of the order service is running."
    )

    Process.objects.create(name="consume@host:1", role="consume")
    assert read(client, order.id)["summary"].endswith("the result is on its way back.")


def test_without_the_processor_this_half_stands_alone_and_says_so(client, no_processor):
    order = make_order(status="completed")

    timeline = read(client, order.id)

    assert kinds(timeline) == ["accepted", "final"]
    assert timeline["is_whole"] is False
    (note,) = timeline["notes"]
    assert note.startswith("The processor does not answer: ")
    assert "Only what the order service knows is shown" in note


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (401, b"{}", "refuses PROCESSOR_API_TOKEN"),
        (403, b"{}", "refuses PROCESSOR_API_TOKEN"),
        (302, b"", "answers 302"),
        (404, b"{}", "answers 404"),
        (500, b"<html>", "answers 500"),
        (200, b"<html>", "no timeline"),
        (200, b"[]", "no timeline"),
        (200, b"{}", "no timeline"),
        (200, b"\xff", "no timeline"),
        (200, b"[" * 100_000, "no timeline"),
        (200, b'"' + b"a" * 3_000_000 + b'"', "too long"),
    ],
)
def test_an_answer_that_is_no_half_is_no_error(client, processor, status, body, said):
    processor.status, processor.body = status, body
    order = make_order(status="completed")

    timeline = read(client, order.id)

    assert kinds(timeline) == ["accepted", "final"]
    assert said in timeline["notes"][0]
    assert timeline["is_whole"] is False


@pytest.mark.parametrize(
    "change",
    [
        {"at": "2026-06-15T12:00:00"},
        {"at": "noon"},
        {"service": "somebody"},
        {"severity": "<b>"},
        {"detail": {"nested": {}}},
        {"title": "a" * 5000},
        {"link": None},
    ],
)
def test_an_event_that_does_not_hold_spoils_the_half_and_nothing_else(client, processor, change):
    processor.tells(theirs("decided", NOON) | change)

    timeline = read(client, make_order().id)

    assert kinds(timeline) == ["accepted"]
    assert "no timeline" in timeline["notes"][0]


def test_a_kind_of_event_that_only_a_newer_processor_knows_is_left_out(client, processor):
    processor.tells(theirs("teleported", NOON), theirs("decided", timezone.now()))

    assert kinds(read(client, make_order(at=NOON).id)) == ["accepted", "decided"]


def test_the_half_of_the_wrong_service_is_refused(client, processor):
    processor.tells(service="orders")

    assert "no timeline" in read(client, make_order().id)["notes"][0]


@pytest.mark.parametrize(("more", "restored"), [([], True), ([theirs("restored", NOON)], False)])
def test_an_order_that_reconcile_has_restored_says_so(client, processor, more, restored):
    order = make_order(at=NOON, status="completed")
    processor.tells(theirs("decided", NOON), *more)

    notes = read(client, order.id)["notes"]

    assert any("restored the order from the processor's record" in note for note in notes) == restored


def test_clocks_that_differ_are_noticed(client, processor):
    order = make_order(at=NOON, status="completed")
    processor.tells(theirs("received", NOON - timedelta(seconds=3)), theirs("decided", NOON - timedelta(seconds=2)))

    (note,) = read(client, order.id)["notes"]

    assert "The clocks of the two services differ by 3.00 s or more" in note


def test_a_timeline_that_is_too_long_is_cut_in_the_middle_and_says_so(client, processor):
    order = make_order(at=NOON, status="completed")
    Order.objects.update(updated_at=NOON + timedelta(hours=1))
    processor.tells(*(theirs("tried", NOON + timedelta(seconds=number)) for number in range(600)))

    timeline = read(client, order.id)

    assert len(timeline["events"]) == 500
    assert (kinds(timeline)[0], kinds(timeline)[-1]) == ("accepted", "final")
    assert any("more than 500 events" in note for note in timeline["notes"])


def test_of_many_failures_the_newest_are_told(client, processor):
    order = make_order()
    for number in range(105):
        attempt(order, attempt=number + 1, at=NOON + timedelta(seconds=number))

    timeline = read(client, order.id)

    assert kinds(timeline).count("tried") == 100
    assert any("Try 105 " in event["title"] for event in timeline["events"])
    assert any("more than 100" in note for note in timeline["notes"])


@pytest.mark.parametrize("order_id", [uuid4(), UUID(int=0), "no-uuid", "batch"])
def test_an_order_that_there_is_not_is_no_timeline(client, processor, order_id):
    answer = client.get(f"/orders/{order_id}/timeline")

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
    assert answer.json()["detail"] == "Order not found"
    assert processor.asked == []


def test_with_access_required_only_those_who_are_known_may_read(client, processor, monkeypatch):
    monkeypatch.setattr(OrderTimelineView, "permission_classes", [IsAuthenticated])

    answer = client.get(f"/orders/{make_order().id}/timeline")

    assert answer.status_code == 401
    assert processor.asked == []


def test_people_get_a_page_they_can_read(client, processor):
    order = make_order(correlation_id="request-1")

    page = client.get(f"/orders/{order.id}/timeline", headers={"Accept": "text/html"})

    assert page["Content-Type"].startswith("text/html")
    assert "request-1" in page.content.decode()


def test_it_costs_the_same_few_queries_however_many_orders_and_failures_there_are(client, processor):
    order = make_order(correlation_id="request-1")
    client.get(f"/orders/{order.id}/timeline")
    with CaptureQueriesContext(connection) as few:
        read(client, order.id)
    for _ in range(20):
        attempt(order)
        letter(order)
        make_order()

    with CaptureQueriesContext(connection) as many:
        read(client, order.id)

    assert len(many) <= len(few) + 3  # groups, inbox and the dead letters' actions, of which there were none to ask for
    assert len(many) < 25
