"""Whatever order the contract lets through is decided: no order that can be read makes the processor fail."""

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from contracts.events import OrderCreated, OrderProcessed
from contracts.tests.strategies import orders_created
from messaging.message import Message
from messaging.models import OutboxMessage
from processing.models import ProcessingRecord
from processing.services import process_orders


@pytest.mark.django_db
@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(orders_created, min_size=1, max_size=4, unique_by=lambda order: order.order_id))
def test_any_order_gets_one_record_and_one_announcement(orders: list[OrderCreated]) -> None:
    OutboxMessage.objects.all().delete()
    ProcessingRecord.objects.all().delete()

    with transaction.atomic():
        process_orders(
            [
                Message(
                    id=uuid7(),
                    type=OrderCreated.TYPE,
                    payload=OrderCreated.from_json(order.to_json()),
                    correlation_id="request-1",
                    traceparent="",
                    attempt=1,
                )
                for order in orders
            ]
        )

    announced = [OrderProcessed.from_json(bytes(row.body)) for row in OutboxMessage.objects.all()]
    records = {record.order_id: record for record in ProcessingRecord.objects.all()}
    assert sorted(event.order_id for event in announced) == sorted(records) == sorted(o.order_id for o in orders)
    for event in announced:
        assert (event.status, event.error_message or "") == (
            records[event.order_id].outcome, records[event.order_id].reason
        )  # fmt: skip
