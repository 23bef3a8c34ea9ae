"""services.place_order: one transaction holds the order, its items and its announcement."""

import json
import logging
from decimal import Decimal

import pytest
from django.db import IntegrityError
from prometheus_client import REGISTRY

from contracts.events import OrderCreated, OrderLine
from messaging import outbox
from messaging.models import OutboxMessage
from messaging.tests.round_trips import round_trips
from observability.context import bind
from orders import batches, services
from orders.models import Order, OrderItem
from orders.new_order import NewOrder
from orders.tests.factories import NEW_ORDER, ONE_LINE, outbox_without_room
from orders.tests.threads import in_another_thread


@pytest.mark.django_db
def test_it_keeps_the_order_with_its_items_in_their_order():
    placed = services.place_order(NEW_ORDER)

    order = Order.objects.get()
    assert order.id == placed.order.order_id
    assert (order.customer_id, order.status, order.error_message) == ("customer-1", "pending", None)
    assert order.total_amount == Decimal("46.00")
    assert order.created_at == order.updated_at
    assert list(order.items.values_list("position", "product_id", "quantity", "price")) == [
        (0, "beans", 2, Decimal("18.50")),
        (1, "filters", 1, Decimal("9.00")),
    ]


@pytest.mark.django_db
def test_it_announces_the_order_through_the_outbox():
    with bind(correlation_id="request-1"):
        placed = services.place_order(NEW_ORDER)

    message = OutboxMessage.objects.get()
    assert (message.type, message.routing_key, message.exchange) == ("order.created", "order.created", "orders")
    assert message.correlation_id == Order.objects.get().correlation_id == "request-1"
    event = OrderCreated.from_json(bytes(message.body))
    assert event.order_id == placed.order.order_id
    assert event.total_amount == Decimal("46.00")
    assert event.created_at == placed.order.created_at
    assert json.loads(bytes(message.body))["items"] == [
        {"product_id": "beans", "quantity": 2, "price": 18.5},
        {"product_id": "filters", "quantity": 1, "price": 9.0},
    ]


@pytest.mark.django_db(transaction=True)
def test_the_relay_is_called_once_it_is_committed_and_not_for_what_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(outbox, "wake_relay", lambda: seen.append(in_another_thread(OutboxMessage.objects.count)))

    services.place_order(NEW_ORDER)
    batches.place_batch(orders=[NEW_ORDER] * 3)
    with outbox_without_room(), pytest.raises(IntegrityError, match="no_room"):
        services.place_order(NEW_ORDER)

    assert seen == [1, 4]


@pytest.mark.django_db(transaction=True)
def test_nothing_is_kept_when_the_announcement_cannot_be_written():
    before = REGISTRY.get_sample_value("orders_accepted_total")

    with outbox_without_room(), pytest.raises(IntegrityError, match="no_room"):
        services.place_order(NEW_ORDER)

    assert not Order.objects.exists()
    assert not OrderItem.objects.exists()
    assert not OutboxMessage.objects.exists()
    assert REGISTRY.get_sample_value("orders_accepted_total") == before


@pytest.mark.usefixtures("no_look_for_backpressure")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("lines", [1, 100])
def test_it_takes_one_prepared_statement_however_many_items(lines):
    services.place_order(NEW_ORDER)  # prepares the statement
    with round_trips() as asked:
        services.place_order(NewOrder("customer-1", ONE_LINE * lines))

    assert asked == ["run"]


@pytest.mark.django_db(transaction=True)
def test_it_refuses_to_be_part_of_another_transaction():
    from django.db import transaction

    with pytest.raises(RuntimeError, match="durable"), transaction.atomic():
        services.place_order(NEW_ORDER)

    assert not Order.objects.exists()


@pytest.mark.django_db
def test_it_counts_and_logs_the_order_with_its_id_and_without_what_was_ordered(caplog):
    before = REGISTRY.get_sample_value("orders_accepted_total") or 0
    caplog.set_level(logging.INFO)

    placed = services.place_order(NEW_ORDER)

    assert REGISTRY.get_sample_value("orders_accepted_total") == before + 1
    (record,) = [record for record in caplog.records if record.name == "orders.services"]
    assert record.message == "order accepted"
    assert record.order_id == str(placed.order.order_id)
    assert "customer-1" not in str(vars(record))


@pytest.mark.django_db
def test_the_largest_order_that_the_limits_allow_fits_into_its_announcement():
    lines = [OrderLine(product_id="p" * 255, quantity=1, price=Decimal("9.99"))] * 1000

    services.place_order(NewOrder("c" * 255, lines))

    assert len(OrderCreated.from_json(bytes(OutboxMessage.objects.get().body)).items) == 1000
