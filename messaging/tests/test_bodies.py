import pytest

from messaging.bodies import BEGINNING, SHOWN_IN_FULL, readable_body
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


def test_control_characters_of_a_body_are_written_out():
    assert readable_body(b"\x1b[31mred").text == "\\x1b[31mred"
