"""What the first page of the admin says about processing records."""

import html
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from dashboard.snapshot import take
from dashboard.tests.conftest import broker, processes  # noqa: F401 - fixtures
from dashboard.verdict import judge
from messaging.models import InboxMessage
from processing.models import ProcessingRecord
from processing.overview import PIPELINE
from processing.tests.factories import make_record

FRAGMENT = "/admin/overview/fragment"

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker", "processes")]


def decided(*, seconds: float = 0.0, age: float = 0.0, reason: str = "") -> ProcessingRecord:
    finished = timezone.now() - timedelta(seconds=age)
    return make_record(
        reason=reason,
        outcome="failed" if reason else "completed",
        started_at=finished - timedelta(seconds=seconds),
        finished_at=finished,
    )


def test_records_are_counted_by_outcome_with_the_time_in_the_steps():
    for seconds in (0.1, 0.2, 0.3):
        decided(seconds=seconds)
    decided(seconds=0.4, reason="too much")
    decided(age=3 * 3600)

    snapshot = take(PIPELINE)

    assert snapshot.counts == {"completed": 3, "failed": 1}
    assert snapshot.took(0.5) == pytest.approx(200, rel=0.03)
    assert snapshot.took(0.95) == pytest.approx(400, rel=0.03)
    assert snapshot.open_count is None
    assert judge(snapshot).is_well


def test_the_time_on_the_way_is_that_of_messages_that_say_when_they_were_sent():
    now = timezone.now()
    for published_at in (now - timedelta(seconds=2), None):
        InboxMessage.objects.create(
            message_id=uuid4(), type="order.created", published_at=published_at, processed_at=now
        )

    assert take(PIPELINE).waited(0.95) == pytest.approx(2000, rel=0.03)


def test_each_outcome_leads_to_its_records(admin_client):
    decided()
    failed = decided(reason="too much")

    shown = html.unescape(admin_client.get(FRAGMENT).content.decode())
    wanted = "/admin/processing/processingrecord/?outcome__exact=failed&"
    url = next(part for part in shown.split('"') if part.startswith(wanted))
    listed = admin_client.get(url).content.decode()

    assert str(failed.order_id) in listed
    assert "too much" in listed


def test_while_nothing_is_decided_it_leads_to_the_order_service(admin_client, settings):
    settings.ORDERS_ADMIN_URL = "https://orders.example.com/admin/"

    shown = admin_client.get(FRAGMENT).content.decode()

    assert "No order has been decided yet." in shown
    assert 'href="https://orders.example.com/admin/"' in shown


def test_its_questions_are_answered_by_indexes():
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO processing_processingrecord (order_id, outcome, reason, customer_id, total_amount,
                   item_count, attempts, message_id, correlation_id, started_at, finished_at)
               SELECT gen_random_uuid(), 'completed', '', 'c', 1, 1, 1, gen_random_uuid(), '', age.at, age.at
               FROM (SELECT now() - n * interval '1 minute' AS at FROM generate_series(1, 5000) n) age"""
        )
        cursor.execute(
            """INSERT INTO messaging_inboxmessage (message_id, type, correlation_id, processed_at)
               SELECT gen_random_uuid(), 'order.created', '', now() - n * interval '1 minute'
               FROM generate_series(1, 5000) n"""
        )
        cursor.execute("ANALYZE processing_processingrecord, messaging_inboxmessage")
        for question, index in {PIPELINE.rows: "record_recent", PIPELINE.waits: "inbox_age"}.items():
            cursor.execute(f"EXPLAIN {question}", {"start": now - timedelta(minutes=2), "end": now})
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert index in plan, plan
            assert "Seq Scan" not in plan
