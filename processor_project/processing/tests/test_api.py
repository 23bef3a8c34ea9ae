"""The records over HTTP."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.db.models import QuerySet
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from rest_framework.authtoken.models import Token
from rest_framework.permissions import IsAuthenticated

from contracts.events import OrderLine
from processing.models import ProcessingRecord
from processing.services import process_orders
from processing.tests.factories import make_message, make_record
from processing.views import RecordListView, RecordView

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def listed(client: Client, query: str = "") -> list[str]:
    """The order ids on the first page."""
    response = client.get(f"/records{query}")
    assert response.status_code == 200, response.content
    return [record["order_id"] for record in response.json()["results"]]


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body.keys() >= {"type", "title", "detail", "errors"}
    return body


def test_a_record_tells_what_was_decided_about_the_order(client: Client) -> None:
    record = make_record(started_at=NOON, finished_at=NOON + timedelta(microseconds=1_500), attempts=2, item_count=3)

    response = client.get(f"/records/{record.order_id}")

    assert response.status_code == 200
    assert response.json() == {
        "order_id": str(record.order_id),
        "outcome": "completed",
        "reason": None,
        "customer_id": "customer-1",
        "total_amount": 46.0,
        "item_count": 3,
        "attempts": 2,
        "message_id": str(record.message_id),
        "correlation_id": record.correlation_id,
        "started_at": "2026-11-22T12:00:00Z",
        "finished_at": "2026-11-22T12:00:00.001500Z",
        "duration_ms": 1.5,
        "restored_at": None,
        "order": None,
    }


def test_a_record_has_the_order_as_it_was_announced_and_the_list_spares_it(client: Client) -> None:
    message = make_message(
        items=[
            OrderLine(product_id="tea", quantity=2, price=Decimal("18.50")),
            OrderLine(product_id='a " \\ ’ 💥', quantity=1, price=Decimal("9999999.99")),
        ]
    )
    process_orders([message])

    assert client.get(f"/records/{message.payload.order_id}").json()["order"] == {
        "items": [
            {"product_id": "tea", "quantity": 2, "price": 18.5},
            {"product_id": 'a " \\ ’ 💥', "quantity": 1, "price": 9999999.99},
        ],
        "created_at": "2026-11-22T09:30:00Z",
    }
    (listed,) = client.get("/records").json()["results"]
    assert "order" not in listed


def test_a_failed_record_says_why(client: Client) -> None:
    record = make_record(reason="The order has no items.")

    body = client.get(f"/records/{record.order_id}").json()

    assert (body["outcome"], body["reason"]) == ("failed", "The order has no items.")


@pytest.mark.parametrize("order_id", [str(uuid4()), "order-1", "0", "%00", "019ab3c4", "💥", "a" * 500])
def test_an_order_that_has_no_record_is_not_found(client: Client, order_id: str) -> None:
    make_record()

    body = problem(client.get(f"/records/{quote(order_id)}"), 404)

    assert body["detail"] == "Processing record not found"


def test_the_list_is_newest_first(client: Client) -> None:
    records = [make_record(finished_at=NOON + timedelta(seconds=offset)) for offset in (1, 3, 2)]

    assert listed(client) == [str(records[i].order_id) for i in (1, 2, 0)]


def test_an_empty_list_is_a_page_without_results(client: Client) -> None:
    assert client.get("/records").json() == {"next": None, "previous": None, "results": []}


@pytest.mark.parametrize("at_once", [1, 4])
def test_the_pages_hold_every_record_once_although_new_ones_come(client: Client, at_once: int) -> None:
    records = {
        str(make_record(finished_at=NOON + timedelta(microseconds=number // at_once)).order_id) for number in range(25)
    }

    seen: list[str] = []
    url = "/records?page_size=10"
    while url:
        page = client.get(url).json()
        seen += [record["order_id"] for record in page["results"]]
        make_record(finished_at=NOON + timedelta(seconds=1))  # must not shift what follows
        url = page["next"]

    assert len(seen) == 25
    assert set(seen) == records


def test_one_can_page_back(client: Client) -> None:
    for offset in range(4):
        make_record(finished_at=NOON + timedelta(seconds=offset))
    first = client.get("/records?page_size=2").json()

    second = client.get(first["next"]).json()

    assert client.get(second["previous"]).json()["results"] == first["results"]


def test_a_page_costs_one_query_and_no_count(client: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for _ in range(30):
        make_record()

    with django_assert_num_queries(1) as captured:
        assert len(listed(client)) == 30

    assert "COUNT(" not in captured.captured_queries[0]["sql"].upper()


def test_the_filters_narrow_the_list_and_each_other(client: Client) -> None:
    old = make_record(finished_at=NOON - timedelta(days=2), reason="No.", customer_id="a")
    new = make_record(finished_at=NOON, customer_id="a", correlation_id="request-9")
    other = make_record(finished_at=NOON + timedelta(hours=1), customer_id="b", reason="No.")
    by_name = {str(record.order_id): name for record, name in ((old, "old"), (new, "new"), (other, "other"))}

    def names(query: str) -> list[str]:
        return [by_name[order_id] for order_id in listed(client, query)]

    assert names("?outcome=failed") == ["other", "old"]
    assert names("?outcome=completed") == ["new"]
    assert names("?customer_id=a") == ["new", "old"]
    assert names("?customer_id=A") == []
    assert names("?correlation_id=request-9") == ["new"]
    assert names(f"?order_id={other.order_id}") == ["other"]
    assert names("?created_after=2026-11-22T11:59:59Z") == ["other", "new"]
    assert names("?created_after=2026-11-22T12:00:00Z") == ["other"]
    assert names("?created_before=2026-11-22T12:00:00Z") == ["old"]
    assert names(f"?created_before={quote('2026-11-22T13:30:00+01:00')}") == ["new", "old"]
    assert names("?outcome=failed&customer_id=a") == ["old"]
    assert names("?outcome=completed&customer_id=b") == []
    assert names("?created_after=2026-11-21T00:00:00Z&created_before=2026-11-22T12:30:00Z") == ["new"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("outcome=done", "?outcome"),
        ("outcome=", "?outcome"),
        ("order_id=1", "?order_id"),
        ("customer_id=%00", "?customer_id"),
        ("customer_id=" + "a" * 256, "?customer_id"),
        ("correlation_id=", "?correlation_id"),
        ("created_after=yesterday", "?created_after"),
        ("created_before=2026-13-01", "?created_before"),
        ("page_size=0", "?page_size"),
        ("page_size=501", "?page_size"),
        ("page_size=many", "?page_size"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(client: Client, query: str, pointer: str) -> None:
    make_record()

    body = problem(client.get(f"/records?{query}"), 422)

    assert [error["pointer"] for error in body["errors"]] == [pointer]


def test_a_page_that_is_not_there_is_answered_404(client: Client) -> None:
    make_record()

    body = problem(client.get("/records?cursor=nonsense"), 404)

    assert [error["pointer"] for error in body["errors"]] == ["?cursor"]


@pytest.mark.parametrize(
    "query",
    ["created_after=0001-01-01T00:00:00%2B23:59", "created_before=9999-12-31T23:59:59-23:59", "customer_id=%ff%fe"],
)
def test_an_extreme_parameter_is_no_fault_of_the_service(client: Client, query: str) -> None:
    make_record()

    assert client.get(f"/records?{query}").status_code in (200, 422)


@pytest.mark.parametrize("path", ["/records", "/records/019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_records_can_only_be_read(client: Client, path: str, method: str) -> None:
    kept = make_record(order_id=UUID("019ab3c4-5d6e-7f80-9a1b-2c3d4e5f6071"))

    response = client.generic(method, path, "{}", content_type="application/json")

    problem(response, 405)
    assert response["Allow"] == "GET, HEAD, OPTIONS"
    assert list(ProcessingRecord.objects.all()) == [kept]


def test_with_access_required_only_those_who_are_known_may_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for view in (RecordListView, RecordView):
        monkeypatch.setattr(view, "permission_classes", [IsAuthenticated])
    record = make_record()
    token = Token.objects.create(user=User.objects.create_user("shop"))

    for path in ("/records", f"/records/{record.order_id}"):
        refused = client.get(path)
        problem(refused, 401)
        assert refused["WWW-Authenticate"] == "Token"
        assert str(record.order_id) not in refused.content.decode()
        problem(client.get(path, headers={"Authorization": "Token wrong"}), 401)
        assert client.get(path, headers={"Authorization": f"Token {token.key}"}).status_code == 200


def test_a_database_that_is_away_is_told_as_such(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_away(*args: Any, **kwargs: Any) -> Any:
        raise OperationalError("connection to server at 10.0.0.1 failed")

    monkeypatch.setattr(QuerySet, "filter", is_away)

    response = client.get("/records")

    body = problem(response, 503)
    assert response["Retry-After"]
    assert "10.0.0.1" not in json.dumps(body)


def test_people_get_pages_they_can_read(client: Client) -> None:
    record = make_record(reason="The order has no items.")

    for path, title in (("/records", "Processing records"), (f"/records/{record.order_id}", "Processing record")):
        response = client.get(path, headers={"Accept": "text/html"})
        page = response.content.decode()
        assert response["Content-Type"].startswith("text/html")
        assert title in page
        assert "The order has no items." in page
        assert "Processor" in page
        assert "https://cdn" not in page


def test_the_front_page_leads_everywhere(client: Client) -> None:
    page = client.get("/", headers={"Accept": "text/html"}).content.decode()

    for door in ("/records", "/docs", "/redoc", "/schema", "/admin/", "/health", "/metrics"):
        assert f'href="{door}"' in page
        assert client.get(door).status_code in (200, 302, 503)


def test_the_schema_describes_the_operations_with_examples_that_hold(client: Client) -> None:
    record = make_record(reason="No.")

    schema = client.get("/schema", headers={"Accept": "application/vnd.oai.openapi+json"}).json()

    assert schema["openapi"].startswith("3.1")
    assert schema["paths"].keys() == {"/records", "/records/{order_id}", "/records/{order_id}/timeline", "/ledger"}
    (listed,) = client.get("/records").json()["results"]
    answered = client.get(f"/records/{record.order_id}").json()
    documented = schema["components"]["schemas"]["RecordDetail"]["properties"]
    assert documented.keys() == answered.keys()
    assert schema["components"]["schemas"]["Record"]["properties"].keys() == listed.keys()
    for path, shape in (("/records", listed), ("/records/{order_id}", answered)):
        for status, answer in schema["paths"][path]["get"]["responses"].items():
            (content,) = answer["content"].values()
            for example in content["examples"].values():
                value = example["value"]
                if status == "200":
                    for shown in value.get("results", [value]):
                        assert shown.keys() == shape.keys()
                        assert (shown["outcome"] == "failed") == (shown["reason"] is not None)
                else:
                    assert value["status"] == int(status)
    assert documented["total_amount"]["type"] == "number"
    assert documented["reason"]["type"] == ["string", "null"]
