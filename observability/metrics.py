"""Prometheus metrics: of one process, of gunicorn's several workers together, and what is read at each scrape.

prometheus_client decides at its import, by PROMETHEUS_MULTIPROC_DIR, whether it counts in memory or in files that the
workers share. So this module, which gunicorn.conf.py imports before that variable is set, imports it late.
"""

import atexit
import fcntl
import logging
import os
import shutil
import sys
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import Histogram
    from prometheus_client.registry import Collector, CollectorRegistry

logger = logging.getLogger(__name__)

_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "gunicorn-metrics-"


def count_apart() -> None:
    """For the settings, before anything counts: lets only gunicorn's workers count together, whatever the environment.

    All processes may share one environment. A relay that counted with the workers would find no folder for its counts,
    or have them added to the workers'.
    """
    if "gunicorn" not in sys.modules:
        os.environ.pop(_DIRECTORY, None)


def gunicorn_on_starting(server: Any = None) -> None:
    """gunicorn's `on_starting`: gives the workers an empty directory to count in.

    It is the one that PROMETHEUS_MULTIPROC_DIR names, emptied of former counts, or a temporary one that goes with the
    master. A master that is killed leaves the temporary one behind; the next master removes it.
    With `preload_app`, call this at the top of gunicorn.conf.py instead: the application is loaded before the hook.
    Raises RuntimeError when called too late: every worker would then count for itself alone.
    """
    if "prometheus_client" in sys.modules and _DIRECTORY not in os.environ:
        raise RuntimeError(f"prometheus_client is imported already; {_DIRECTORY} would have no effect")
    if given := os.environ.get(_DIRECTORY):
        directory = Path(given)
        directory.mkdir(parents=True, exist_ok=True)
        for stale in directory.glob("*.db"):
            stale.unlink(missing_ok=True)
        return
    _remove_orphans()
    while _lock(made := tempfile.mkdtemp(prefix=_PREFIX), wait=True) is None:
        pass  # another master took it for an orphan just then
    os.environ[_DIRECTORY] = made
    atexit.register(_remove, made, os.getpid())


def gunicorn_child_exit(server: Any, worker: Any) -> None:
    """gunicorn's `child_exit`: takes the dead worker out of the gauges of living ones. Its counts stay counted."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(worker.pid)


def _remove_orphans() -> None:
    """Removes the temporary directories of masters that are no more.

    A lock tells whose directory is in use: it goes with the last of the owner's processes. Process ids would not do:
    containers that share a folder for temporary files each have a master with the number 1.
    """
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        lock = _lock(str(directory), wait=False)
        if lock is not None:
            shutil.rmtree(directory, ignore_errors=True)
            os.close(lock)


def _lock(directory: str, *, wait: bool) -> int | None:
    """Locks the directory until the descriptor is closed here and in all forks. None when it is another's, or gone."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return None
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if Path(directory).exists():
            return descriptor
    os.close(descriptor)
    return None


def _remove(directory: str, owner: int) -> None:
    # The forked workers inherit the exit handler, but not the directory.
    if os.getpid() == owner:
        shutil.rmtree(directory, ignore_errors=True)


def observe_each(histogram: "Histogram", amounts: Sequence[float]) -> None:
    """Observes each amount of a batch, at a fifth of the cost of `histogram.observe`: takes a lock once a bucket."""
    histogram._sum.inc(sum(amounts))
    for bucket, number in Counter(bisect_left(histogram._upper_bounds, amount) for amount in amounts).items():
        histogram._buckets[bucket].inc(number)


def scrape_registry() -> "CollectorRegistry":
    """What one scrape sees: this process's or all workers' metrics, and the collectors of METRICS_COLLECTORS."""
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    own: Collector = MultiProcessCollector(None) if os.environ.get(_DIRECTORY) else REGISTRY
    registry.register(_Everything(own))
    return registry


class _Everything:
    """The process's own metrics first, then each configured collector; one that fails is reported, not fatal."""

    def __init__(self, own: "Collector") -> None:
        self._own = own

    def describe(self) -> Iterable[Any]:
        return ()  # Else registering would collect, and query the database, only to learn the names.

    def collect(self) -> Iterator[Any]:
        from django.conf import settings
        from django.utils.module_loading import import_string
        from prometheus_client.core import GaugeMetricFamily

        yield from self._own.collect()
        failed = GaugeMetricFamily(
            "metrics_collector_failed", "1 when this collector could not be read at this scrape.", labels=["collector"]
        )
        for path in getattr(settings, "METRICS_COLLECTORS", ()):
            try:
                families = list(import_string(path)().collect())
            except Exception as error:
                logger.warning("metrics collector failed", extra={"collector": path, "error": type(error).__name__})
                failed.add_metric([path], 1)
            else:
                failed.add_metric([path], 0)
                yield from families
        if failed.samples:
            yield failed


def serve_metrics(port: int) -> None:
    """Serves this process's metrics on all interfaces at http://…:port/metrics, from a thread that ends with it.

    For the processes that speak no HTTP otherwise. Raises OSError when the port is taken.
    """
    from prometheus_client import start_http_server

    start_http_server(port, registry=_PerScrape())


class _PerScrape:
    """A registry made anew for each scrape, whose database connection ends with the scrape's thread."""

    def collect(self) -> Iterator[Any]:
        from django.db import connections

        try:
            yield from scrape_registry().collect()
        finally:
            connections.close_all()
