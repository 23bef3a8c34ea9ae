"""Figures as people read them."""


def duration(milliseconds: float | None) -> str:
    """`0.4 ms`, `12 ms`, `1.3 s`, `10 s`, `4 min 10 s`; a dash for none."""
    if milliseconds is None:
        return "–"
    if milliseconds < 10:
        return f"{milliseconds:.2g} ms"
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f} s".replace(".0 s", " s")
    return age(milliseconds / 1000)


def age(seconds: float) -> str:
    """`12 s`, `4 min 10 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = round(seconds)
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "min", 60), ("min", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def capped(number: int, cap: int) -> str:
    """`1,234`; `10,000+` when it was not counted further."""
    return f"{cap:,}+" if number > cap else f"{number:,}"


def number_of(number: int, what: str) -> str:
    """`1 order`, `2 orders`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
