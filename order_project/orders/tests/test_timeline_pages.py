"""The timeline of an order for people: `manage.py trace` and the page in the admin."""

import html
import json
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from orders.models import Order
from orders.tests.factories import make_order
from orders.tests.timelines import read, theirs

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def test_the_command_tells_it_in_a_table(processor, capsys):
    order = make_order(at=NOON, status="completed", correlation_id="request-1")
    Order.objects.update(updated_at=NOON + timedelta(seconds=4))
    processor.tells(theirs("decided", NOON + timedelta(seconds=3), title="Decided: completed"))

    call_command("trace", str(order.id))

    said = capsys.readouterr().out
    assert "Completed 4.00 s after it was accepted." in said
    assert "request-1" in said
    assert "+3.00 s" in said
    assert "AT (UTC)" in said
    assert "Decided: completed" in said


def test_the_command_tells_programs_what_the_api_tells(client, processor, capsys):
    order = make_order(status="completed")

    call_command("trace", str(order.id), "--json")

    assert json.loads(capsys.readouterr().out) == read(client, order.id)


@pytest.mark.parametrize("order_id", [str(uuid4()), "no-uuid"])
def test_the_command_fails_for_an_order_that_there_is_not(processor, order_id):
    with pytest.raises(CommandError, match="no order") as failure:
        call_command("trace", order_id)

    assert failure.value.returncode == 1


@pytest.mark.django_db(transaction=True)
def test_without_a_database_the_command_does_not_say_that_there_is_no_such_order(monkeypatch):
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", 1)
    try:
        with pytest.raises(CommandError, match=r"^This service's database cannot be asked: ") as caught:
            call_command("trace", str(uuid4()))
    finally:
        connection.close()

    assert caught.value.returncode == 2


def page(admin: Client, order: Order) -> str:
    answer = admin.get(f"/admin/orders/order/{order.id}/timeline/")
    assert answer.status_code == 200, answer
    return html.unescape(answer.content.decode())


def test_the_page_shows_each_step_with_its_service_its_time_and_its_links(admin, processor, settings):
    order = make_order(at=NOON, status="completed", correlation_id="request-1")
    Order.objects.update(updated_at=NOON + timedelta(seconds=62))
    detail = {"error": "RuntimeError: <b>away</b>", "next_try_at": "2026-06-15T12:00:07+00:00"}
    link = "messaging/deadletter/5/change/"
    processor.tells(theirs("tried", NOON + timedelta(seconds=2), title="Try 1 failed", detail=detail, link=link))

    shown = page(admin, order)
    raw = admin.get(f"/admin/orders/order/{order.id}/timeline/").content.decode()

    assert "Completed 1 min 2 s after it was accepted." in shown
    assert "Order service" in shown
    assert "Processor" in shown
    assert "12:00:02.000" in shown
    assert "(times in UTC)" in shown
    assert "2.00 s later" in shown
    assert "1 min later: a long time" in shown
    assert f'href="{settings.PROCESSOR_ADMIN_URL}messaging/deadletter/5/change/"' in shown
    assert "Dead letter, in the processor's admin" in shown
    assert "2026-06-15 12:00:07" in shown
    assert "<b>away</b>" not in raw
    assert "request-1" in shown
    assert 'data-pending="no"' in shown
    assert "http-equiv" not in shown


def test_the_page_of_a_pending_order_refreshes_itself_and_points_at_what_it_waits_for(admin, processor, settings):
    order = make_order(at=timezone.now() - timedelta(minutes=5))
    processor.tells(
        waits_for={"service": "processor", "text": "A dead letter waits.", "link": "messaging/deadletter/5/change/"}
    )

    shown = page(admin, order)

    assert 'data-pending="yes"' in shown
    assert '<meta http-equiv="refresh" content="5">' in shown
    assert "A dead letter waits." in shown
    assert f'class="desk-button desk-primary" href="{settings.PROCESSOR_ADMIN_URL}messaging/deadletter/5' in shown
    assert re.search(r"5 min( \d+ s)? later: a long time", shown)


def test_the_page_leads_only_to_pages_of_this_admin_that_may_be_seen(admin, client, processor, django_user_model):
    order = make_order()
    processor.tells(theirs("tried", NOON, service="orders", link="messaging/deadletter/5/change/"))
    assert 'href="/admin/messaging/deadletter/5/change/"' in page(admin, order)

    clerk = django_user_model.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(Permission.objects.get(codename="view_order"))
    client.force_login(clerk)

    shown = page(client, order)
    assert f'href="/admin/orders/order/{order.id}/change/"' in shown
    assert "/admin/messaging/deadletter/5" not in shown


def test_the_page_without_the_processor_says_so(admin, no_processor):
    assert "Only what the order service knows is shown" in page(admin, make_order())


def test_an_order_and_the_list_lead_to_the_timeline(admin, processor):
    order = make_order()
    url = f"/admin/orders/order/{order.id}/timeline/"

    assert f'href="{url}"' in admin.get("/admin/orders/order/").content.decode()
    assert f'href="{url}"' in admin.get(f"/admin/orders/order/{order.id}/change/").content.decode()


def test_only_who_may_see_orders_sees_the_page(client, processor, django_user_model):
    order = make_order()
    url = f"/admin/orders/order/{order.id}/timeline/"
    assert client.get(url).status_code == 302

    client.force_login(django_user_model.objects.create_user("somebody", is_staff=True))

    assert client.get(url).status_code == 403
    assert processor.asked == []


@pytest.mark.parametrize("order_id", [uuid4(), "no-uuid"])
def test_there_is_no_page_of_no_order(admin, processor, order_id):
    assert admin.get(f"/admin/orders/order/{order_id}/timeline/").status_code == 404
