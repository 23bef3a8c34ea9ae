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

# How much nicer than other processes: gets a tenth of their share when they compete for a CPU that is full.
_NICER = 10
_SESSION = Path("/proc/self/autogroup")


class ProcessCommand(BaseCommand):
    """Runs `work` until SIGTERM or SIGINT and exits with 0; with 1 and one sentence when it can never work."""

    # Not the checks of models, pages and URLs, which no environment changes: loading what they look at takes two fifths
    # of the time of a start, and memory for as long as the process runs.
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
    """Makes this process, with the threads that it starts from now on, go last when a machine has too little CPU.

    The processes that take orders go first: clients get their answers sooner, and what was left for later comes
    together in larger batches, in which each message costs less. Where a CPU is free, nothing changes.
    """
    os.nice(_NICER)
    # Linux may first divide its CPUs among sessions, however nice the processes in them are. A session that this
    # process does not lead belongs to others too: to a shell, or to the web workers.
    with suppress(OSError):
        if os.getsid(0) == os.getpid():
            _weigh_less()


def _weigh_less() -> None:
    for _ in range(20):
        with suppress(BlockingIOError):
            _SESSION.write_text(str(_NICER))
            return
        time.sleep(0.1)  # all users of a machine except root may together write only this often


def set_up_connection(*, connection: Any, **_: Any) -> None:
    """Makes PostgreSQL read by index, and let go of a process when its host has vanished, and only then.

    By index, whatever it believes: when it last counted, the outbox was empty, and quick to read as a whole. But then a
    table that has no index to read by seems endless work to it, for which it would compile the statement first (JIT):
    50 ms for the few rows of the processes.

    PostgreSQL waits while a handler works or a broker confirms: if it ended a transaction for its length, the same
    would happen again and again, and a relay would publish without end.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SET enable_seqscan = off; SET jit = off; {GIVE_UP_ON_A_SILENT_CLIENT}; {NEVER_HANG_UP}")
