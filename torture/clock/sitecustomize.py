"""Lets Python sleep under libfaketime, which fails every `clock_nanosleep` on the monotonic clock (0.9.10)."""

import select
import time


def _sleep(seconds: float) -> None:
    if seconds < 0:
        raise ValueError("sleep length must be non-negative")
    select.select([], [], [], seconds)


time.sleep = _sleep
