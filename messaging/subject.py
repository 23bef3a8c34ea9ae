"""The business key of a message, read from a body that may hold anything."""

from uuid import UUID

import msgspec

_LONGEST = 64


def subject_of(body: bytes, field: str) -> str:
    """The text that this field of the body holds; empty when there is none that can be read.

    Also of a body that is JSON but breaks its contract: that is when an operator wants to know what it was about.
    A UUID comes in its usual spelling, however it was written.
    """
    if not field:
        return ""
    try:
        content = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    value = content.get(field) if isinstance(content, dict) else None
    if not isinstance(value, str) or "\x00" in value:
        return ""
    try:
        return str(UUID(value))
    except ValueError:
        return value[:_LONGEST]
