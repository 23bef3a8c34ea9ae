"""What the long-running commands have in common."""

import logging
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.backends.signals import connection_created

from messaging.errors import ConfigurationError
from messaging.stopping import Stop
from observability.garbage import spare_what_is_loaded
from observability.metrics import serve_metrics

logger = logging.getLogger(__name__)


class ProcessCommand(BaseCommand):
    """Runs `work` until SIGTERM or SIGINT and leaves with 0; with 1 and one sentence when it can never work."""

    requires_migrations_checks = False

    def handle(self, *args: Any, **options: Any) -> None:
        stop = Stop()
        stop.install()
        if settings.METRICS_PORT:
            serve_metrics(settings.METRICS_PORT)
        spare_what_is_loaded()
        connection_created.connect(read_by_index)
        logger.info("started")
        try:
            self.work(stop)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        logger.info("stopped")

    def work(self, stop: Stop) -> None:
        """Works until `stop` is true."""
        raise NotImplementedError


def read_by_index(*, connection: Any, **_: Any) -> None:
    """Whatever PostgreSQL believes: when it last counted, the outbox was empty, and all of it was quickly read.

    A table without an index to read by then seems endless work to it, for which it would compile the statement first:
    50 ms for the few rows of the processes.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off; SET jit = off")
