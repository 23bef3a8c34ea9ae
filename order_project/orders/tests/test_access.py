"""Who may use the API when API_AUTH_REQUIRED is true."""

import pytest
from django.contrib.auth.models import Permission
from django.db.models.signals import post_init
from rest_framework.authtoken.models import Token
from rest_framework.permissions import IsAuthenticated
from rest_framework.test import APIClient

from orders.models import Order
from orders.tests.factories import body, make_order
from orders.views import OrderBatchView, OrderListView, OrderView

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def auth_required(monkeypatch):
    # Views take the setting when they are imported.
    for view in (OrderListView, OrderBatchView, OrderView):
        monkeypatch.setattr(view, "permission_classes", [IsAuthenticated])


@pytest.fixture
def shop(django_user_model):
    return django_user_model.objects.create_user("shop", password="not-a-secret")


def with_token(token: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Token {token}")
    return client


@pytest.mark.parametrize("client", [APIClient(), with_token("wrong")], ids=["nobody", "wrong token"])
def test_without_valid_credentials_nothing_is_told_or_taken(client):
    order = make_order()

    answers = [
        client.get("/orders"),
        client.get(f"/orders/{order.id}"),
        client.post("/orders", body()),
        client.post("/orders/batch", {"orders": [body()]}),
    ]

    for answer in answers:
        assert answer.status_code == 401
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["WWW-Authenticate"] == "Token"
        assert str(order.id) not in answer.content.decode()
    assert Order.objects.count() == 1


def test_a_user_with_a_token_places_and_reads_orders(shop):
    client = with_token(Token.objects.create(user=shop).key)

    placed = client.post("/orders", body())

    assert placed.status_code == 201
    assert Order.objects.get().placed_by == shop
    assert client.get(placed.headers["Location"]).status_code == 200
    assert len(client.get("/orders").json()["results"]) == 1


def test_a_user_who_was_deactivated_is_locked_out(shop):
    client = with_token(Token.objects.create(user=shop).key)
    shop.is_active = False
    shop.save()

    assert client.post("/orders", body()).status_code == 401
    assert not Order.objects.exists()


def test_whoever_may_delete_a_user_is_not_shown_the_token_that_goes_with_it(shop, client, django_user_model):
    token = Token.objects.create(user=shop)
    operator = django_user_model.objects.create_user("operator", is_staff=True)
    operator.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "delete_user"]))
    client.force_login(operator)

    asked = client.get(f"/admin/auth/user/{shop.pk}/delete/").content.decode()
    asked_of_several = client.post(
        "/admin/auth/user/", {"action": "delete_selected", "_selected_action": [shop.pk]}
    ).content.decode()

    for shown in (asked, asked_of_several):
        assert "<li>Token</li>" in shown
        assert token.key not in shown


def test_a_user_who_has_placed_orders_stays_and_none_of_the_orders_is_fetched_for_it(shop, admin):
    make_order(placed_by=shop)
    fetched = []

    def note(instance, **kwargs):
        fetched.append(instance)

    post_init.connect(note, sender=Order)
    try:
        answers = [
            admin.get(f"/admin/auth/user/{shop.pk}/delete/"),
            admin.post(f"/admin/auth/user/{shop.pk}/delete/", {"post": "yes"}),
            admin.post(
                "/admin/auth/user/", {"action": "delete_selected", "_selected_action": [shop.pk], "post": "yes"}
            ),
        ]
    finally:
        post_init.disconnect(note, sender=Order)

    for answer in answers:
        assert "would require deleting the following protected related objects" in answer.content.decode()
        assert answer.context["protected"] == ["Orders"]
    shop.refresh_from_db()
    assert fetched == []


def test_a_user_without_orders_is_deleted(shop, admin, django_user_model):
    make_order(placed_by=django_user_model.objects.create_user("another"))

    admin.post(f"/admin/auth/user/{shop.pk}/delete/", {"post": "yes"})

    assert not django_user_model.objects.filter(pk=shop.pk).exists()


def test_a_session_reads_orders(shop):
    client = APIClient()
    client.force_login(shop)

    assert client.get("/orders").status_code == 200


def test_a_session_places_an_order_only_with_a_csrf_token(shop):
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(shop)

    assert client.post("/orders", body()).status_code == 403
    assert not Order.objects.exists()

    client.get("/orders", HTTP_ACCEPT="text/html")  # the page whose form has the token
    token = client.cookies["orders_csrftoken"].value
    assert client.post("/orders", body(), HTTP_X_CSRFTOKEN=token).status_code == 201


def test_a_body_is_not_read_for_those_who_may_not_send_it():
    answer = APIClient().generic("POST", "/orders", "garbage", content_type="application/json")

    assert answer.status_code == 401


def test_health_and_docs_stay_open():
    for path in ("/health/live", "/health/ready", "/docs", "/redoc", "/schema"):
        assert APIClient().get(path).status_code == 200, path
