"""Processing records as operators see them."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from pytest_django import DjangoAssertNumQueries
from pytest_django.fixtures import Settings

from processing.models import ProcessingRecord
from processing.tests.factories import make_record

pytestmark = pytest.mark.django_db

LIST = "/admin/processing/processingrecord/"
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, url
    return response.content.decode()


def shown(client: Client, query: str) -> set[ProcessingRecord]:
    """The records on the page of the list."""
    response = client.get(LIST + query)
    assert response.status_code == 200, query
    return set(response.context["cl"].result_list)


def test_nobody_sees_records_without_logging_in(client: Client) -> None:
    record = make_record()

    for url in (LIST, f"{LIST}{record.order_id}/change/"):
        response = client.get(url)
        assert response.status_code == 302
        assert response["Location"].startswith("/admin/login/")


def test_the_list_shows_outcome_and_reason(admin_client: Client) -> None:
    make_record()
    failed = make_record(reason="<b>No</b> items.")

    html = page(admin_client, LIST)

    assert '<span class="desk-badge desk-good">Completed</span>' in html
    assert '<span class="desk-badge desk-bad">Failed</span>' in html
    assert str(failed.order_id) in html
    assert "&lt;b&gt;No&lt;/b&gt; items." in html
    assert "<b>No</b>" not in html


def test_who_logs_in_without_having_asked_for_a_page_sees_the_overview(
    client: Client, django_user_model: type[User]
) -> None:
    django_user_model.objects.create_superuser("operator", password="not-a-secret")

    answer = client.post("/admin/login/", {"username": "operator", "password": "not-a-secret"})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


def test_a_form_without_its_token_is_answered_as_every_other_error() -> None:
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "operator"})

    assert answer.status_code == 403
    assert "load the page again" in answer.json()["detail"]


def test_the_empty_list_says_what_to_do(admin_client: Client, settings: Settings) -> None:
    settings.ORDERS_ADMIN_URL = "https://orders.example.com/admin/"

    html = page(admin_client, LIST)

    assert "No order has been decided yet." in html
    assert 'href="https://orders.example.com/admin/"' in html
    assert "manage.py consume" in html
    assert 'href="/admin/messaging/deadletter/"' in html


@pytest.mark.parametrize("query", ["q=nobody", "finished_at__lt=1999-12-31 23:59:00%2B00:00", "finished_at__year=1999"])
def test_an_empty_search_is_no_empty_list(admin_client: Client, query: str) -> None:
    make_record()

    html = page(admin_client, f"{LIST}?{query}")

    assert "Nothing matches." in html
    assert "No order has been decided yet." not in html


def test_a_filter_with_a_nul_is_no_server_error(admin_client: Client) -> None:
    answer = admin_client.get(f"{LIST}?outcome__exact=%00")

    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?e=1")


def test_a_record_leads_to_its_order_in_the_order_service(admin_client: Client, settings: Settings) -> None:
    settings.ORDERS_ADMIN_URL = "https://orders.example.com/admin/"
    record = make_record(reason="The order has no items.", finished_at=NOON + timedelta(milliseconds=123))

    html = page(admin_client, f"{LIST}{record.order_id}/change/")

    assert f'href="https://orders.example.com/admin/orders/order/{record.order_id}/change/"' in html
    assert "The order has no items." in html
    assert record.correlation_id in html
    assert str(record.message_id) in html
    assert "2026-11-22 12:00:00.123" in html


@pytest.mark.parametrize("action", ["add/", "{id}/delete/", "{id}/change/", ""])
def test_nothing_can_be_changed_even_by_an_administrator(admin_client: Client, action: str) -> None:
    record = make_record()
    kept = ProcessingRecord.objects.values().get()
    body = {"outcome": "failed", "reason": "x", "action": "delete_selected", "_selected_action": [record.order_id]}

    response = admin_client.post(LIST + action.format(id=record.order_id), {**body, "post": "yes"})

    assert response.status_code in (302, 403) or b"delete" not in response.content.lower()
    assert ProcessingRecord.objects.values().get() == kept


def test_the_outcome_filters_the_list(admin_client: Client) -> None:
    completed, failed = make_record(), make_record(reason="No.")

    assert shown(admin_client, "?outcome__exact=completed") == {completed}
    assert shown(admin_client, "?outcome__exact=failed") == {failed}


def test_the_dates_drill_down_to_the_days_that_have_records(admin_client: Client) -> None:
    records = [
        make_record(finished_at=moment)
        for moment in (NOON, NOON - timedelta(days=1), NOON - timedelta(days=40), NOON - timedelta(days=400))
    ]

    years = page(admin_client, LIST)
    assert "?finished_at__year=2025" in years
    assert "?finished_at__year=2026" in years
    assert "?finished_at__year=2024" not in years
    months = page(admin_client, f"{LIST}?finished_at__year=2026")
    assert "finished_at__month=10&" in months
    assert "finished_at__month=11&" in months
    assert "finished_at__month=9&" not in months
    days = page(admin_client, f"{LIST}?finished_at__year=2026&finished_at__month=11")
    assert "finished_at__day=21&" in days
    assert "finished_at__day=22&" in days
    assert "finished_at__day=20&" not in days
    day = "?finished_at__year=2026&finished_at__month=11&finished_at__day=22"
    assert shown(admin_client, day) == {records[0]}


def test_the_search_finds_exactly_an_order_a_customer_or_a_correlation_id(admin_client: Client) -> None:
    one = make_record(customer_id="a", correlation_id="request-1")
    two = make_record(customer_id="a", correlation_id="request-2")
    make_record(customer_id="ab", correlation_id="request-22")
    uuid_customer = str(uuid4())
    four = make_record(customer_id=uuid_customer)

    assert shown(admin_client, f"?q={one.order_id}") == {one}
    assert shown(admin_client, f"?q=%20{one.order_id}%20") == {one}
    assert shown(admin_client, f"?order_id__exact={one.order_id}") == {one}
    assert shown(admin_client, "?q=a") == {one, two}
    assert shown(admin_client, "?q=request-2") == {two}
    assert shown(admin_client, f"?q={uuid_customer}") == {four}
    assert shown(admin_client, f"?q={uuid4()}") == set()
    assert shown(admin_client, "?q=request") == set()


@pytest.mark.parametrize("query", ["?q=%00", "?q=%ff", "?outcome__exact=done", "?p=100000", "?finished_at__year=x"])
def test_a_query_that_makes_no_sense_is_no_fault_of_the_service(admin_client: Client, query: str) -> None:
    make_record()

    assert admin_client.get(LIST + query).status_code in (200, 302)


def test_the_list_costs_the_same_however_many_rows_it_shows_and_counts_no_further_than_it_must(
    admin_client: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_record()
    # Session, user; the count up to its cap, the page; the bounds of the dates, twice; one probe for each year.
    with django_assert_num_queries(7):
        page(admin_client, LIST)
    for _ in range(40):
        make_record(reason="No.")

    with django_assert_num_queries(7) as captured:
        page(admin_client, LIST)

    statements = [query["sql"] for query in captured.captured_queries]
    counts = [sql for sql in statements if "COUNT(" in sql]
    assert counts
    assert all("LIMIT" in sql for sql in counts)
    assert not [sql for sql in statements if "DATE_TRUNC" in sql]


def test_an_operator_needs_no_more_than_the_permission_to_view(client: Client) -> None:
    user = User.objects.create_user("operator", is_staff=True)
    record = make_record()
    client.force_login(user)
    assert client.get(LIST).status_code == 403

    user.user_permissions.add(Permission.objects.get(codename="view_processingrecord"))

    assert shown(client, "") == {record}
