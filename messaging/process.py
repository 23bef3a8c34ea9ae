"""What the long-running commands have in common."""

import gc
import logging
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from messaging.errors import ConfigurationError
from messaging.stopping import Stop
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
        # What is there now stays: looking through all of it for garbage, again and again, is a tenth of the work.
        gc.collect()
        gc.freeze()
        logger.info("started")
        try:
            self.work(stop)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        logger.info("stopped")

    def work(self, stop: Stop) -> None:
        """Works until `stop` is true."""
        raise NotImplementedError
