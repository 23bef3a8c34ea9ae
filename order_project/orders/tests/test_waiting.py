"""GET /orders/{order_id}?wait and GET /orders/{order_id}/events, where the view waits in its thread."""

import json
from typing import Any
from uuid import uuid4

import pytest
from rest_framework.permissions import IsAuthenticated
from rest_framework.test import APIClient

from messaging.tests.round_trips import round_trips
from orders import waiting
from orders.models import Order
from orders.tests.factories import make_order
from orders.views import OrderEventsView, OrderView
from serving.parked import PARKED, PARKING, RESUMED, Parked

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> APIClient:
    return APIClient()


@pytest.fixture
def asked(monkeypatch):
    """The ids of each call of `which_are_final`. At the second call the order becomes completed."""
    asked: list[Any] = []

    def which_are_final(ids):
        asked.append(tuple(ids))
        if len(asked) == 2:
            Order.objects.update(status="completed")
        return real(ids)

    real = waiting.which_are_final
    monkeypatch.setattr(waiting, "which_are_final", which_are_final)
    return asked


class Server:
    """A server that can park requests, and has this many parked already."""

    leaving = False

    def __init__(self, parked: int = 0) -> None:
        self.parked = parked


def events(answer: Any) -> list[dict[str, str]]:
    assert answer.status_code == 200, answer.content
    assert answer.headers["Content-Type"] == "text/event-stream"
    blocks = b"".join(answer.streaming_content).decode().split("\n\n")
    assert blocks.pop() == "", "the last event is complete"
    fields = [dict(line.split(": ", 1) for line in block.splitlines() if line[0] != ":") for block in blocks]
    return [event for event in fields if "event" in event]


def test_which_orders_are_final_is_one_query(django_assert_num_queries):
    orders = {status: make_order(status=status).id for status in ("pending", "completed", "failed")}

    with django_assert_num_queries(1):
        assert waiting.which_are_final([*orders.values(), uuid4()]) == {orders["completed"], orders["failed"]}


@pytest.mark.parametrize(("query", "prefer"), [("?wait=60", None), ("", "wait=60"), ("?wait=60", "wait=0")])
def test_it_answers_as_soon_as_the_order_is_final(client, asked, query, prefer):
    order = make_order()

    answer = client.get(f"/orders/{order.id}{query}", **({"HTTP_PREFER": prefer} if prefer else {}))

    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    assert asked == [(order.id,), (order.id,)]


@pytest.mark.parametrize("accept", ["*/*", "text/html"])
def test_when_the_time_is_up_the_order_is_answered_as_it_is(client, accept):
    order = make_order()

    answer = client.get(f"/orders/{order.id}?wait=1", HTTP_ACCEPT=accept)

    assert answer.status_code == 200
    assert "pending" in answer.content.decode()


@pytest.mark.parametrize("query", ["", "?wait=0"])
def test_nobody_waits_who_does_not_want_to(client, asked, query):
    order = make_order()

    assert client.get(f"/orders/{order.id}{query}").json()["status"] == "pending"
    assert asked == []


def test_a_final_order_is_not_waited_for(client, asked):
    order = make_order(status="failed")
    client.get(f"/orders/{order.id}")  # the first request of a connection prepares the statement

    with round_trips() as made:
        answer = client.get(f"/orders/{order.id}", HTTP_PREFER="wait=60")

    assert made == ["run"]
    assert answer.json()["status"] == "failed"
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert asked == []


@pytest.mark.parametrize("path", ["{}?wait=60", "no-uuid?wait=60", "{}/events", "no-uuid/events"])
def test_an_order_that_does_not_exist_is_not_waited_for(client, asked, path):
    answer = client.get(f"/orders/{path.format(uuid4())}")

    assert (answer.status_code, answer.json()["detail"]) == (404, "Order not found")
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert asked == []


@pytest.mark.parametrize("value", ["", "-1", "61", "1.5", "ten", "1e1", " 5", "５", "9" * 30])
def test_a_bad_wait_is_answered_422_that_names_it(client, asked, value):
    answer = client.get(f"/orders/{make_order().id}", {"wait": value})

    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    (error,) = answer.json()["errors"]
    assert error["pointer"] == "?wait"
    assert "0 to 60" in error["detail"]
    assert asked == []


@pytest.mark.parametrize(
    ("prefer", "applied"),
    [
        ("wait=20", "wait=20"),
        ("wait=0", "wait=0"),
        ("respond-async, WAIT = 20 ; strict=yes", "wait=20"),
        ('return=minimal,wait="20"', "wait=20"),
        ("wait=20, wait=30", "wait=20"),
        ("wait=3600", "wait=60"),
        ("wait", None),
        ("wait=", None),
        ("wait=soon", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ('wait="20', None),
        ("wait=\x00", None),
        (";;,,==", None),
        ("return=minimal", None),
        ("waiting=20", None),
    ],
)
def test_a_preference_is_applied_and_one_that_cannot_be_read_is_not_heard(client, prefer, applied):
    answer = client.get(f"/orders/{make_order(status='completed').id}", HTTP_PREFER=prefer)

    assert answer.status_code == 200
    assert answer.headers.get("Preference-Applied") == applied
    assert ("Prefer" in answer.headers["Vary"]) == (applied is not None)


def test_a_server_that_can_park_gets_the_request_and_runs_it_again(client):
    order = make_order()
    answer = client.get(f"/orders/{order.id}?wait=60", **{PARKING: Server()})
    parked = answer.wsgi_request.META[PARKED]
    assert isinstance(parked, Parked)
    assert parked.key == order.id
    assert answer.content == b""

    again = client.get(f"/orders/{order.id}?wait=60", **{PARKING: Server(), RESUMED: parked})

    assert again.json()["status"] == "pending"
    assert PARKED not in again.wsgi_request.META


@pytest.mark.parametrize("path", ["{}?wait=60", "{}/events"])
def test_where_too_many_wait_the_next_one_is_told_so(client, settings, path):
    full = {PARKING: Server(settings.WAITING_MAX_CLIENTS)}

    answer = client.get(f"/orders/{path.format(make_order().id)}", **full)

    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Retry-After"] == "5"
    assert PARKED not in answer.wsgi_request.META


def test_the_events_tell_how_the_order_is_and_how_it_ended(client, asked):
    order = make_order()

    answer = client.get(f"/orders/{order.id}/events", HTTP_ACCEPT="text/event-stream")

    assert (answer.headers["Cache-Control"], answer.headers["X-Accel-Buffering"]) == ("no-cache", "no")
    first, last = events(answer)
    assert (first["event"], first["id"], last["event"], last["id"]) == ("status", "pending", "status", "completed")
    assert first["retry"] == "1000"
    assert json.loads(first["data"])["status"] == "pending"
    assert json.loads(last["data"]) == client.get(f"/orders/{order.id}").json()


def test_the_events_of_a_final_order_are_one_and_the_end(client, asked):
    [event] = events(client.get(f"/orders/{make_order(status='failed').id}/events"))

    assert (event["id"], json.loads(event["data"])["error_message"]) == ("failed", "too much")
    assert asked == []


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_who_has_seen_the_last_event_is_told_not_to_come_again(client, status):
    answer = client.get(f"/orders/{make_order(status=status).id}/events", HTTP_LAST_EVENT_ID=status)

    assert (answer.status_code, answer.content) == (204, b"")


def test_who_has_seen_that_it_is_pending_is_not_told_again(client, asked):
    [event] = events(client.get(f"/orders/{make_order().id}/events", HTTP_LAST_EVENT_ID="pending"))

    assert event["id"] == "completed"


def test_an_event_id_of_somebody_elses_is_no_harm(client):
    [event] = events(client.get(f"/orders/{make_order(status='completed').id}/events", HTTP_LAST_EVENT_ID="\x00?"))

    assert event["id"] == "completed"


def test_the_events_end_when_their_time_is_up(client, settings):
    settings.WAITING_STREAM_SECONDS = 0.2

    [event] = events(client.get(f"/orders/{make_order().id}/events"))

    assert event["id"] == "pending"


def test_the_events_are_parked_after_the_first_and_go_on_with_the_last(client):
    order = make_order()
    answer = client.get(f"/orders/{order.id}/events", **{PARKING: Server()})
    assert [event["id"] for event in events(answer)] == ["pending"]
    parked = answer.wsgi_request.META[PARKED]
    assert (parked.key, parked.heartbeat) == (order.id, b":\n\n")

    def again() -> list[str]:
        # Whatever the client says it has seen: the answer has begun with a 200 already.
        resumed = client.get(f"/orders/{order.id}/events", HTTP_LAST_EVENT_ID="completed", **{RESUMED: parked})
        assert PARKED not in resumed.wsgi_request.META
        return [event["id"] for event in events(resumed)]

    assert again() == []
    Order.objects.update(status="completed")
    assert again() == ["completed"]


def test_the_events_that_are_asked_for_by_head_have_no_body_and_no_wait(client, asked):
    answer = client.head(f"/orders/{make_order().id}/events")

    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/event-stream")
    assert asked == []
    assert PARKED not in answer.wsgi_request.META


def test_other_methods_are_told_what_there_is(client):
    path = f"/orders/{make_order().id}/events"

    assert client.options(path).status_code == 200
    refused = client.post(path)
    assert (refused.status_code, refused.headers["Content-Type"]) == (405, "application/problem+json")
    assert set(refused.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_where_one_has_to_sign_in_nobody_waits_without(client, monkeypatch, asked):
    for view in (OrderView, OrderEventsView):
        monkeypatch.setattr(view, "permission_classes", [IsAuthenticated])
    order = make_order()

    for path in (f"/orders/{order.id}?wait=60", f"/orders/{order.id}/events"):
        answer = client.get(path)
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert str(order.id) not in answer.content.decode()
    assert asked == []
