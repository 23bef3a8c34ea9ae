"""A batch of orders for people: its page in the browsable API and its place in the admin."""

import html
import json
import re

import pytest
from django.test import Client

from orders.models import Order, OrderBatch
from orders.tests.batching import (
    GOOD_AND_BAD,
    post,
)


@pytest.mark.django_db
def test_the_page_starts_with_a_body_that_works_when_sent_as_it_stands():
    client = Client()
    page = client.get("/orders/batch", HTTP_ACCEPT="text/html")
    (written,) = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page.content.decode(), re.DOTALL)
    sent = html.unescape(written)

    answer = client.post("/orders/batch", sent, content_type="application/json", HTTP_ACCEPT="text/html")

    assert page.status_code == 405
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    shown = answer.content.decode()
    assert Order.objects.count() == len(json.loads(sent)["orders"]) > 1
    assert all(str(order.id) in shown for order in Order.objects.all())


def test_the_admin_shows_what_became_of_a_batch(admin):
    post(GOOD_AND_BAD, key="key-1")
    batch = OrderBatch.objects.get()

    listed = admin.get("/admin/orders/orderbatch/").content.decode()
    shown = html.unescape(admin.get(f"/admin/orders/orderbatch/{batch.id}/change/").content.decode())

    assert str(batch.id) in listed
    assert "key-1" in listed
    for order in Order.objects.all():
        assert f'href="/admin/orders/order/{order.id}/change/"' in shown
    assert "/orders/1/items/1/price: Ensure this value is greater than 0." in shown


def test_the_list_of_batches_has_no_search_and_passes_over_one(admin):
    post(key="key-1")

    assert "key-1" in admin.get("/admin/orders/orderbatch/?q=another").content.decode()


def test_in_the_admin_no_batch_can_be_added_changed_or_deleted(admin):
    post(key="key-1")
    batch = OrderBatch.objects.get()

    for what in ("add/", f"{batch.id}/change/", f"{batch.id}/delete/"):
        assert admin.post(f"/admin/orders/orderbatch/{what}", {"idempotency_key": "x"}).status_code == 403
    assert OrderBatch.objects.get().idempotency_key == "key-1"


def test_the_admin_says_so_when_there_is_no_batch(admin):
    assert "No batch has come" in admin.get("/admin/orders/orderbatch/").content.decode()
