"""What the long-running commands have in common."""

import logging
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db.backends.signals import connection_created

from database.backend.base import GIVE_UP_ON_A_SILENT_CLIENT
from messaging.database import NEVER_HANG_UP
from messaging.errors import ConfigurationError
from messaging.stopping import Stop
from observability.metrics import serve_metrics
from serving.garbage import spare_what_is_loaded

logger = logging.getLogger(__name__)

# How much nicer than others: a tenth of their share where they compete for a CPU that is full.
_NICER = 10
_SESSION = Path("/proc/self/autogroup")


class ProcessCommand(BaseCommand):
    """Runs `work` until SIGTERM or SIGINT and leaves with 0; with 1 and one sentence when it can never work."""

    # Not those of models, pages and URLs, which no environment changes: to load what they look at takes two fifths of
    # the time of a start, and memory for as long as it runs.
    requires_system_checks = ["settings"]

    def handle(self, *args: Any, **options: Any) -> None:
        stop = Stop()
        stop.install()
        give_way()
        if settings.METRICS_PORT:
            try:
                serve_metrics(settings.METRICS_PORT)
            except OSError as error:
                raise CommandError(f"METRICS_PORT {settings.METRICS_PORT} cannot be listened on: {error}") from None
        spare_what_is_loaded()
        connection_created.connect(set_up_connection)
        logger.info("started")
        try:
            self.work(stop)
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        logger.info("stopped")

    def work(self, stop: Stop) -> None:
        """Works until `stop` is true."""
        raise NotImplementedError


def give_way() -> None:
    """Has this process, with the threads that it starts from now on, go last where a machine has too little CPU.

    Whoever takes orders goes first: clients have their answers sooner, and what was left for later comes together in
    larger batches, of which each message costs less. Where a CPU is free, nothing changes.
    """
    os.nice(_NICER)
    # Linux may share its CPUs among sessions first, whatever is nice in them. One that is not led by this process is
    # others' too: a shell's, or that of the web workers.
    with suppress(OSError):
        if os.getsid(0) == os.getpid():
            _weigh_less()


def _weigh_less() -> None:
    for _ in range(20):
        with suppress(BlockingIOError):
            _SESSION.write_text(str(_NICER))
            return
        time.sleep(0.1)  # so often all the users of a machine together may, but for root


def set_up_connection(*, connection: Any, **_: Any) -> None:
    """Has PostgreSQL read by index, and let go of a process when its host has vanished, and only then.

    By index, whatever it believes: when it last counted, the outbox was empty, and all of it was quickly read. A table
    without an index to read by then seems endless work to it, for which it would compile the statement first: 50 ms for
    the few rows of the processes.

    It waits while a handler works or a broker confirms: were it to end such a transaction for its length, the same
    would happen again and again, and a relay would publish without end.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SET enable_seqscan = off; SET jit = off; {GIVE_UP_ON_A_SILENT_CLIENT}; {NEVER_HANG_UP}")
