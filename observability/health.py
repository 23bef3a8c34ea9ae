"""Is this service well, and may it be sent requests?

Each check runs in a thread of its own with a deadline, so that a database that neither answers nor refuses cannot
hold up whoever asks. A check that still hangs from the last time is not started again.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.module_loading import import_string

from observability.errors import in_one_line

logger = logging.getLogger(__name__)

DEADLINE = 4.0
"""Seconds after its start when a check that has not answered counts as failed. Longer than `database` gives itself."""

DATABASE_TIMEOUT = 2
"""Seconds the database may take to accept a connection, and again to answer."""

type Check = Callable[[], dict[str, Any]]


def database() -> dict[str, Any]:
    """Connects anew and runs a query: also finds a server that is full or only pretends to listen.

    Raises whatever the driver raises. A connection of its own, because a standing one to a host that vanished
    would wait for the operating system's timeouts.
    """
    connection = connections[DEFAULT_DB_ALIAS].copy()
    options = connection.settings_dict.setdefault("OPTIONS", {})
    options["connect_timeout"] = DATABASE_TIMEOUT
    options["tcp_user_timeout"] = DATABASE_TIMEOUT * 1000
    try:
        connection.set_autocommit(False)  # behind a pooler, what is set outside of a transaction hits others too
        with connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = {DATABASE_TIMEOUT * 1000}")
            cursor.execute("SELECT 1")
    finally:
        connection.close()
    return {}


def run_checks(names: Iterable[str] | None = None) -> tuple[bool, dict[str, dict[str, Any]]]:
    """Runs the named checks of HEALTH_CHECKS side by side; by default all of them, and HEALTH_REPORTS beside them.

    Returns whether all checks are well, and what each says. A report that is not well is a warning, and makes nothing
    unhealthy. Raises nothing for a check that fails; KeyError for a name that HEALTH_CHECKS does not have.
    """
    checks: dict[str, str] = settings.HEALTH_CHECKS
    reports: dict[str, str] = getattr(settings, "HEALTH_REPORTS", {}) if names is None else {}
    if names is not None:
        checks = {name: checks[name] for name in names}
    runs = {name: _run(path) for name, path in {**checks, **reports}.items()}
    results = {name: run.result() for name, run in runs.items()}
    for name in reports:
        if results[name]["status"] == "failed":
            results[name] = {**results[name], "status": "warning"}
    return all(results[name]["status"] == "ok" for name in checks), results


class _Run:
    """One run of one check. Whoever asks while it is under way gets the same answer."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._done = threading.Event()
        self._until = time.monotonic() + DEADLINE
        self._result: dict[str, Any] = {}
        # A daemon: a check that hangs must not keep the process from leaving.
        threading.Thread(target=self._work, name=f"health {path}", daemon=True).start()

    @property
    def done(self) -> bool:
        return self._done.is_set()

    def result(self) -> dict[str, Any]:
        if not self._done.wait(max(0.0, self._until - time.monotonic())):
            return {"status": "failed", "detail": f"No answer within {DEADLINE:g} seconds."}
        return self._result

    def _work(self) -> None:
        try:
            check: Check = import_string(self._path)
            self._result = {"status": "ok", **check()}
        except Exception as error:
            self._result = {"status": "failed", "detail": in_one_line(error)}
            logger.warning("health check failed", extra={"check": self._path, "error": self._result["detail"]})
        finally:
            connections.close_all()
            self._done.set()


_runs: dict[str, _Run] = {}
_runs_lock = threading.Lock()


def _run(path: str) -> _Run:
    with _runs_lock:
        run = _runs.get(path)
        if run is None or run.done:
            run = _runs[path] = _Run(path)
        return run
