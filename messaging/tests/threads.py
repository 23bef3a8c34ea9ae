"""Work in threads, each with a database connection of its own. No test waits for it longer than `BOUND`."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from django.db import connection

BOUND = 60.0
"""Seconds."""


def begun[T](work: Callable[[], T]) -> Future[T]:
    """What the work will return or raise: ask for `result(BOUND)`. If it never ends, the process ends without it."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            try:
                done = work()
            finally:
                connection.close()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(done)

    threading.Thread(target=run, daemon=True).start()
    return future


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What each call returned or raised. They begin together."""
    ready = threading.Barrier(len(calls))

    def together(call: Callable[[], Any]) -> Any:
        ready.wait(BOUND)
        return call()

    ends = [begun(partial(together, call)) for call in calls]
    return [end.exception(BOUND) or end.result() for end in ends]
