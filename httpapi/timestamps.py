"""How times look in JSON."""

from datetime import UTC, datetime


def timestamp(value: datetime) -> str:
    """The text that REST framework makes of an aware time, in UTC: `2026-11-26T14:03:07.081205Z`."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
