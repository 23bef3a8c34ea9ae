import pytest

from desk.display import duration, one_line, printable, readable_size, table


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
