"""What the relay and the consumer count, and what the database says about the outbox at the moment of a scrape."""

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from messaging import outbox
from messaging.models import DeadLetter

PUBLISHED = Counter("messaging_published_total", "Messages the broker has confirmed.", ["type"])
REFUSED = Counter("messaging_refused_total", "Messages the broker returned or refused; they are tried again.", ["type"])
HANDLED = Counter("messaging_handled_total", "Messages that took effect.", ["type"])
DUPLICATES = Counter("messaging_duplicates_total", "Messages that had taken effect before.", ["type"])
RETRIED = Counter("messaging_retried_total", "Messages sent to a retry rung.", ["type"])
DEAD_LETTERED = Counter("messaging_dead_lettered_total", "Messages sent to the dead letters.", ["error_type"])
CIRCUIT_OPEN = Gauge(
    "messaging_circuit_open",
    "1 while the database or the broker is away and this process waits for it.",
    ["dependency"],
    multiprocess_mode="livemax",
)
BATCH_SECONDS = Histogram(
    "messaging_batch_duration_seconds",
    "How long a batch took, its commit included.",
    ["work"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
BATCH_SIZE = Histogram(
    "messaging_batch_messages", "Messages in a batch.", ["work"], buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500)
)


class OutboxCollector(Collector):
    """Outbox and dead letters, read at each scrape by index; nothing is said while the database is away."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        waiting, age = outbox.backlog()
        letters = DeadLetter.objects.filter(status=DeadLetter.Status.WAITING).count()
        yield GaugeMetricFamily("messaging_outbox_messages", "Messages waiting for the relay.", value=waiting)
        yield GaugeMetricFamily(
            "messaging_outbox_oldest_age_seconds", "Age of the oldest message in the outbox.", value=age
        )
        yield GaugeMetricFamily("messaging_dead_letters_waiting", "Dead letters nobody has settled.", value=letters)
