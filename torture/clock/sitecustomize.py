"""Lets Python sleep under libfaketime, which fails every `clock_nanosleep` on the monotonic clock (0.9.10)."""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
