from typing import Any
from uuid import uuid4

import pytest
from django.test import Client

from messaging.fingerprints import fingerprint_of
from messaging.models import FailedAttempt
from messaging.tests.desk import staff_with, text
from messaging.tests.letters import stored

pytestmark = pytest.mark.django_db

ATTEMPTS = "/admin/messaging/failedattempt/"


def attempt(**fields: Any) -> FailedAttempt:
    given: dict[str, Any] = {
        "step": FailedAttempt.Step.HANDLE,
        "message_id": uuid4(),
        "type": "thing.happened",
        "attempt": 2,
        "error_type": "OSError",
        "error_message": "The stock does not answer",
        "place": "shop.stock.reserve",
        "retry_in": "5s",
    }
    return FailedAttempt.objects.create(**given | fields)


def test_a_try_that_failed_says_where_why_and_what_comes_next(client: Client) -> None:
    attempt(subject="order-1")
    attempt(subject="order-2", attempt=6, retry_in="")

    shown = text(client, ATTEMPTS)

    assert "OSError: The stock does not answer" in shown
    assert "shop.stock.reserve" in shown
    assert "tried again after 5s" in shown
    assert "given up: a dead letter" in shown
    assert "order-1" in shown


@pytest.mark.parametrize("asked", ["order-1", "request-1", "{message_id}"])
def test_it_is_found_by_what_it_is_about_its_request_and_its_message(client: Client, asked: str) -> None:
    wanted = attempt(subject="order-1", correlation_id="request-1")
    attempt(subject="order-10", correlation_id="request-10")

    shown = text(client, f"{ATTEMPTS}?q={asked.format(message_id=wanted.message_id)}")

    assert "order-1" in shown
    assert "order-10" not in shown


def test_its_page_leads_to_the_failure_group_as_soon_as_there_is_one(client: Client) -> None:
    letter = stored(error_type="OSError")
    assert letter.group is not None
    known = attempt(fingerprint=letter.group.fingerprint)
    unknown = attempt(fingerprint=fingerprint_of("KeyError", "", "thing.happened"))

    assert f"/admin/messaging/failuregroup/{letter.group.pk}/change/" in text(client, f"{ATTEMPTS}{known.pk}/change/")
    assert "none yet" in text(client, f"{ATTEMPTS}{unknown.pk}/change/")


def test_what_a_message_made_an_error_say_is_only_text(client: Client) -> None:
    row = attempt(error_message="<script>alert(1)</script>\x1b[2J")

    for page in (ATTEMPTS, f"{ATTEMPTS}{row.pk}/change/"):
        assert "<script>alert" not in text(client, page)


def test_nobody_can_change_them_and_not_everybody_sees_them(client: Client) -> None:
    row = attempt()
    assert client.post(f"{ATTEMPTS}{row.pk}/change/", {"error_type": "None"}).status_code == 403
    assert client.post(f"{ATTEMPTS}{row.pk}/delete/", {"post": "yes"}).status_code == 403

    assert staff_with().get(ATTEMPTS).status_code == 403
    assert staff_with("view_failedattempt").get(ATTEMPTS).status_code == 200
    assert FailedAttempt.objects.get().error_type == "OSError"
