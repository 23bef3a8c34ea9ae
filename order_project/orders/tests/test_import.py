"""manage.py import_orders: every order of a file once, however often it is run and wherever it was cut off."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from io import StringIO
from pathlib import Path
from threading import Barrier, Event
from typing import Any, NamedTuple

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, OperationalError, connection

from messaging.models import OutboxMessage
from messaging.tests.conftest import eventually
from observability import context
from orders import batches, imports
from orders.models import Order, OrderBatch, OrderItem
from orders.services import IdempotencyKeyInUse, TakesNoOrders
from orders.tests.factories import body, item, outbox_without_room

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2]
HEADER = "order,customer_id,product_id,quantity,price"


class Done(NamedTuple):
    status: int
    out: str
    err: str


def run(file: Path, *options: str) -> Done:
    """Runs the command to its end."""
    out, err = StringIO(), StringIO()
    status = 0
    try:
        call_command("import_orders", str(file), *options, stdout=out, stderr=err)
    except SystemExit as end:
        status = int(end.code or 0)
    except CommandError as error:
        return Done(error.returncode, out.getvalue(), err.getvalue() + str(error))
    return Done(status, out.getvalue(), err.getvalue())


@pytest.fixture
def ndjson(tmp_path: Path) -> Callable[..., Path]:
    def write(*lines: Any, name: str = "orders.ndjson") -> Path:
        """A file with these lines: orders, or texts as they stand."""
        path = tmp_path / name
        path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
        return path

    return write


@pytest.fixture
def csv(tmp_path: Path) -> Callable[..., Path]:
    def write(*rows: str, header: str = HEADER, name: str = "orders.csv") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{row}\n" for row in (header, *rows)), encoding="utf-8", errors="surrogateescape")
        return path

    return write


def many(count: int) -> list[dict[str, Any]]:
    return [body(customer_id=f"customer-{number}") for number in range(count)]


def customers() -> list[str]:
    return list(Order.objects.order_by("id").values_list("customer_id", flat=True))


def sessions_of_others() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        return int(cursor.fetchone()[0])


def assert_nothing_was_written() -> None:
    for model in (Order, OrderItem, OrderBatch, OutboxMessage):
        assert not model.objects.exists()


def in_chunks_of(monkeypatch: pytest.MonkeyPatch, orders: int, *, at_once: int = 4) -> None:
    monkeypatch.setattr(imports, "MAX_ORDERS_PER_BATCH", orders)
    monkeypatch.setattr(imports, "_AT_ONCE", at_once)


def test_every_line_is_an_order_that_is_kept_and_announced(ndjson):
    done = run(ndjson(*many(3)))

    assert done == (0, "Placed 3 orders.\n", "")
    assert customers() == ["customer-0", "customer-1", "customer-2"]
    assert OrderItem.objects.count() == 6
    assert OutboxMessage.objects.count() == 3
    (correlation_id,) = set(Order.objects.values_list("correlation_id", flat=True))
    assert set(OutboxMessage.objects.values_list("correlation_id", flat=True)) == {correlation_id} != {""}


def test_csv_and_ndjson_give_the_same_orders(ndjson, csv):
    expected = [
        body(customer_id="Zoë, 顧客", items=[item(product_id='a "b"', price=18.5, quantity=2), item(price=9)]),
        body(customer_id="customer-2", items=[item(price=0.01)]),
    ]
    by_ndjson = ndjson(*expected)
    by_csv = csv(
        '1,"Zoë, 顧客","a ""b""",2,18.5', '1,"Zoë, 顧客",beans,1,9', "", "2,customer-2,beans, 1 ,1e-2"
    )  # fmt: skip

    assert run(by_ndjson).status == run(by_csv).status == 0

    def read(order: Order) -> Any:
        lines = order.items.values_list("position", "product_id", "quantity", "price")
        return order.customer_id, order.total_amount, list(lines)

    one, two, *of_csv = map(read, Order.objects.order_by("id"))
    assert [one, two] == of_csv
    assert one[1] == Decimal("46.00")


def test_the_columns_of_a_csv_may_stand_in_any_order_after_a_byte_order_mark(csv):
    file = csv("9.00,beans,customer-1,A-1,2", header="\ufeffprice,product_id,customer_id,order,quantity")

    assert run(file).status == 0
    assert Order.objects.get().total_amount == 18


def test_only_consecutive_rows_are_one_order(csv):
    run(csv("1,c,beans,1,1", "1,c,filters,1,1", "2,c,beans,1,1", "1,c,beans,1,1"))

    assert [order.items.count() for order in Order.objects.order_by("id")] == [2, 1, 1]


# --- Once


def test_a_second_run_places_nothing_twice(ndjson):
    file = ndjson(*many(3))
    run(file)

    again = run(file)

    assert again == (0, "Placed 0 orders and found 3 orders placed before.\n", "")
    assert Order.objects.count() == OutboxMessage.objects.count() == 3


def test_the_same_content_under_another_name_is_the_same_file(ndjson):
    run(ndjson(*many(3)))

    run(ndjson(*many(3), name="copy.jsonl"))

    assert Order.objects.count() == 3


def test_a_changed_file_is_another_file(ndjson):
    run(ndjson(*many(3)))

    done = run(ndjson(*many(4)))

    assert done.out == "Placed 4 orders.\n"
    assert Order.objects.count() == 7


def test_what_was_cut_off_goes_on_where_it_stopped(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 2, at_once=1)
    file = ndjson(*many(7))
    place_batch, calls = batches.place_batch, iter(range(10))

    def interrupted(**given: Any) -> Any:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return place_batch(**given)

    monkeypatch.setattr(imports, "place_batch", interrupted)
    stopped = run(file)
    assert stopped.status == 130
    assert stopped.err == ("Stopped. 4 orders of this file placed now, 0 before. The same command goes on from there.")
    assert len(customers()) == 4

    monkeypatch.setattr(imports, "place_batch", place_batch)
    assert run(file).out == "Placed 3 orders and found 4 orders placed before.\n"
    assert customers() == [f"customer-{number}" for number in range(7)]
    assert OutboxMessage.objects.count() == 7


def test_killed_between_a_commit_and_the_next_line_it_has_placed_whole_chunks_alone(ndjson):
    file = ndjson(*many(2500))
    database, _, _ = os.environ["DATABASE_URL"].rpartition("/")
    env = os.environ | {"DATABASE_URL": f"{database}/{connection.settings_dict['NAME']}"}
    killed = subprocess.run(
        [sys.executable, "manage.py", "import_orders", str(file)],
        cwd=FOLDER,
        env=env | {"FAILPOINT": "orders.place.committed@2"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # What PostgreSQL has begun for it may still be committed.
    eventually(lambda: not sessions_of_others())
    before = Order.objects.count()
    assert before in (1500, 2000, 2500)  # two chunks or all three, of which the last is half as long
    assert OutboxMessage.objects.count() == before

    assert run(file).out == f"Placed {2500 - before:,} orders and found {before:,} orders placed before.\n"
    assert sorted(customers()) == sorted(f"customer-{number}" for number in range(2500))
    assert OrderItem.objects.count() == 5000
    assert OutboxMessage.objects.count() == 2500


def test_several_chunks_are_placed_at_once_and_each_order_once(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 2)
    file = ndjson(*many(41))
    together, calls, place_batch = Barrier(4, timeout=30), iter(range(100)), batches.place_batch
    ids: set[str] = set()

    def four_at_a_time(**given: Any) -> Any:
        ids.add(context.current_correlation_id())
        if next(calls) < 4:
            together.wait()
        return place_batch(**given)

    monkeypatch.setattr(imports, "place_batch", four_at_a_time)

    assert run(file) == (0, "Placed 41 orders.\n", "")
    assert sorted(customers()) == sorted(f"customer-{number}" for number in range(41))
    assert ids == set(Order.objects.values_list("correlation_id", flat=True))
    assert len(ids) == 1


def test_when_a_chunk_fails_the_others_in_hand_are_placed_and_no_more_is_read(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 1)
    file = ndjson(*many(100))
    stop, together, place_batch = Event(), Barrier(4, timeout=30), batches.place_batch

    def one_fails(**given: Any) -> Any:
        if together.wait() == 0:
            raise OperationalError("the connection is lost")
        assert stop.wait(30)
        return place_batch(**given)

    with monkeypatch.context() as patched:
        patched.setattr(imports, "Event", lambda: stop)
        patched.setattr(imports, "place_batch", one_fails)
        done = run(file)

    assert done.status == 2
    assert "3 orders of this file placed now, 0 before." in done.err
    assert Order.objects.count() == 3
    assert run(file).out == "Placed 97 orders and found 3 orders placed before.\n"


def test_a_stop_ends_the_waiting_too(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 1)
    together, waiting, ended = Barrier(4, timeout=30), Event(), []

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.set()
            ended.append(super().wait(timeout))
            return ended[-1]

    def refused_or_stopped(**given: Any) -> Any:
        if together.wait() == 0:
            assert waiting.wait(30)
            raise KeyboardInterrupt
        raise TakesNoOrders(300)

    monkeypatch.setattr(imports, "Event", Stop)
    monkeypatch.setattr(imports, "place_batch", refused_or_stopped)

    done = run(ndjson(*many(100)))

    assert done.status == 130
    assert done.err.count("Waiting 10 s") == 1
    assert ended == [True] * 3  # by the stop, not by the clock
    assert_nothing_was_written()


def test_a_chunk_whose_announcements_cannot_be_written_leaves_nothing(ndjson):
    file = ndjson(*many(3))

    with outbox_without_room(), pytest.raises(IntegrityError, match="no_room"):
        run(file)

    assert_nothing_was_written()
    assert run(file).status == 0
    assert Order.objects.count() == 3


def test_a_database_that_goes_away_is_told_in_a_sentence_and_the_next_run_goes_on(ndjson, monkeypatch):
    file = ndjson(*many(1))

    def away(**given: Any) -> Any:
        raise OperationalError("the connection is lost\nand more")

    with monkeypatch.context() as patched:
        patched.setattr(imports, "place_batch", away)
        done = run(file)

    assert done.status == 2
    assert "The database is not available: the connection is lost." in done.err
    assert "goes on from there" in done.err
    assert run(file).status == 0


@pytest.mark.parametrize(
    ("reason", "said"), [(IdempotencyKeyInUse(), "another process"), (TakesNoOrders(1), "cannot be passed on")]
)
def test_it_waits_while_its_orders_are_not_taken(ndjson, monkeypatch, reason, said):
    place_batch, refusals = batches.place_batch, [reason]

    def once_refused(**given: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return place_batch(**given)

    monkeypatch.setattr(imports, "place_batch", once_refused)

    done = run(ndjson(*many(2)))

    assert (done.status, done.out) == (0, "Placed 2 orders.\n")
    assert said in done.err
    assert done.err.count("Waiting 1 s") == 1
    assert Order.objects.count() == 2


def test_a_file_that_is_changed_meanwhile_is_not_imported_further(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 2, at_once=1)
    file = ndjson(*many(6))
    place_batch = batches.place_batch

    def append(**given: Any) -> Any:
        with file.open("a") as more:
            more.write(json.dumps(body()) + "\n")
        return place_batch(**given)

    monkeypatch.setattr(imports, "place_batch", append)

    done = run(file)

    assert done.status == 2
    assert "is being changed" in done.err
    assert customers() == ["customer-0", "customer-1"]


def test_lines_that_were_judged_by_other_limits_are_not_placed_a_second_time(ndjson):
    file = ndjson(*many(2))
    run(file)
    OrderBatch.objects.update(request_digest=bytes(32))  # as if one of them had been refused then

    done = run(file)

    assert done.status == 2
    assert "The lines from 1 on were imported before" in done.err
    assert Order.objects.count() == 2


# --- What does not hold


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
        )
    )

    assert done.status == 1
    assert done.out == "Placed 2 orders; 4 orders refused.\n"
    assert done.err.splitlines() == [
        "line 2: /items/1/price: Ensure this value is greater than 0.",
        "line 4: The line is not JSON: Expecting value, at column 16.",
        "line 5: Invalid data. Expected a dictionary, but got list.",
        'line 6: The line has the key "customer_id" twice in one object.',
    ]
    assert customers() == ["customer-1", "customer-9"]


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
    assert Order.objects.count() <= 1


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


# --- Options


def test_a_dry_run_only_checks(ndjson):
    done = run(ndjson(*many(2), {}), "--dry-run")

    assert done.status == 1
    assert done.out == "2 orders to place; 1 order refused. Nothing was placed.\n"
    assert "line 3: /items: This field is required." in done.err
    assert_nothing_was_written()


def test_machines_get_one_json_object(ndjson):
    file = ndjson(*many(2), {})
    run(ndjson(*many(2), {}), "--json")

    done = run(file, "--json")

    said = json.loads(done.out)
    assert len(said.pop("sha256")) == 64
    assert said.pop("correlation_id")
    assert said == {
        "file": str(file),
        "dry_run": False,
        "placed": 0,
        "placed_before": 2,
        "valid": 2,
        "refused": 1,
    }
    assert done.status == 1


def test_the_format_can_be_said(ndjson, csv):
    assert run(ndjson(*many(1), name="orders.txt"), "--format", "ndjson").status == 0
    assert run(csv("1,c,beans,1,1", name="more.txt"), "--format", "csv").status == 0
    assert Order.objects.count() == 2


# --- Files that are none


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
        (ndjson(*many(1), name="orders.txt"), (), "say its --format."),
        (ndjson(*many(1)), ("--format", "csv"), f"its first line must be {HEADER}."),
        (csv("1,c,beans,1,1"), ("--format", "ndjson"), "is CSV: say --format csv."),
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
