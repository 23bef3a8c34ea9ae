"""The same work in several threads, each with a database connection of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connection


def in_thread[T](work: Callable[[], T]) -> T:
    """Returns what the work returns, and leaves no connection open. To be called in a thread."""
    try:
        return work()
    finally:
        connection.close()


def in_another_thread[T](work: Callable[[], T]) -> T:
    """What the work returns on a connection of its own, which sees only what is committed."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(in_thread, work).result(30)


def at_once[T](count: int, work: Callable[[], T]) -> list[T]:
    """The results of the same work, done in `count` threads that start together."""
    barrier = threading.Barrier(count)

    def one(_: int) -> T:
        barrier.wait(timeout=30)
        return in_thread(work)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))
