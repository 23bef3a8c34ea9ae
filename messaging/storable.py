"""Text as PostgreSQL takes it."""

import re

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


def storable_text(value: str, limit: int | None = None) -> str:
    """The text without what PostgreSQL refuses (NUL, lone surrogates), cut to `limit` characters.

    What is replaced becomes one byte each: a longer one would make names longer than AMQP takes when they are sent.
    """
    return _NOT_STORABLE.sub("?", value)[:limit]
