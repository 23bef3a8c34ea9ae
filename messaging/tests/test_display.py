import pytest

from messaging.display import BEGINNING, SHOWN_IN_FULL, one_line, printable, readable_body, readable_size, spell, table
from messaging.editing import editable


def test_json_is_indented_and_otherwise_shown_as_it_was_sent():
    body = readable_body(b'{"price":1.10,"price":1e400,"big":123456789012345678901234567890}')
    assert body.kind == "JSON"
    assert body.text == '{\n  "price": 1.10,\n  "price": 1e400,\n  "big": 123456789012345678901234567890\n}'
    assert not body.is_cut


def test_what_is_no_json_is_text():
    assert readable_body("größer, not json\n".encode()).kind == "text"
    assert readable_body(b"[NaN]").text == "[NaN]"


def test_nesting_too_deep_to_indent_is_text():
    body = readable_body(b"[" * 100_000)
    assert body.kind == "text"
    assert body.text == "[" * 100_000


@pytest.mark.parametrize("before", [b"", b'"]]]]]]]]]]]]", ' * 100, b'"\\"]]]]", ' * 300], ids=["", "text", "quote"])
def test_deep_nesting_does_not_make_a_page_of_blanks(before):
    sent = b"[" * 900 + before + b"1," * 1000 + b"1" + b"]" * 900
    for text in (readable_body(sent).text, editable(sent)):
        assert text is not None
        assert len(text) < 2 * len(sent)
        assert text.replace(" ", "") == sent.decode().replace(" ", "")
    assert readable_body(sent).kind == "JSON"


def test_a_text_that_does_not_end_is_looked_through_once():
    """Looked through from each of its quotes it would take minutes."""
    body = readable_body(b'"' + b'\\"' * 100_000)
    assert (body.kind, body.size) == ("text", 200_001)


def test_brackets_in_texts_are_no_nesting():
    assert readable_body(b'{"text": "%s"}' % (b"[{" * 100)).text.startswith("{\n  ")


def test_what_is_no_text_is_a_hex_dump():
    body = readable_body(b"\xff\x00abc")
    assert body.kind == "hex"
    assert body.text.split() == ["00000000", "ff", "00", "61", "62", "63", "..abc"]


def test_nul_is_no_text():
    assert readable_body(b"a\x00b").kind == "hex"


def test_no_body_is_said_to_be_none():
    body = readable_body(b"")
    assert (body.kind, body.text, body.size) == ("empty", "", 0)


def test_of_a_large_body_the_beginning_is_shown():
    body = readable_body(b"x" * (SHOWN_IN_FULL + 1))
    assert (body.kind, body.text, body.size, body.is_cut) == ("text", "x" * BEGINNING, SHOWN_IN_FULL + 1, True)


def test_a_cut_through_a_character_does_not_make_text_binary():
    body = readable_body(("x" + "é" * SHOWN_IN_FULL).encode())
    assert body.kind == "text"
    assert body.text == "x" + "é" * ((BEGINNING - 1) // 2)


def test_of_a_large_binary_body_the_beginning_is_shown():
    body = readable_body(b"\xff" * (BEGINNING + 16))
    assert (body.kind, len(body.text.splitlines()), body.is_cut) == ("hex", BEGINNING // 16, True)


def test_control_characters_cannot_steer_a_terminal():
    assert printable("a\x1b[2Jb\r\x00\u202e\tc\n") == "a\\x1b[2Jb\\r\\x00\\u202e\tc\n"
    assert readable_body(b"\x1b[31mred").text == "\\x1b[31mred"


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
    assert spell(seconds) == spelt
