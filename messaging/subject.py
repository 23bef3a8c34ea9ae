"""The business key of a message, read from a body that may hold anything."""

from uuid import UUID

import msgspec

from messaging.conf import config

_LONGEST = 64


def subject_of(body: bytes, field: str) -> str:
    """The text that this field of the body holds; empty when there is none that can be read.

    Also reads a body that is JSON but breaks its contract: that is when an operator wants to know what it was about.
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


def subject_among_ours(body: bytes, type: str) -> str:
    """The business key of a message that this service takes or sends; "" when nobody has said where it stands.

    For the types that the service takes, the handlers say so. In others, which it sends, the key is expected where all
    the handlers have it.
    """
    handlers = config().handler_table
    if handler := handlers.get(type):
        return subject_of(body, handler.subject)
    fields = {handler.subject for handler in handlers.values()}
    return subject_of(body, fields.pop()) if len(fields) == 1 else ""
