"""What a developer reads while something runs."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

COLOURED = sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def say(text: str = "", *, end: str = "\n") -> None:
    """Print `text` at once. Does not fail when the terminal is gone: what runs still has to be ended in order."""
    with suppress(OSError):
        print(text, end=end, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """A line that says what happens, and then how many seconds it took."""
    say(f"{text} … ", end="")
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say()
        raise
    say(f"{time.monotonic() - started:.1f} s")
