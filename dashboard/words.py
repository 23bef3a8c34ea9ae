"""Figures as people read them."""

from desk.display import duration


def duration_ms(milliseconds: float | None) -> str:
    """The text of `duration`; a dash for None."""
    return "–" if milliseconds is None else duration(milliseconds / 1000)


def capped(number: int, cap: int) -> str:
    """`1,234`; `10,000+` when it was not counted further."""
    return f"{cap:,}+" if number > cap else f"{number:,}"
