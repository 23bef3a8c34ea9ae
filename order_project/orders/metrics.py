"""How orders fare, for Prometheus. Counted after the commit: what was rolled back never happened."""

from prometheus_client import Counter, Histogram

ORDERS_ACCEPTED = Counter("orders_accepted", "Orders answered 201, replays of an Idempotency-Key not counted again.")
ORDERS_FINAL = Counter("orders_final", "Orders that became final, by outcome.", ["outcome"])
SECONDS_TO_FINAL = Histogram(
    "order_seconds_to_final",
    "Seconds from the moment an order was accepted until its outcome was kept.",
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600),
)
