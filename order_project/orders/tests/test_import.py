"""manage.py import_orders: every order of a file once, however often it is run and wherever it was cut off."""

import json
import math
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from threading import Barrier, BrokenBarrierError, Event, Semaphore
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from messaging.models import OutboxMessage, Process
from messaging.tests.conftest import eventually
from observability import context
from orders import batches, imports
from orders.models import Order, OrderBatch, OrderItem
from orders.order_file import OrderFile
from orders.services import IdempotencyKeyInUse, TakesNoOrders
from orders.tests.factories import body, item, outbox_without_room
from orders.tests.importing import (
    assert_nothing_was_written,
    customers,
    in_chunks_of,
    many,
    run,
    sessions_of_others,
)

pytestmark = pytest.mark.django_db(transaction=True)

FOLDER = Path(__file__).resolve().parents[2]


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
    # PostgreSQL may still commit what it had begun for that process.
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


def test_it_tells_of_one_chunk_at_a_time(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 1)
    together, two, place_batch = Barrier(4, timeout=30), Barrier(2), batches.place_batch

    def placed_together(**given: Any) -> Any:
        placed = place_batch(**given)
        together.wait()
        return placed

    def meet_another(*_: Any) -> None:
        with suppress(BrokenBarrierError):
            two.wait(0.2)

    monkeypatch.setattr(imports, "place_batch", placed_together)
    with OrderFile(str(ndjson(*many(4))), None) as file:
        imports.place_all(file, file.chunks(), on_placed=meet_another, on_wait=meet_another)

    assert len(customers()) == 4
    assert two.broken, "two were told of at once"


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


def test_after_ctrl_c_what_is_in_hand_is_placed_and_no_more_is_read(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 1)
    stop, in_hand, place_batch = Event(), Barrier(5, timeout=30), batches.place_batch

    def held(**given: Any) -> Any:
        in_hand.wait()
        assert stop.wait(30)
        return place_batch(**given)

    def interrupted(_: Any) -> Any:
        """As Ctrl-C does to the thread that waits for the others."""
        in_hand.wait()
        raise KeyboardInterrupt

    monkeypatch.setattr(imports, "Event", lambda: stop)
    monkeypatch.setattr(imports, "place_batch", held)
    monkeypatch.setattr(imports, "as_completed", interrupted)

    done = run(ndjson(*many(100)))

    assert done.status == 130
    assert "4 orders of this file placed now, 0 before." in done.err
    assert Order.objects.count() == 4


def test_a_stop_ends_the_waiting_too(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 1)
    together, waiting, asked, ended = Barrier(4, timeout=30), Semaphore(0), [], []

    class Stop(Event):
        def wait(self, timeout: float | None = None) -> bool:
            waiting.release()
            ended.append(super().wait(timeout))
            return ended[-1]

    def refused_or_stopped(**given: Any) -> Any:
        asked.append(given)
        if together.wait() == 0:
            assert waiting.acquire(timeout=30)
            assert not waiting.acquire(timeout=0.2), "two wait at once, and say so"
            raise KeyboardInterrupt
        raise TakesNoOrders(300)

    monkeypatch.setattr(imports, "Event", Stop)
    monkeypatch.setattr(imports, "place_batch", refused_or_stopped)

    done = run(ndjson(*many(100)))

    assert done.status == 130
    assert done.err.count("Waiting 10 s") == 1
    assert ended == [True] * 3  # by the stop, not because their time was over
    assert len(asked) == 4, "nobody asks once more"
    assert_nothing_was_written()


def test_a_chunk_whose_announcements_cannot_be_written_leaves_nothing(ndjson):
    file = ndjson(*many(3))

    with outbox_without_room():
        done = run(file)

    assert done.status == 2
    assert "no_room" in done.err
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


@pytest.mark.parametrize(
    ("age", "rate"), [(4000, None), (0, 1 / 4000)], ids=["it is old already", "it will be as old as that"]
)
def test_it_waits_before_shops_would_be_refused_because_of_it(ndjson, client, monkeypatch, settings, age, rate):
    settings.MESSAGING = settings.MESSAGING | {"BACKPRESSURE": "refuse", "OUTBOX_MAX_AGE": 6000}
    monkeypatch.setattr("messaging.backpressure._looked_at", -math.inf)
    known = ndjson(*many(1))
    assert run(known).status == 0
    OutboxMessage.objects.update(available_at=timezone.now() - timedelta(seconds=age))
    Process.objects.create(name="relay a:1", role="relay", rate=rate)
    found = []

    class Relays(Event):
        """Relays that catch up while the import waits."""

        def wait(self, timeout: float | None = None) -> bool:
            found.append(client.post("/orders", body(), content_type="application/json").status_code)
            found.append(Order.objects.count())
            OutboxMessage.objects.all().delete()
            Process.objects.update(rate=1000)
            return False

    monkeypatch.setattr(imports, "Event", Relays)

    assert run(known).out == "Placed 0 orders and found 1 order placed before.\n"
    assert found == [], "what is known takes no waiting"
    done = run(ndjson(*many(3), name="other.ndjson"))

    assert (done.status, done.out) == (0, "Placed 3 orders.\n")
    assert done.err.count("Waiting 1 s: what was placed before has to be passed on first.") == 1
    assert found == [201, 2], "the shop's order is taken, none of the file is"


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


def test_orders_judged_by_other_limits_are_not_placed_a_second_time_and_hold_up_no_others(ndjson, monkeypatch):
    in_chunks_of(monkeypatch, 2, at_once=1)
    file = ndjson(*many(6))
    run(file)
    first = OrderBatch.objects.earliest("id")
    OrderBatch.objects.filter(id=first.id).update(request_digest=bytes(32))  # as if one of them had been refused then
    OrderBatch.objects.exclude(id=first.id).delete()
    Order.objects.exclude(customer_id__in=["customer-0", "customer-1"]).delete()

    done = run(file)

    assert done.status == 2
    assert "The orders of lines 1 to 2 were imported before" in done.err
    assert "4 orders of this file placed now" in done.err
    assert customers() == [f"customer-{number}" for number in range(6)]


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
