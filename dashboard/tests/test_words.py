import pytest

from dashboard.histogram import percentile
from dashboard.words import capped, duration_ms


def test_a_time_that_is_not_known_is_a_dash():
    assert duration_ms(None) == "–"
    assert duration_ms(250_000) == "4 min 10 s"


def test_what_is_not_counted_further_says_so():
    assert capped(10_000, 10_000) == "10,000"
    assert capped(10_001, 10_000) == "10,000+"


def test_a_percentile_of_nothing_is_none():
    assert percentile({}, 0.5) is None


def test_a_percentile_is_the_first_time_that_enough_are_within():
    assert percentile({0: 1, 100: 1}, 0.5) == pytest.approx(1, rel=0.03)
    assert percentile({0: 1, 100: 1}, 0.51) == pytest.approx(1.05**100, rel=0.03)
    assert percentile({0: 19, 100: 1}, 0.95) == pytest.approx(1, rel=0.03)
