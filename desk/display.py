"""Text for people, on a page or in a terminal."""

import re
import shutil
from collections.abc import Mapping, Sequence
from datetime import datetime

from django.utils import timezone

# All that moves the cursor, rings the bell, or hides or reorders text: C0 and C1 controls except tab and newline, and
# the marks that change the direction of text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """The text with control characters written out (`\\x1b`), so that it cannot steer a terminal or hide itself."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str, *, width: int) -> str:
    """The beginning of a text on one line, at most `width` characters."""
    line = " ".join(printable(text[: 4 * width]).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def readable_size(size: int) -> str:
    """`812 bytes`, `3.4 kB`, `16.0 MB`."""
    if size < 1000:
        return number_of(size, "byte")
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def number_of(number: int, what: str) -> str:
    """`1 order`, `2,000 orders`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def to_the_second(time: datetime) -> str:
    """`2024-05-01 12:30:59`, local time. The admin's own format leaves out the seconds."""
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M:%S}"


def to_the_millisecond(time: datetime) -> str:
    """`2024-05-01 12:30:59.123`, local time: many things happen within a second."""
    return f"{timezone.localtime(time):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def duration(seconds: float) -> str:
    """`0.4 ms`, `350 ms`, `1.25 s`, `12 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`: a duration as people read it."""
    milliseconds = max(seconds, 0) * 1000
    if milliseconds < 999.5:
        return f"{milliseconds:.2g} ms" if milliseconds < 9.95 else f"{milliseconds:.0f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    whole = round(seconds)
    for unit, name, smaller, small_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            many, few = whole // unit, whole % unit // smaller
            return f"{many} {name} {few} {small_name}" if few else f"{many} {name}"
    return f"{whole} s"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table as wide as the terminal; where that is too narrow, the last column is cut."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    total = shutil.get_terminal_size((200, 24)).columns
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()[:total]
        for line in (header, *rows)
    ]


def facts(values: Mapping[str, object]) -> list[str]:
    """Lines of names and their values, made printable."""
    width = max(map(len, values)) + 2
    return [f"{printable(name):<{width}}{printable(str(value))}" for name, value in values.items()]
