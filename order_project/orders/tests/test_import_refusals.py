"""What `manage.py import_orders` refuses: invalid orders, by their line, and files that hold no orders."""

import json
import os

import pytest
from django.db import ProgrammingError

from orders import imports, order_file
from orders.models import Order, OrderItem
from orders.tests.conftest import HEADER
from orders.tests.factories import body, item
from orders.tests.importing import (
    assert_nothing_was_written,
    customers,
    in_chunks_of,
    many,
    run,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_lines_that_do_not_hold_are_named_with_the_reason_and_the_others_are_placed(ndjson):
    done = run(
        ndjson(
            body(),
            body(items=[item(), item(price=0)]),
            "",
            '{"customer_id": ',
            "[]",
            '{"customer_id": "c", "customer_id": "d"}',
            body(customer_id="customer-9"),
            json.dumps(body()) + "\v",
        )
    )

    assert done.status == 1
    assert done.out == "Placed 2 orders; 5 orders refused.\n"
    assert done.err.splitlines() == [
        "line 2: /items/1/price: Ensure this value is greater than 0.",
        "line 4: The line is not JSON: Expecting value, at column 16.",
        "line 5: Invalid data. Expected a dictionary, but got list.",
        'line 6: The line has the key "customer_id" twice in one object.',
        f"line 8: The line is not JSON: Extra data, at column {len(json.dumps(body())) + 1}.",
    ]
    assert customers() == ["customer-1", "customer-9"]


def test_a_line_that_no_database_could_quote_holds_no_other_back(ndjson):
    done = run(ndjson(body(), r'{"a\u0000": "\ud800"}'))

    assert done.err == "line 2: /a\\u0000: Half of a surrogate pair is no character.\n"
    assert (done.status, done.out) == (1, "Placed 1 order; 1 order refused.\n")


def test_a_second_run_names_them_again(ndjson):
    file = ndjson(body(), {})
    first, again = run(file), run(file)

    assert again.err == first.err
    assert (again.status, again.out) == (1, "Placed 0 orders and found 1 order placed before; 1 order refused.\n")
    assert Order.objects.count() == 1


def test_rows_that_do_not_hold_are_named_with_their_own_line_and_refuse_their_whole_order(csv):
    done = run(
        csv(
            "1,c,beans,1,1",
            "2,c,beans,1,1",
            "2,c,beans,0,1",
            "3,c,beans,1,ten",
            "4,c,beans,007,1",
            "5,c,beans,1,1",
            "5,other,beans,1,1",
            "6,c,beans,1",
            "6,c,beans,1,1",
            "7,c,\udcff,1,1",
            ",c,beans,1,1",
            "8,c,beans,1,1.005",
            "9,c,beans,1,1",
        )
    )

    assert done.status == 1
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == [
        "line 4", "line 5", "line 6", "line 8", "line 9", "line 11", "line 12", "line 13",
    ]  # fmt: skip
    assert done.err.splitlines()[4] == "line 9: /items/0: The row has 4 columns, not 5."
    assert done.out == "Placed 2 orders; 8 orders refused.\n"
    assert OrderItem.objects.count() == 2


def test_an_order_that_may_have_lost_a_row_is_not_placed(csv):
    done = run(csv("1,c,beans,1,1", "2,c,beans,1,1", '2,c,"beans,1,1', "2,c,beans,1,1", "3,c,beans,1,1"))

    assert done.err.splitlines() == [
        "line 3: The row after it cannot be read; it may be one of this order.",
        "line 4: The row is no CSV.",
        "line 5: The row before it cannot be read; it may be one of this order.",
    ]
    assert done.out == "Placed 2 orders; 3 orders refused.\n"
    assert OrderItem.objects.count() == 2


def test_an_order_of_more_rows_than_are_taken_is_refused_once(csv, monkeypatch):
    done = run(csv(*["1,c,beans,1,1"] * 1500, "2,c,beans,1,1"))

    assert done.err == "line 2: /items: An order has at most 1000 items (MAX_ITEMS_PER_ORDER).\n"
    assert done.out == "Placed 1 order; 1 order refused.\n"
    assert OrderItem.objects.count() == 1


@pytest.mark.parametrize("name", ["orders.ndjson", "orders.csv"])
def test_a_line_larger_than_a_body_may_be_is_refused_alone(ndjson, csv, settings, name):
    settings.API_MAX_BODY_BYTES = 500
    if name.endswith("csv"):
        file = csv("1,c,beans,1,1", f"2,{'c' * 2000},beans,1,1", f"3,{'c' * 2000},beans,1,1")
    else:
        file = ndjson(body(), body(customer_id="c" * 2000), "x" * 2000)

    done = run(file)

    assert done.status == 1
    assert "line 3: " in done.err
    assert Order.objects.count() == 1


def test_only_the_first_twenty_are_listed_and_all_are_written_where_one_asks(ndjson, tmp_path):
    errors = tmp_path / "errors.ndjson"
    file = ndjson(*[{"customer_id": "c"}] * 25, body())

    done = run(file, "--errors", str(errors))

    assert len(done.err.splitlines()) == 21
    assert done.err.splitlines()[-1] == "And 5 more."
    written = [json.loads(line) for line in errors.read_text().splitlines()]
    assert len(written) == 25
    assert written[24] == {"line": 25, "pointer": "/items", "detail": "This field is required."}
    assert Order.objects.count() == 1


def test_the_errors_are_not_written_over_the_orders(ndjson):
    file = ndjson(*many(1))
    before = file.read_bytes()

    done = run(file, "--errors", str(file))

    assert done.status == 2
    assert file.read_bytes() == before
    assert_nothing_was_written()


def test_what_is_no_file_of_orders_is_said_in_a_sentence(tmp_path, ndjson, csv):
    binary = tmp_path / "binary.ndjson"
    binary.write_bytes(os.urandom(1000) + b"\0\n" * 1000)
    empty = ndjson(name="empty.ndjson")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    for file, options, said in (
        (tmp_path / "missing.csv", (), "missing.csv cannot be read: No such file or directory."),
        (tmp_path, ("--format", "csv"), "is no ordinary file."),
        (pipe, ("--format", "csv"), "is no ordinary file."),
        (binary, (), "is binary: orders come as text in UTF-8."),
        (binary, ("--format", "csv"), "is binary: orders come as text in UTF-8."),
        (empty, (), "is empty."),
        (ndjson(*many(1), name="orders.txt"), (), "use --format."),
        (ndjson(*many(1)), ("--format", "csv"), f"its first line must be {HEADER}."),
        (csv("1,c,beans,1,1"), ("--format", "ndjson"), "is CSV: use --format csv."),
        (
            csv("1;c;beans;1;1", header=HEADER.replace(",", ";"), name="excel.csv"),
            (),
            f"its first line must be {HEADER}.",
        ),
        (csv("1,c,beans,1,1", header=f"{HEADER},note", name="note.csv"), (), f"its first line must be {HEADER}."),
        (ndjson("[", "  {}", "]", name="array.ndjson"), (), "is one JSON array"),
        (ndjson(*many(1)), ("--errors", str(tmp_path / "no" / "folder")), "cannot be written"),
    ):
        done = run(file, *options)
        assert (done.status, done.out) == (2, ""), said
        assert said in done.err
        assert len(done.err.splitlines()) == 1
    assert_nothing_was_written()


def test_a_database_that_refuses_ends_with_2_and_says_how_far_it_has_come(ndjson, monkeypatch):
    def refuse(**_: object) -> None:
        raise ProgrammingError('relation "orders_order" does not exist')

    monkeypatch.setattr(imports, "place_batch", refuse)

    done = run(ndjson(*many(2)))

    assert done.status == 2
    assert 'The database refuses: relation "orders_order" does not exist. 0 orders of this file placed now' in done.err
    assert "The same command goes on from there." in done.err


def test_errors_that_find_no_room_end_with_2(ndjson):
    done = run(ndjson(*many(2), {}), "--errors", "/dev/full")

    assert done.status == 2
    assert "No space left on device" in done.err
    assert Order.objects.count() == 2


def test_where_chunks_end_is_no_matter_of_how_large_an_order_may_be(csv, settings, monkeypatch):
    in_chunks_of(monkeypatch, 2)
    file = csv("1,c,beans,1,1", f"1,c,{'b' * 2000},1,1", "2,c,beans,1,1", "3,c,beans,1,1", "4,c,beans,1,1")

    def borders() -> list[list[int]]:
        with order_file.OrderFile(str(file), None) as opened:
            return [[entry.line for entry in chunk.entries] for chunk in opened.chunks()]

    usual = borders()
    settings.API_MAX_BODY_BYTES = 500

    assert borders() == usual == [[2, 4], [5, 6]]


def test_a_row_that_is_longer_than_any_may_be_says_so(csv, monkeypatch):
    monkeypatch.setattr(order_file, "_MAX_LINE_BYTES", 500)

    done = run(csv("1,c,beans,1,1", f"2,{'c' * 2000},beans,1,1"))

    assert "line 3: The row is larger than the 500 bytes this service takes." in done.err
