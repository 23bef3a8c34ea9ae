"""The admin of orders: what it shows, that nothing can be edited, and that it stays fast."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from orders.admin import OrderAdmin
from orders.models import Order, OrderBatch, OrderItem
from orders.tests.factories import make_order

LIST = "/admin/orders/order/"
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def page(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200, answer
    return html.unescape(answer.content.decode())


def change(order: Order) -> str:
    return f"{LIST}{order.id}/change/"


def test_the_list_shows_each_order_with_its_status_as_a_badge(admin):
    orders = [make_order(status=status) for status in ("pending", "completed", "failed")]

    shown = page(admin, LIST)

    for order in orders:
        assert str(order.id) in shown
    assert '<span class="desk-badge desk-waiting">Pending</span>' in shown
    assert '<span class="desk-badge desk-good">Completed</span>' in shown
    assert '<span class="desk-badge desk-bad">Failed</span>' in shown


def test_an_order_is_shown_with_its_items_its_times_and_why_it_failed(admin):
    order = make_order(items=3, status="failed", error_message="The total is above the limit.", at=NOON)
    Order.objects.update(updated_at=NOON + timedelta(seconds=2.5))

    shown = page(admin, change(order))

    assert "The total is above the limit." in shown
    assert all(f"product-{number}" in shown for number in range(3))
    assert "2026-06-15 12:00:00.000" in shown
    assert "2026-06-15 12:00:02.500" in shown
    assert "2.50 s" in shown


def test_a_pending_order_is_shown_as_not_yet_final(admin):
    shown = page(admin, change(make_order()))

    assert shown.count("not yet") == 2


def test_a_pending_order_leads_to_no_processing_record(admin):
    shown = page(admin, change(make_order()))

    assert "not decided yet" in shown
    assert "/processing/processingrecord/?q=" not in shown


def test_an_order_leads_to_its_processing_record(admin, settings):
    settings.PROCESSOR_ADMIN_URL = "https://processor.example.com/admin/"
    order = make_order(status="completed")

    shown = page(admin, change(order))

    assert f'href="https://processor.example.com/admin/processing/processingrecord/?q={order.id}"' in shown


def test_what_a_customer_wrote_is_escaped(admin):
    order = make_order(customer_id="<script>alert(1)</script>", status="failed", error_message="<b>no</b>")

    for url in (LIST, change(order)):
        raw = admin.get(url).content.decode()
        assert "<script>alert(1)" not in raw
        assert "<b>no</b>" not in raw


@pytest.mark.parametrize("what", ["add/", "{id}/change/", "{id}/delete/"])
def test_nothing_can_be_added_changed_or_deleted_even_by_a_superuser(admin, what):
    order = make_order()

    answer = admin.post(LIST + what.format(id=order.id), {"status": "completed", "customer_id": "x", "_save": "Save"})

    assert answer.status_code == 403
    order.refresh_from_db()
    assert (order.status, order.customer_id) == ("pending", "customer-1")
    assert Order.objects.count() == 1


def test_who_logs_in_without_having_asked_for_a_page_sees_the_overview(client, django_user_model):
    django_user_model.objects.create_superuser("operator", password="not-a-secret")

    answer = client.post("/admin/login/", {"username": "operator", "password": "not-a-secret"})

    assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")


def test_a_form_without_its_token_is_answered_as_every_other_error():
    answer = Client(enforce_csrf_checks=True).post("/admin/login/", {"username": "operator"})

    assert answer.status_code == 403
    assert "load the page again" in answer.json()["detail"]


def test_there_are_no_bulk_actions(admin):
    order = make_order()

    admin.post(LIST, {"action": "delete_selected", "_selected_action": str(order.id), "post": "yes"})

    assert Order.objects.count() == 1
    assert 'name="action"' not in page(admin, LIST)


def test_it_is_for_staff_who_may_look_at_orders(client, django_user_model):
    user = django_user_model.objects.create_user("clerk", password="not-a-secret")
    client.force_login(user)
    assert client.get(LIST).status_code == 302

    user.is_staff = True
    user.save()
    assert client.get(LIST).status_code == 403

    user.user_permissions.add(Permission.objects.get(codename="view_order"))
    user.user_permissions.add(Permission.objects.get(codename="view_orderitem"))
    order = make_order()
    assert str(order.id) in page(client, LIST)
    assert "product-0" in page(client, change(order))


def test_filters_by_status(admin):
    failed, completed = make_order(status="failed"), make_order(status="completed")

    shown = page(admin, f"{LIST}?status__exact=failed")

    assert str(failed.id) in shown
    assert str(completed.id) not in shown


@pytest.mark.parametrize("query", ["status__exact=%00", "created_at__year=9999"])
def test_an_address_that_asks_for_what_cannot_be_is_no_server_error(admin, query):
    answer = admin.get(f"{LIST}?{query}")

    assert (answer.status_code, answer["Location"]) == (302, f"{LIST}?e=1")


@pytest.mark.parametrize("term", ["customer-7", " customer-7 "])
def test_finds_the_orders_of_exactly_this_customer(admin, term):
    mine, other = make_order(customer_id="customer-7"), make_order(customer_id="customer-77")

    shown = page(admin, f"{LIST}?q={term}")

    assert str(mine.id) in shown
    assert str(other.id) not in shown


def test_finds_an_order_by_its_id_however_it_is_written(admin):
    order, other = make_order(), make_order()

    for term in (str(order.id), order.id.hex, str(order.id).upper()):
        shown = page(admin, f"{LIST}?q={term}")
        assert change(order) in shown
        assert change(other) not in shown


def test_finds_a_customer_whose_id_is_a_uuid(admin):
    order = make_order(customer_id="019ac5f2-8d0b-7c3e-9a51-6f2b8e4d7a10")

    assert change(order) in page(admin, f"{LIST}?q={order.customer_id}")


def test_the_dates_lead_from_years_to_days_and_offer_only_those_that_have_orders(admin):
    make_order(at=NOON - timedelta(days=2 * 365))
    make_order(at=NOON)
    make_order(at=NOON + timedelta(days=1))
    make_order(at=NOON + timedelta(days=60))

    assert _periods(page(admin, LIST)) == ["2024", "2026"]
    assert _periods(page(admin, f"{LIST}?created_at__year=2026")) == ["June 2026", "August 2026"]
    assert _periods(page(admin, f"{LIST}?created_at__year=2026&created_at__month=6")) == ["June 15", "June 16"]
    day = page(admin, f"{LIST}?created_at__year=2026&created_at__month=6&created_at__day=15")
    assert day.count('class="field-id') == 1


def test_the_dates_of_a_filtered_list_are_those_of_what_it_shows(admin):
    make_order(at=NOON, status="failed")
    make_order(at=NOON + timedelta(days=1), status="completed")
    make_order(at=NOON + timedelta(days=2), status="failed")

    shown = page(admin, f"{LIST}?created_at__year=2026&created_at__month=6&status__exact=failed")

    assert _periods(shown) == ["June 15", "June 17"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?status__exact=failed",
        "?created_at__year=2026",
        "?created_at__year=2026&created_at__month=6",
        "?q=customer-1",
        "?p=2",
        "?_facets=True",
    ],
)
def test_no_page_of_the_list_reads_the_whole_table(admin, query, monkeypatch):
    monkeypatch.setattr(OrderAdmin, "list_per_page", 1)
    for day in range(5):
        make_order(at=NOON + timedelta(days=day), status="failed" if day % 2 else "completed")

    with CaptureQueriesContext(connection) as queries:
        page(admin, LIST + query)

    asked = [query["sql"] for query in queries if '"orders_order"' in query["sql"]]
    assert asked
    for sql in asked:
        assert "LIMIT" in sql or "MIN(" in sql, sql
        assert "TRUNC" not in sql, sql


def test_the_list_takes_as_many_queries_for_many_orders_as_for_one(admin):
    make_order(at=NOON)
    with CaptureQueriesContext(connection) as for_one:
        page(admin, LIST)
    for number in range(40):
        make_order(at=NOON + timedelta(minutes=number), items=2)

    with CaptureQueriesContext(connection) as for_many:
        page(admin, LIST)

    assert len(for_many) == len(for_one) <= 8


def test_an_order_takes_as_many_queries_with_many_items_as_with_one(admin):
    few, many = make_order(items=1), make_order(items=100)
    with CaptureQueriesContext(connection) as for_few:
        page(admin, change(few))

    with CaptureQueriesContext(connection) as for_many:
        page(admin, change(many))

    assert len(for_many) == len(for_few) <= 5


def test_the_items_stand_in_their_order_with_their_totals(admin):
    order = make_order()
    order.items.all().delete()
    for position, product in ((1, "second"), (0, "<i>first</i>")):
        OrderItem.objects.create(order=order, position=position, product_id=product, quantity=3, price="18.50")

    (table,) = re.findall(r'aria-label="Items">(.*?)</table>', admin.get(change(order)).content.decode(), re.DOTALL)

    assert re.findall(r"<th [^>]*>([^<]+)</th>", table) == ["Product", "Quantity", "Price", "Line total"]
    cells = re.findall(r"<td [^>]*>([^<]*)</td>", table)
    assert cells == ["&lt;i&gt;first&lt;/i&gt;", "3", "18.50", "55.50", "second", "3", "18.50", "55.50"]


def test_an_order_with_many_items_shows_the_first_of_them_and_where_all_are(admin):
    order = make_order(items=1000)

    shown = page(admin, change(order))

    assert re.findall(r">product-(\d+)<", shown) == [str(number) for number in range(200)]
    assert f'… and 800 more: <a class="desk-link" href="/orders/{order.id}">the API</a>' in shown
    assert "more:" not in page(admin, change(make_order(items=200)))


def test_the_items_are_not_for_who_may_see_only_orders(client, django_user_model):
    user = django_user_model.objects.create_user("clerk", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(user)

    assert "product-0" not in page(client, change(make_order()))


def test_a_batch_shows_the_first_of_what_was_refused_and_how_much_more_there_is(admin):
    wrong = [{"pointer": f"/items/{number}/price", "detail": "Too <much>."} for number in range(40)]
    few = OrderBatch.objects.create(created_at=NOON, idempotency_key="few", request_digest=b"", outcomes=[wrong])
    many = OrderBatch.objects.create(created_at=NOON, idempotency_key="many", request_digest=b"", outcomes=[wrong] * 30)

    shown = page(admin, f"/admin/orders/orderbatch/{many.pk}/change/")

    assert shown.count("Too <much>.") == 50
    assert "/orders/1/items/9/price: Too <much>.<br>… and 1,150 more" in shown
    shown = page(admin, f"/admin/orders/orderbatch/{few.pk}/change/")
    assert shown.count("Too <much>.") == 40
    assert "more" not in shown[shown.index("/orders/0/items/39/price") :].partition("</fieldset>")[0]


def test_a_batch_leads_to_its_orders_and_an_order_to_who_placed_it_only_those_who_may_see_them(
    admin, client, django_user_model, operator
):
    order = make_order(placed_by=operator)
    outcomes = [str(order.id)]
    batch = OrderBatch.objects.create(
        created_at=NOON, idempotency_key="one", request_digest=b"", outcomes=outcomes, placed_by=operator
    )
    pages = [change(order), f"/admin/orders/orderbatch/{batch.pk}/change/"]
    links = [f'<a class="desk-link" href="{change(order)}">{order.id}</a>', f'href="/admin/auth/user/{operator.pk}/']
    seen = "".join(page(admin, url) for url in pages)
    assert all(link in seen for link in links)

    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    for pages_of_one, codename in (pages[:1], "view_order"), (pages[1:], "view_orderbatch"):
        clerk.user_permissions.set([Permission.objects.get(codename=codename)])
        client.force_login(clerk)
        seen = page(client, *pages_of_one)
        assert str(order.id) in seen
        assert operator.get_username() in seen
        assert not any(link in seen for link in links)


def test_an_empty_list_says_how_to_place_the_first_order(admin):
    shown = page(admin, LIST)

    assert "No orders yet" in shown
    (command,) = re.findall(r"<pre[^>]*>(curl .*?)</pre>", shown, re.DOTALL)
    assert "http://testserver/orders" in command
    (sent,) = re.findall(r"-d '(.*)'", command)
    assert Client().post("/orders", sent, content_type="application/json").status_code == 201


@pytest.mark.parametrize(
    "query",
    ["?q=nobody", "?status__exact=failed", "?created_at__year=1999", "?created_at__lt=1999-12-31 23:59:00%2B00:00"],
)
def test_a_list_that_matches_nothing_does_not_claim_there_are_no_orders(admin, query):
    make_order(status="completed")

    shown = page(admin, LIST + query)

    assert "No orders yet" not in shown
    assert "Nothing matches" in shown


def test_a_list_that_is_limited_to_a_time_says_so_and_leads_out_of_it(admin):
    order, later = make_order(at=NOON), make_order(at=NOON + timedelta(hours=1))
    window = "created_at__gte=2026-06-15+12:00:00%2B00:00&created_at__lt=2026-06-15+13:00:00%2B00:00"

    shown = page(admin, f"{LIST}?{window}&status__exact=pending")

    assert str(order.id) in shown
    assert str(later.id) not in shown
    assert "From 2026-06-15 12:00:00 to 2026-06-15 13:00:00 UTC." in shown
    (out,) = re.findall(r'href="([^"]*)">Show all times', shown)
    assert out == "?status__exact=pending"
    shown = page(admin, LIST + out)
    assert str(later.id) in shown
    assert "Show all times" not in shown
    assert "Nothing matches" in page(admin, f"{LIST}?{window}&q={later.id}")


def _periods(shown: str) -> list[str]:
    (navigation,) = re.findall(r'<ul class="toplinks .*?</ul>', shown, re.DOTALL)
    # Leaves out the link back, whose item has another class.
    return re.findall(r'<li class="px-2">\s*<a [^>]*>\s*([^<]+?)\s*</a>', navigation)
