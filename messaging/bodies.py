"""How the body of a message, which may hold anything, is shown to people, on a page or in a terminal."""

import codecs
import re
from dataclasses import dataclass

import msgspec

from desk.display import printable, readable_size

SHOWN_IN_FULL = 256 * 1024
"""JSON and text up to this many bytes are shown whole."""
BEGINNING = 16 * 1024
"""How many bytes are shown of a body that is larger, or binary."""

# Possessive, and satisfied with a text that does not end: so what is no JSON is looked through only once, too.
_TEXTS_AND_BRACKETS = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
_INDENTED_LEVELS = 16


@dataclass(frozen=True, slots=True)
class ReadableBody:
    """The body of a message as people read it."""

    kind: str
    """`JSON`, `text` or `hex`; `empty` for no body at all."""
    text: str
    size: int
    """Of the whole body, in bytes."""
    is_cut: bool
    """Whether `text` shows only the beginning."""

    @property
    def summary(self) -> str:
        """`JSON, 3.4 kB`, and whether that is all of it."""
        return f"{self.kind}, {readable_size(self.size)}" + (", the beginning of it" if self.is_cut else "")


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


def _text_or_hex(body: bytes, *, is_whole: bool) -> tuple[str, str, bool]:
    try:
        # Not final when cut: a cut through a character of several bytes does not make text look like binary.
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
