"""Figures as people read them."""

from messaging.display import spell


def duration(milliseconds: float | None) -> str:
    """As `spell` has it; a dash for none."""
    return "–" if milliseconds is None else spell(milliseconds / 1000)


def capped(number: int, cap: int) -> str:
    """`1,234`; `10,000+` when it was not counted further."""
    return f"{cap:,}+" if number > cap else f"{number:,}"


def number_of(number: int, what: str) -> str:
    """`1 order`, `2 orders`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
