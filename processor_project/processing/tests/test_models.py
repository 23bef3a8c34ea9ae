"""What the database itself refuses."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection

from processing.models import ProcessingRecord
from processing.tests.factories import make_record

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ({"outcome": "failed", "reason": ""}, "record_failed_iff_reason"),
        ({"outcome": "completed", "reason": "No."}, "record_failed_iff_reason"),
        ({"outcome": "pending", "reason": ""}, "record_failed_iff_reason"),
        ({"attempts": 0}, "record_attempts_from_one"),
        ({"started_at": NOW, "finished_at": NOW - timedelta(microseconds=1)}, "record_starts_before_it_ends"),
        ({"item_count": -1}, "processing_processingrecord_item_count_check"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(fields: dict[str, Any], constraint: str) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        make_record(**fields)


def test_a_second_record_for_an_order_is_refused() -> None:
    record = make_record()

    with pytest.raises(IntegrityError, match="processing_processingrecord_pkey"):
        make_record(order_id=record.order_id)


def test_a_total_that_is_no_amount_is_refused() -> None:
    make_record()

    with connection.cursor() as cursor, pytest.raises(IntegrityError, match="record_total_is_a_number"):
        cursor.execute("UPDATE processing_processingrecord SET total_amount = 'NaN'")


@pytest.mark.parametrize("total", ["-9999999999.99", "0.00", "9999999999.99"])
def test_a_total_that_an_event_can_carry_is_kept(total: str) -> None:
    make_record(total_amount=Decimal(total), reason="No.")

    assert ProcessingRecord.objects.get().total_amount == Decimal(total)


def test_the_duration_is_between_start_and_end() -> None:
    assert make_record(started_at=NOW, finished_at=NOW + timedelta(microseconds=250)).duration_ms == 0.25
