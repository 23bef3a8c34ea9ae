from datetime import UTC, datetime

import pytest
from django.utils import timezone

from desk.display import (
    duration,
    facts,
    number_of,
    one_line,
    printable,
    readable_size,
    table,
    to_the_millisecond,
    to_the_second,
)


def test_control_characters_cannot_steer_a_terminal():
    assert printable("a\x1b[2Jb\r\x00\u202e\tc\n") == "a\\x1b[2Jb\\r\\x00\\u202e\tc\n"


def test_one_line_is_one_line():
    assert one_line("a\n  b", width=10) == "a b"
    assert one_line("x" * 20, width=10) == "x" * 9 + "…"


def test_sizes_are_readable():
    assert [readable_size(size) for size in (1, 999, 1500, 16_000_000)] == ["1 byte", "999 bytes", "1.5 kB", "16.0 MB"]


def test_a_table_has_columns_and_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "12")
    assert table(("ID", "TEXT"), [("1", "short"), ("1000", "much too long")]) == [
        "ID    TEXT",
        "1     short",
        "1000  much t",
    ]


@pytest.mark.parametrize(
    ("seconds", "spelt"),
    [
        (-1, "0 ms"), (0, "0 ms"), (0.0000421, "0.042 ms"), (0.0094, "9.4 ms"), (0.0122, "12 ms"), (0.35, "350 ms"),
        (0.9997, "1.00 s"), (9.876, "9.88 s"), (9.999, "10 s"), (12.3, "12 s"), (59.99, "1 min"), (200, "3 min 20 s"),
        (3600, "1 h"), (7500, "2 h 5 min"), (86_400, "1 d"), (273_600, "3 d 4 h"),
    ],
)  # fmt: skip
def test_a_duration_is_spelt_as_exactly_as_people_want_it(seconds, spelt):
    assert duration(seconds) == spelt


def test_numbers_are_said_with_what_they_count():
    assert [number_of(number, "order") for number in (0, 1, 1234)] == ["0 orders", "1 order", "1,234 orders"]


@timezone.override("Asia/Kolkata")
def test_times_are_local():
    time = datetime(2024, 5, 1, 23, 30, 59, 123999, tzinfo=UTC)
    assert to_the_second(time) == "2024-05-02 05:00:59"
    assert to_the_millisecond(time) == "2024-05-02 05:00:59.123"


def test_facts_are_below_each_other():
    assert facts({"id": 1, "type": "a\x1bb"}) == ["id    1", "type  a\\x1bb"]
