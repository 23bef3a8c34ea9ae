"""How a message that may hold anything is shown to people, on a page or in a terminal."""

import codecs
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

SHOWN_IN_FULL = 256 * 1024
"""JSON and text up to this many bytes are shown whole."""
BEGINNING = 16 * 1024
"""So many bytes are shown of what is larger, or binary."""

# Everything that moves the cursor, rings, hides or reorders: C0 and C1 controls but tab and newline, and the marks
# that turn the direction of text.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# Possessive, and content with a text that does not end: what is no JSON is looked through once as well.
_TEXTS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_INDENTED_LEVELS = 16


@dataclass(frozen=True, slots=True)
class ReadableBody:
    kind: str
    """`JSON`, `text` or `hex`; `empty` for no body at all."""
    text: str
    size: int
    """Of the whole body, in bytes."""
    is_cut: bool
    """Whether `text` shows only the beginning."""


def readable_body(body: bytes) -> ReadableBody:
    """JSON indented, else text, else a hex dump. Never fails, and shows numbers and repeated keys as they were sent.

    The text is plain: whoever puts it on a page escapes it.
    """
    size = len(body)
    if not body:
        return ReadableBody("empty", "", 0, False)
    if size > SHOWN_IN_FULL:
        kind, text, _ = _text_or_hex(body[:BEGINNING], is_whole=False)
        return ReadableBody(kind, text, size, True)
    try:
        return ReadableBody("JSON", printable(indented(body)), size, False)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        kind, text, is_cut = _text_or_hex(body, is_whole=True)
        return ReadableBody(kind, text, size, is_cut)


def indented(body: bytes) -> str:
    """JSON on many lines, or on one where it is nested so deeply that blanks would be most of it.

    Formats token by token: decoding and encoding again would change 1.10 to 1.1 and swallow repeated keys. Raises
    msgspec.DecodeError, RecursionError or UnicodeDecodeError for what is no JSON.
    """
    return msgspec.json.format(body, indent=2 if _depth(body) <= _INDENTED_LEVELS else 0).decode()


def _depth(body: bytes) -> int:
    depth = deepest = 0
    for token in _TEXTS_AND_BRACKETS.findall(body):
        if token in (b"[", b"{"):
            depth += 1
            deepest = max(deepest, depth)
        elif token in (b"]", b"}"):
            depth -= 1
    return deepest


def readable_size(size: int) -> str:
    """`812 bytes`, `3.4 kB`, `16.0 MB`."""
    if size < 1000:
        return f"{size} byte{'' if size == 1 else 's'}"
    return f"{size / 1000:.1f} kB" if size < 1_000_000 else f"{size / 1_000_000:.1f} MB"


def spell(seconds: float) -> str:
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


def printable(text: str) -> str:
    """The text with control characters written out (`\\x1b`), so that it cannot steer a terminal or hide itself."""
    return _CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text)


def one_line(text: str, *, width: int) -> str:
    """The beginning of a text on one line, at most `width` characters."""
    line = " ".join(printable(text[: 4 * width]).split())
    return line if len(line) <= width else line[: width - 1] + "…"


def _text_or_hex(body: bytes, *, is_whole: bool) -> tuple[str, str, bool]:
    try:
        # Not final: a cut through a character of several bytes does not make text look like binary.
        text = codecs.getincrementaldecoder("utf-8")().decode(body, final=is_whole)
    except UnicodeDecodeError:
        text = "\x00"
    if "\x00" in text:
        return "hex", _hex(body[:BEGINNING]), len(body) > BEGINNING
    return "text", printable(text), False


def _hex(body: bytes) -> str:
    lines = []
    for offset in range(0, len(body), 16):
        chunk = body[offset : offset + 16]
        characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in chunk)
        lines.append(f"{offset:08x}  {chunk.hex(' '):<47}  {characters}")
    return "\n".join(lines)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table as wide as the terminal; where that is too narrow, the last column is cut."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    total = shutil.get_terminal_size((200, 24)).columns
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()[:total]
        for line in (header, *rows)
    ]
