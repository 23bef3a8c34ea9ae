"""The browsable API of the records, as people see it."""

import pytest
from django.test import Client

from processing.models import ProcessingRecord
from processing.tests.factories import make_record

pytestmark = pytest.mark.django_db


def page(path: str, status: int = 200) -> str:
    response = Client().get(path, headers={"Accept": "text/html"})
    assert response.status_code == status
    return response.content.decode()


def test_the_list_shows_each_record_with_its_outcome_and_leads_to_it() -> None:
    completed, failed = make_record(), make_record(reason="Too much.")

    shown = page("/records")

    for record in (completed, failed):
        assert f'<a href="/records/{record.order_id}">' in shown
    assert '<span class="desk-badge desk-good">completed</span>' in shown
    assert '<span class="desk-badge desk-bad">failed</span>' in shown
    assert "Too much." in shown
    assert "That is all." in shown
    assert "<textarea" not in shown  # there is nothing to send


def test_the_filters_are_controls_that_hold_what_was_asked_for() -> None:
    make_record(reason="Too much.")
    completed = make_record()

    shown = page(f"/records?outcome=completed&order_id={completed.order_id}&customer_id=")

    assert '<option value="completed" selected>' in shown
    assert f'name="order_id" type="text" value="{completed.order_id}"' in shown
    assert "Too much." not in shown


def test_a_filter_that_is_wrong_says_so_itself() -> None:
    shown = page("/records?order_id=1&outcome=done", 422)

    assert shown.count('aria-invalid="true"') == 2
    assert "Must be a valid UUID." in shown


def test_the_page_of_a_record_shows_its_order_and_leads_to_the_admin() -> None:
    record = make_record()

    shown = page(f"/records/{record.order_id}")

    assert f'href="/admin/processing/processingrecord/{record.order_id}/change/"' in shown
    assert 'href="/records?customer_id=' in shown
    assert ProcessingRecord.objects.count() == 1


def test_a_record_that_is_not_there_leads_back_to_the_list() -> None:
    shown = page("/records/1", 404)

    assert "Processing record not found" in shown
    assert 'Back to <a href="/records">Processing records</a>' in shown
