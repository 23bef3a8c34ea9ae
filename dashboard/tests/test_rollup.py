"""The last hour, counted a little at a time."""

from collections import Counter
from datetime import datetime, timedelta

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dashboard import rollup
from dashboard.histogram import percentile
from dashboard.models import PipelineSlot
from dashboard.tests.conftest import NOW
from dashboard.tests.pipelines import PIPELINE


def look(now: datetime = NOW) -> rollup.Hour:
    rollup.refresh(PIPELINE, now=now)
    return rollup.read(now=now)


def look_until_counted(now: datetime = NOW) -> rollup.Hour:
    for _ in range(100):
        hour = look(now)
        if hour.is_counted:
            return hour
    pytest.fail("the hour is never counted")


def look_often(now: datetime) -> rollup.Hour:
    """Looks like a page that stays open: after some looks all that is due is counted."""
    for _ in range(20):
        hour = look(now)
    return hour


@pytest.fixture
def patient(monkeypatch):
    """Keeps a look from ending early because this machine is slow."""
    monkeypatch.setattr(rollup, "BUDGET", 1000.0)


def counts_of(hour: rollup.Hour, at: datetime) -> Counter[str]:
    (minute,) = (m for m in hour.minutes if m.start == at.replace(second=0, microsecond=0))
    return minute.counts


def test_rows_are_counted_by_the_minute_they_began_in_and_by_status(make):
    make("done", at=NOW, number=3)
    make("broken", at=NOW - timedelta(minutes=5))
    make("waiting", at=NOW - timedelta(minutes=5), number=2)

    hour = look_until_counted()

    assert len(hour.minutes) == 60
    assert counts_of(hour, NOW) == {"done": 3}
    assert counts_of(hour, NOW - timedelta(minutes=5)) == {"broken": 1, "waiting": 2}
    assert sum(minute.total for minute in hour.minutes) == 6


def test_what_is_older_than_the_hour_or_in_the_future_is_not_counted(make):
    make(at=NOW - timedelta(minutes=60))
    make(at=NOW + timedelta(minutes=1))
    make(at=NOW.replace(second=0) - timedelta(minutes=59))

    hour = look_until_counted()

    assert sum(minute.total for minute in hour.minutes) == 1
    assert hour.minutes[0].total == 1


def test_the_edges_of_a_slot_belong_to_one_slot_each(make):
    edge = NOW.replace(second=0, microsecond=0)
    make(at=edge)
    make(at=edge - timedelta(microseconds=1))

    hour = look_until_counted()

    assert counts_of(hour, edge).total() == 1
    assert counts_of(hour, edge - timedelta(minutes=1)).total() == 1


def test_percentiles_of_an_hour_come_from_its_parts(make):
    for second in range(1, 101):
        make(at=NOW - timedelta(seconds=30 * second), took=float(second))

    hour = look_until_counted()
    took = sum((minute.took for minute in hour.minutes), Counter())

    assert percentile(took, 0.5) == pytest.approx(50_000, rel=0.03)
    assert percentile(took, 0.95) == pytest.approx(95_000, rel=0.03)


def test_rows_without_a_time_are_in_no_percentile(make):
    make("waiting", at=NOW, number=5)
    make("done", at=NOW, took=2.0, waited=0.5)

    (minute,) = (minute for minute in look_until_counted().minutes if minute.total)

    assert minute.took.total() == 1
    assert percentile(minute.took, 0.95) == pytest.approx(2000, rel=0.03)
    assert percentile(minute.waited, 0.5) == pytest.approx(500, rel=0.03)


def test_times_below_zero_and_of_nothing_are_the_shortest(make):
    make(at=NOW, took=-5.0)
    make(at=NOW, took=0.0)

    (minute,) = (minute for minute in look_until_counted().minutes if minute.total)

    assert percentile(minute.took, 0.95) == pytest.approx(0.001, rel=0.05)


def test_what_becomes_final_later_is_counted_again(make, patient):
    then = NOW - timedelta(minutes=30)
    make("waiting", at=then)
    look_until_counted()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dashboard_test_thing SET status = 'done', took = '29 min', waited = '1 s'")

    hour = look_often(NOW + timedelta(minutes=1))

    assert counts_of(hour, then) == {"done": 1}
    (minute,) = (minute for minute in hour.minutes if minute.total)
    assert (minute.took.total(), minute.waited.total()) == (1, 1)
    assert hour.oldest_count_at is None, "nothing is open any more"


def test_the_stalest_count_of_what_is_not_final_says_how_old_all_is(make):
    for status, minutes in (("waiting", 10), ("waiting", 20), ("done", 30)):
        make(status, at=NOW - timedelta(minutes=minutes))
    look_until_counted()
    slots, old = PipelineSlot.objects.all(), NOW - timedelta(minutes=5)
    for start in slots.filter(is_open=True).values_list("start", flat=True):
        slots.update(computed_at=NOW)
        slots.filter(is_open=False).update(computed_at=NOW - timedelta(hours=1))
        slots.filter(start=start).update(computed_at=old)

        assert rollup.read(now=NOW).oldest_count_at == old


def test_a_row_that_came_late_is_counted_with_the_slot_it_belongs_to(make, patient):
    then = NOW - timedelta(seconds=30)
    make(at=then)
    look_until_counted()
    make(at=then)

    assert counts_of(look_often(NOW + timedelta(minutes=2)), then) == {"done": 2}


def test_what_is_not_final_is_counted_again_after_a_sixtieth_of_its_age(make, patient):
    make("waiting", at=NOW - timedelta(minutes=30))
    look_until_counted()
    open_slots = PipelineSlot.objects.filter(is_open=True).values_list("computed_at", flat=True)

    look_often(NOW + timedelta(seconds=25))
    assert list(open_slots.all()) == [NOW]

    look_often(NOW + timedelta(seconds=35))
    assert list(open_slots.all()) == [NOW + timedelta(seconds=35)]


def test_what_is_final_and_old_is_never_counted_again(make, patient):
    then = NOW - timedelta(minutes=12)
    make(at=then)
    look_until_counted()
    computed = PipelineSlot.objects.get(counts__has_key="done").computed_at
    make("broken", at=then)

    hour = look_often(NOW + timedelta(minutes=40))

    assert counts_of(hour, then) == {"done": 1}
    assert PipelineSlot.objects.get(counts__has_key="done").computed_at == computed


def test_a_second_look_at_once_counts_nothing(make):
    make(at=NOW)
    look_until_counted()

    with CaptureQueriesContext(
        connection,
    ) as queries:
        rollup.refresh(PIPELINE, now=NOW)

    assert not [query for query in queries if "dashboard_test_thing" in query["sql"]]


def test_a_busy_hour_is_counted_over_several_looks_the_newest_minutes_first(make, monkeypatch):
    monkeypatch.setattr(rollup, "BUDGET", 0.0000001)
    monkeypatch.setattr(rollup, "_FIRST_CHUNK", 20)
    make(at=NOW)
    make(at=NOW - timedelta(minutes=40))

    first = look()

    assert counts_of(first, NOW).total() == 1
    assert not first.is_counted
    assert PipelineSlot.objects.count() <= 22, "more than the slots under way and one chunk"
    assert counts_of(first, NOW - timedelta(minutes=40)).total() == 0
    assert look_until_counted().minutes[-41].total == 1


def test_after_days_without_a_look_the_last_hour_is_right_and_old_slots_are_gone(make):
    make(at=NOW)
    look_until_counted()
    later = NOW + timedelta(days=3)
    make("broken", at=later - timedelta(minutes=59))

    hour = look_until_counted(later)

    assert [minute.total for minute in hour.minutes] == [1] + [0] * 59
    assert not PipelineSlot.objects.filter(start__lt=later - timedelta(days=1)).exists()


def test_many_rows_cost_as_many_statements_as_few(make, patient):
    make(at=NOW - timedelta(minutes=3), number=5000)

    with CaptureQueriesContext(connection) as queries:
        look_until_counted()

    assert len([query for query in queries if "FROM dashboard_test_thing" in query["sql"]]) < 40


@pytest.mark.django_db(transaction=True)
def test_while_another_process_counts_nobody_else_does():
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_lock(%s)", [rollup._LOCK])
        rollup.refresh(PIPELINE, now=timezone.now())
    finally:
        other.close()

    assert not PipelineSlot.objects.exists()


def test_what_a_clock_that_was_ahead_has_counted_is_counted_again(make, patient):
    ahead = NOW + timedelta(minutes=50)
    look_until_counted(ahead)
    make(at=NOW + timedelta(minutes=5), number=3)

    set_back = NOW + timedelta(minutes=10)
    hour = look_often(set_back)

    assert counts_of(hour, NOW + timedelta(minutes=5)) == {"done": 3}
