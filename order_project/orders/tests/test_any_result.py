"""Whatever verdict the contract lets through is kept with its order."""

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from uuid_utils.compat import uuid7

from contracts.events import OrderProcessed
from contracts.tests.strategies import orders_processed
from messaging.message import Message
from orders.models import Order
from orders.services import record_results
from orders.tests.factories import make_order


@pytest.mark.django_db
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(orders_processed)
def test_any_verdict_is_kept(verdict: OrderProcessed) -> None:
    Order.objects.all().delete()
    order = make_order(id=verdict.order_id)
    payload = OrderProcessed.from_json(verdict.to_json())

    with transaction.atomic():
        record_results(
            [
                Message(
                    id=uuid7(), type=OrderProcessed.TYPE, payload=payload, correlation_id="", traceparent="", attempt=1
                )
            ]
        )

    order.refresh_from_db()
    assert order.status == verdict.status
    if verdict.status == "completed":
        assert order.error_message is None
    else:
        assert order.error_message == (verdict.error_message or "The processor gave no reason.")
