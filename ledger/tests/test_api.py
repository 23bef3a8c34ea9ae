"""The book over HTTP."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.permissions import IsAuthenticated

from ledger.views import LedgerView

pytestmark = pytest.mark.django_db

Keep = Callable[..., UUID]


def test_a_page_leads_to_the_next_one(client: Client, keep: Keep) -> None:
    ids = sorted(str(keep()) for _ in range(5))

    seen: list[dict[str, Any]] = []
    url = "/ledger?limit=2"
    while url:
        page = client.get(url).json()
        assert page["service"] == "orders"
        assert page["next"] is None or page["next"].startswith("http://testserver/ledger?")
        seen += page["results"]
        url = page["next"]

    assert [entry["order_id"] for entry in seen] == ids
    assert {(entry["place"], entry["state"], entry["lines"]) for entry in seen} == {("order", "completed", 1)}
    assert all(entry["since"].endswith("Z") for entry in seen)


def test_the_last_page_says_what_the_queues_hold_and_no_other_asks_the_broker(client: Client, keep: Keep) -> None:
    for _ in range(2):
        keep()

    first = client.get("/ledger?limit=2").json()

    assert (first["queued"], len(first["results"])) == (None, 2)
    last = client.get(first["next"]).json()
    assert last == {
        "service": "orders",
        "next": None,
        "queued": last["queued"],
        "results": [],
    }
    assert isinstance(last["queued"], int)


def test_a_broker_that_is_away_is_no_error(client: Client, keep: Keep, settings: Settings) -> None:
    settings.MESSAGING = settings.MESSAGING | {"URL": "amqp://127.0.0.1:1/", "MANAGEMENT_URL": ""}
    keep()

    page = client.get("/ledger").json()

    assert (page["queued"], len(page["results"])) == (None, 1)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "?limit"),
        ("limit=5001", "?limit"),
        ("limit=", "?limit"),
        ("limit=%2010", "?limit"),
        ("limit=1_0", "?limit"),
        ("limit=%D9%A3", "?limit"),
        ("limit=-1", "?limit"),
        ("after=", "?after"),
        ("after=order", "?after"),
        ("after=order:%00", "?after"),
        ("after=outbox:99999999999999999999", "?after"),
        ("after=" + "a" * 100, "?after"),
    ],
)
def test_a_parameter_that_makes_no_sense_is_named(client: Client, keep: Keep, query: str, pointer: str) -> None:
    answer = client.get(f"/ledger?{query}")

    assert answer.status_code == 422
    assert answer["Content-Type"] == "application/problem+json"
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_with_access_required_only_those_who_are_known_may_read(
    client: Client, keep: Keep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LedgerView, "permission_classes", [IsAuthenticated])
    order_id = keep()

    answer = client.get("/ledger")

    assert answer.status_code in (401, 403)
    assert str(order_id) not in answer.content.decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_it_can_only_be_read(client: Client, keep: Keep, method: str) -> None:
    keep()

    assert client.generic(method, "/ledger", "{}", content_type="application/json").status_code == 405
    assert len(client.get("/ledger").json()["results"]) == 1


def test_people_get_a_page_they_can_read(client: Client, keep: Keep) -> None:
    order_id = keep()

    page = client.get("/ledger", headers={"Accept": "text/html"})

    assert page["Content-Type"].startswith("text/html")
    assert str(order_id) in page.content.decode()
