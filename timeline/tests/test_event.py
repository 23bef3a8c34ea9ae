"""Durations as people read them."""

import pytest

from timeline.event import spell


@pytest.mark.parametrize(
    ("seconds", "spelt"),
    [
        (-1, "0 ms"),
        (0, "0 ms"),
        (0.0004, "0 ms"),
        (0.35, "350 ms"),
        (1, "1.00 s"),
        (9.876, "9.88 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (86400, "1 d"),
        (273600, "3 d 4 h"),
    ],
)
def test_a_duration_is_spelt_as_exactly_as_people_want_it(seconds: float, spelt: str) -> None:
    assert spell(seconds) == spelt
