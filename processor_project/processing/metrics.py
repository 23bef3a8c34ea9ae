"""The business metrics of this service. Those of messaging are in `messaging.metrics`."""

from prometheus_client import Counter, Histogram

ORDERS_PROCESSED = Counter("orders_processed", "Orders decided and committed, by outcome.", ["outcome"])
PROCESSING_SECONDS = Histogram(
    "order_processing_seconds",
    "How long the steps took for one order, without its time in queues.",
    ["outcome"],
    buckets=(0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
