"""Waiting for a condition instead of for a time."""

import time
from collections.abc import Callable

BOUND = 60.0
"""Seconds after which a wait gives up. Not a promise about speed: a busy machine may take long."""


def eventually[T](look: Callable[[], T | None], what: str, *, within: float = BOUND) -> T:
    """Looks until it sees something true, and returns that. After `within` seconds fails, saying `what` never came."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if seen:
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {within:g} seconds (last seen: {seen!r})")
        time.sleep(0.05)
