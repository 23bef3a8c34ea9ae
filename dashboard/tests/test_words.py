import pytest

from dashboard.histogram import percentile
from dashboard.words import age, capped, duration, number_of


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, "–"), (0.0421, "0.042 ms"), (9.4, "9.4 ms"), (12.2, "12 ms"), (999.7, "1 s"), (1340, "1.3 s"),
        (59_990, "1 min"), (250_000, "4 min 10 s"),
    ],
)  # fmt: skip
def test_durations_are_as_exact_as_anybody_reads_them(milliseconds, text):
    assert duration(milliseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (250, "4 min 10 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_ages_have_two_units(seconds, text):
    assert age(seconds) == text


def test_what_is_not_counted_further_says_so():
    assert capped(10_000, 10_000) == "10,000"
    assert capped(10_001, 10_000) == "10,000+"
    assert number_of(1, "order") == "1 order"
    assert number_of(1234, "order") == "1,234 orders"


def test_a_percentile_of_nothing_is_none():
    assert percentile({}, 0.5) is None


def test_a_percentile_is_the_first_time_that_enough_are_within():
    assert percentile({0: 1, 100: 1}, 0.5) == pytest.approx(1, rel=0.03)
    assert percentile({0: 1, 100: 1}, 0.51) == pytest.approx(1.05**100, rel=0.03)
    assert percentile({0: 19, 100: 1}, 0.95) == pytest.approx(1, rel=0.03)
