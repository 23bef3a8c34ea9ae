"""The steps that ship. `processing.pipeline` says what a step is and how to add one."""

import random
import time
from decimal import Decimal

from django.conf import settings

from contracts.events import OrderCreated
from messaging.errors import TransientError
from processing.pipeline import BusinessRuleViolation


def validate(order: OrderCreated) -> None:
    """The order makes sense: it has a customer and lines, each positive, and its total is their sum."""
    if not order.customer_id.strip():
        raise BusinessRuleViolation("The order names no customer.")
    if not order.items:
        raise BusinessRuleViolation("The order has no items.")
    total = Decimal(0)
    for number, item in enumerate(order.items, start=1):
        if not item.product_id.strip():
            raise BusinessRuleViolation(f"Item {number} names no product.")
        if item.quantity <= 0:
            raise BusinessRuleViolation(f"Item {number} has a quantity of {item.quantity}, which is not above zero.")
        if item.price <= 0:
            raise BusinessRuleViolation(f"Item {number} has a price of {item.price}, which is not above zero.")
        total += item.quantity * item.price
    if total != order.total_amount:
        raise BusinessRuleViolation(f"The total is {order.total_amount}, but the items add up to {total:.2f}.")


def limit_total(order: OrderCreated) -> None:
    """The total is at most `PROCESSING_MAX_ORDER_TOTAL`."""
    limit: Decimal = settings.PROCESSING_MAX_ORDER_TOTAL
    if order.total_amount > limit:
        raise BusinessRuleViolation(f"The total of {order.total_amount} is above the limit of {limit:.2f}.")


def simulate(order: OrderCreated) -> None:
    """Stands in for work that takes time and sometimes fails: put your own business logic in its place.

    Sleeps `SIMULATED_LATENCY_MS` milliseconds, then fails in `SIMULATED_FAILURE_RATE` (0 to 1) of all cases with a
    TransientError, so that the message is tried again later. Both are 0 by default, and then this step costs nothing.
    """
    if settings.SIMULATED_LATENCY_MS:
        time.sleep(settings.SIMULATED_LATENCY_MS / 1000)
    if settings.SIMULATED_FAILURE_RATE and random.random() < settings.SIMULATED_FAILURE_RATE:
        raise TransientError(f"Simulated failure of order {order.order_id}")
