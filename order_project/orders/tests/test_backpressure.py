"""What the shop hears while orders cannot be passed on."""

import math
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from messaging import backpressure
from messaging.models import OutboxMessage, Process
from orders.models import Order
from orders.tests.factories import body, item

pytestmark = pytest.mark.django_db(transaction=True)


def post(data: Any = None, **headers: str) -> Any:
    return APIClient().post("/orders", data or body(), headers=headers)


@pytest.fixture
def stuck(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order with the key key-1 has been waiting for ten minutes: no relay gets it to the broker."""
    settings.MESSAGING = settings.MESSAGING | {"BACKPRESSURE": "refuse", "OUTBOX_MAX_AGE": 60}
    monkeypatch.setattr(backpressure, "_pressure", None)
    monkeypatch.setattr(backpressure, "_looked_at", -math.inf)
    assert post(**{"Idempotency-Key": "key-1"}).status_code == 201
    OutboxMessage.objects.update(available_at=timezone.now() - timedelta(minutes=10))
    Process.objects.create(name="relay a:1", role="relay", rate=0.1)
    monkeypatch.setattr(backpressure, "_looked_at", -math.inf)


def test_a_new_order_is_refused_with_a_time_to_come_back(stuck: None) -> None:
    answer = post(**{"Idempotency-Key": "key-2"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (503, "application/problem+json")
    assert answer.headers["Retry-After"] == "10"
    assert "no new ones are taken" in answer.json()["detail"]
    assert post().status_code == 503
    assert Order.objects.count() == 1
    assert OutboxMessage.objects.count() == 1


def test_a_known_key_gets_its_first_answer_all_the_same(stuck: None) -> None:
    answer = post(**{"Idempotency-Key": "key-1"})

    assert answer.status_code == 201
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert post(body(items=[item()]), **{"Idempotency-Key": "key-1"}).status_code == 422
    assert Order.objects.count() == 1


def test_a_key_that_only_another_user_has_sent_is_not_known(stuck: None, operator: Any) -> None:
    signed_in = APIClient()
    signed_in.force_authenticate(operator)

    answer = signed_in.post("/orders", body(), headers={"Idempotency-Key": "key-1"})

    assert answer.status_code == 503
    assert "no new ones are taken" in answer.json()["detail"]


def test_a_bad_order_hears_what_is_wrong_with_it(stuck: None) -> None:
    assert post(body(items=[])).status_code == 422


def test_orders_are_taken_again_once_the_outbox_is_emptied(stuck: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert post().status_code == 503
    OutboxMessage.objects.all().delete()
    monkeypatch.setattr(backpressure, "_looked_at", -math.inf)
    assert post().status_code == 201


def test_only_a_warning_takes_every_order(stuck: None, settings: Any) -> None:
    settings.MESSAGING = settings.MESSAGING | {"BACKPRESSURE": "warn"}
    assert post().status_code == 201
