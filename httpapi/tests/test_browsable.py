import json
import re
import tracemalloc
from datetime import UTC, datetime
from html import unescape
from typing import Any

import pytest
from rest_framework import serializers

from httpapi import browsable
from httpapi.browsable import Control, Page, controls, curl, highlighted, lines_of, mistakes, part_of, path, table_of
from httpapi.fields import StrictCharField

BODY = """{
  "customer_id": "customer-1",
  "items": [
    {"product_id": "beans, 1 kg", "quantity": 1},
    {
      "product_id": "a \\"quoted\\" {thing}: [1]",
      "quantity": 0
    }
  ],
  "a/b~c": [[1,
    2]]
}"""


@pytest.mark.parametrize(
    ("pointer", "line"),
    [
        ("", 1),
        ("/customer_id", 2),
        ("/items", 3),
        ("/items/0", 4),
        ("/items/0/quantity", 4),
        ("/items/1", 5),
        ("/items/1/product_id", 6),
        ("/items/1/quantity", 7),
        ("/a~1b~0c/0/0", 10),
        ("/a~1b~0c/0/1", 11),
    ],
)
def test_it_knows_the_line_of_every_value(pointer, line):
    assert lines_of(BODY, [pointer]) == {pointer: line}


@pytest.mark.parametrize("text", ["", "]", "}}", "{", '{"a"', ",,:", '"', '{"a": }', "[,", "\\"])
def test_what_is_no_json_has_lines_of_no_use_but_fails_nowhere(text):
    assert isinstance(lines_of(text, ["/a"]), dict)


@pytest.mark.parametrize(
    ("pointer", "said"),
    [
        ("", "the body"),
        ("?status", "Status"),
        ("?created_after", "Created after"),
        ("/customer_id", "customer_id"),
        ("/items/0/quantity", "items › 1st › quantity"),
        ("/orders/11/items/1", "orders › 12th › items › 2nd"),
        ("/orders/110/items/22", "orders › 111th › items › 23rd"),
        ("/a~1b/~01", "a/b › ~1"),
    ],
)
def test_a_pointer_is_a_path_that_people_read(pointer, said):
    assert path(pointer) == said


def test_a_mistake_has_its_line_or_its_parameter():
    in_body, of_query = mistakes(
        [{"pointer": "/items/1/quantity", "detail": "No."}, {"pointer": "?status", "detail": "No."}], BODY
    )
    assert (in_body.line, in_body.parameter) == (7, "")
    assert (of_query.line, of_query.parameter) == (None, "status")


@pytest.mark.parametrize(
    ("pointer", "sent"),
    [
        ("/customer_id", json.dumps({"k" * 20_000: [0] * 5000})),
        ("?page_size", "[" * 5000),
    ],
)
def test_the_lines_of_mistakes_take_little_more_memory_than_what_was_sent(pointer, sent):
    tracemalloc.start()
    try:
        mistakes([{"pointer": pointer, "detail": "No."}], sent)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 5_000_000


def test_only_the_first_of_very_many_mistakes_are_shown():
    many = [{"pointer": f"/items/{number}", "detail": "No."} for number in range(browsable.MAX_SHOWN_ERRORS + 1)]
    assert len(mistakes(many, None)) == browsable.MAX_SHOWN_ERRORS


def test_json_is_marked_and_stays_what_it_was():
    text = '{\n  "a<b": "x</span>",\n  "n": [-1.5e3, true, null],\n  "q": "say \\"hi\\": 1"\n}'
    marked = highlighted(text, own="http://here/")
    assert unescape(re.sub(r"</?(span|a)[^>]*>", "", marked)) == text
    assert '<span class="key">&quot;a&lt;b&quot;</span>:' in marked
    assert '<span class="number">-1.5e3</span>' in marked
    assert '<span class="word">null</span>' in marked
    assert "x</span>" not in marked


def test_of_a_very_long_text_only_the_beginning_is_marked():
    text = json.dumps(["<b>"] * browsable.MAX_MARKED)
    marked = highlighted(text, own="http://here/")
    assert marked.count("<span") < browsable.MAX_MARKED / len('"<b>"')
    assert unescape(re.sub(r"</?span[^>]*>", "", marked)) == text


def test_only_addresses_of_this_service_become_links():
    text = '["http://here/orders?a=1&b=2", "http://there/", "javascript:alert(1)"]'
    marked = highlighted(text, own="http://here/")
    assert marked.count("<a ") == 1
    assert 'href="http://here/orders?a=1&amp;b=2"' in marked


def test_values_are_shown_so_that_people_can_read_them():
    part = part_of(
        {
            "customer_id": "<b>ann</b>",
            "created_at": "2026-11-22T12:00:00.250000Z",
            "error_message": None,
            "urgent": True,
            "total": 7.5,
            "detail": {"lines": 2},
        },
        Page(cells={"total": browsable.money}),
    )
    shown = {fact.label: str(fact.html) for fact in part.facts}
    assert shown["Customer ID"] == "<b>ann</b>"  # plain text: the template escapes it
    assert ">2026-11-22 12:00:00</time>" in shown["Created at"]
    assert "–" in shown["Error message"]
    assert (shown["Urgent"], shown["Total"]) == ("yes", "7.50")
    (detail,) = part.parts
    assert [fact.html for fact in detail.facts] == ["2"]


def test_lists_and_what_is_keyed_by_name_become_tables():
    part = part_of({"items": [{"a": 1}, {"b": None}], "checks": {"database": {"status": "ok"}}}, Page())
    items, checks = part.tables
    assert [column.label for column in items.columns] == ["A", "B"]
    assert [[cell.number for cell in row] for row in items.rows] == [[True, False], [False, False]]
    assert [[cell.html for cell in row] for row in checks.rows] == [["database", "ok"]]


def test_a_view_chooses_the_columns():
    table = table_of("results", [{"a": 1, "b": 2}], Page(columns={"results": ["b"]}))
    assert [column.label for column in table.columns] == ["B"]


class Filters(serializers.Serializer[Any]):
    status = serializers.ChoiceField(choices=["open", "closed"], required=False)
    since = serializers.DateTimeField(required=False, help_text="Later than this (ISO 8601).")
    limit = serializers.IntegerField(min_value=1, max_value=9, required=False)
    name = StrictCharField(max_length=20, required=False)


def shown(given: dict[str, str], errors: dict[str, str] | None = None) -> dict[str, Control]:
    return {control.name: control for control in controls(Filters, given, errors or {})}


def test_every_filter_is_a_control_of_its_kind():
    found = shown({})
    assert {name: control.kind for name, control in found.items()} == {
        "status": "select", "since": "datetime-local", "limit": "number", "name": "text",
    }  # fmt: skip
    assert found["status"].choices == [("", "any"), ("open", "open"), ("closed", "closed")]
    assert (found["since"].label, found["since"].help) == ("Since (UTC)", "Later than this.")
    assert found["limit"].attributes == 'min="1" max="9"'
    assert found["name"].attributes == 'maxlength="20"'


@pytest.mark.parametrize(
    ("given", "kind", "value"),
    [
        ("2026-11-22T12:00", "datetime-local", "2026-11-22T12:00:00"),
        ("2026-11-22T12:00:01+02:00", "datetime-local", "2026-11-22T10:00:01"),
        ("2026-11-22T12:00:00.5Z", "text", "2026-11-22T12:00:00.5Z"),
        ("yesterday", "text", "yesterday"),
        ("2026-99-99T00:00", "text", "2026-99-99T00:00"),
    ],
)
def test_a_time_is_in_a_control_that_holds_all_of_it(given, kind, value):
    control = shown({"since": given})["since"]
    assert (control.kind, control.value) == (kind, value)


def test_a_control_keeps_what_is_wrong_and_says_why():
    control = shown({"status": "x"}, {"?status": "No such status."})["status"]
    assert (control.value, control.error) == ("x", "No such status.")
    assert ("x", "x") in control.choices


def test_a_time_is_one_in_utc():
    assert browsable.moment("2026-11-22T12:00:00+02:00") == datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert browsable.moment("2026-11-22 and more") is None
    assert browsable.moment(5) is None


def test_the_command_can_be_pasted_into_a_shell():
    assert curl("http://here/a?b=1&c=2", headers={"X-A": "it's"}, body="{}") == (
        "curl -i 'http://here/a?b=1&c=2' \\\n  -H 'X-A: it'\"'\"'s' \\\n  -d '{}'"
    )
