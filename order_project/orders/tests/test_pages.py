"""What people and their tools read: the OpenAPI schema, its pages, and the browsable API."""

import html
import json
import re
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest
import yaml
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.test import Client
from rest_framework.test import APIClient

from orders.models import Order
from orders.pages import BATCH, ORDERS
from orders.tests.factories import make_order


@pytest.fixture(scope="module")
def schema():
    return yaml.safe_load(Client().get("/schema").content)


def operations(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path in schema["paths"].values()
        for operation in path.values()
        if "operationId" in operation
    }


def test_the_schema_is_valid_openapi_3_1_without_a_warning(schema, tmp_path):
    call_command("spectacular", "--validate", "--fail-on-warn", "--file", str(tmp_path / "schema.yaml"))

    assert schema["openapi"].startswith("3.1")


def test_the_schema_names_every_operation_and_how_to_sign_in(schema):
    assert set(operations(schema)) == {
        "listOrders",
        "placeOrder",
        "placeOrders",
        "readOrder",
        "followOrder",
        "readOrderTimeline",
        "readLedger",
    }
    for operation_id, operation in operations(schema).items():
        assert operation["tags"] == (["Ledger"] if operation_id == "readLedger" else ["Orders"])
        assert operation["summary"]
        assert {"tokenAuth"} <= {name for way in operation["security"] for name in way}


def test_the_schema_tells_of_every_header(schema):
    place = operations(schema)["placeOrder"]

    assert {"Idempotency-Key", "X-Request-ID"} <= {parameter["name"] for parameter in place["parameters"]}
    assert set(place["responses"]["201"]["headers"]) == {"Location", "Idempotent-Replayed", "X-Request-ID"}
    assert "Retry-After" in place["responses"]["409"]["headers"]
    batch = operations(schema)["placeOrders"]
    assert "Idempotency-Key" in {parameter["name"] for parameter in batch["parameters"]}
    assert set(batch["responses"]["200"]["headers"]) == {"Idempotent-Replayed", "X-Request-ID"}
    assert {"Retry-After"} <= set(batch["responses"]["409"]["headers"]) & set(batch["responses"]["503"]["headers"])


def test_the_schema_tells_of_every_parameter_of_the_list(schema):
    names = {parameter["name"] for parameter in operations(schema)["listOrders"]["parameters"]}

    assert names == {
        "status", "customer_id", "created_after", "created_before", "cursor", "page_size", "X-Request-ID",
    }  # fmt: skip


def test_the_schema_tells_the_limits(schema):
    order = schema["components"]["schemas"]["NewOrderRequest"]["properties"]

    assert (order["items"]["minItems"], order["items"]["maxItems"]) == (1, 1000)
    assert order["customer_id"]["maxLength"] == 255
    batch = schema["components"]["schemas"]["NewBatchRequest"]["properties"]
    assert (batch["orders"]["minItems"], batch["orders"]["maxItems"]) == (1, 1000)


def test_every_answer_that_is_no_success_is_a_problem_with_an_example(schema):
    for operation in operations(schema).values():
        for status, response in operation["responses"].items():
            if not status.startswith("2"):
                content = response["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert all(str(example["value"]["status"]) == status for example in content["examples"].values())


@pytest.mark.parametrize("operation_id", ["listOrders", "placeOrder", "placeOrders", "readOrder"])
def test_the_examples_of_good_answers_are_what_the_schema_says(schema, operation_id):
    operation = operations(schema)[operation_id]
    content = operation["responses"]["201" if operation_id == "placeOrder" else "200"]["content"]["application/json"]

    assert content["examples"]
    for example in content["examples"].values():
        _validate(example["value"], content["schema"], schema)


@pytest.mark.django_db
def test_the_example_body_is_what_the_schema_says_and_answers_like_the_example(schema):
    place = operations(schema)["placeOrder"]
    content = place["requestBody"]["content"]["application/json"]
    (example,) = content["examples"].values()
    _validate(example["value"], content["schema"], schema)

    answer = APIClient().post("/orders", example["value"]).json()

    (expected,) = place["responses"]["201"]["content"]["application/json"]["examples"].values()
    changing = {"id", "created_at", "updated_at"}
    assert {key: value for key, value in answer.items() if key not in changing} == {
        key: value for key, value in expected["value"].items() if key not in changing
    }


@pytest.mark.django_db
def test_the_example_of_a_batch_is_what_the_schema_says_and_so_is_its_answer(schema):
    operation = operations(schema)["placeOrders"]
    content = operation["requestBody"]["content"]["application/json"]
    (example,) = content["examples"].values()
    _validate(example["value"], content["schema"], schema)
    _validate(example["value"]["orders"][1], {"$ref": "#/components/schemas/NewOrderRequest"}, schema)

    answer = APIClient().post("/orders/batch", {"orders": [*example["value"]["orders"], {}]}).json()

    assert (answer["accepted"], answer["refused"]) == (2, 1)
    _validate(answer, operation["responses"]["200"]["content"]["application/json"]["schema"], schema)


@pytest.mark.django_db
def test_answers_are_what_the_schema_says(schema):
    order = make_order(status="failed")
    client = APIClient()
    for path, operation_id in (("/orders", "listOrders"), (f"/orders/{order.id}", "readOrder")):
        content = operations(schema)[operation_id]["responses"]["200"]["content"]["application/json"]
        _validate(client.get(path).json(), content["schema"], schema)


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_the_pages_load_nothing_from_elsewhere(path):
    page = Client().get(path, HTTP_ACCEPT="text/html")

    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="(https?:)?//', page.content.decode())
    assert loaded == []


@pytest.mark.django_db
def test_the_browsable_api_starts_with_a_body_that_works_when_sent_as_it_stands():
    client = Client()
    page = client.get("/orders", HTTP_ACCEPT="text/html").content.decode()
    (written,) = re.findall(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    sent = html.unescape(written)

    answer = client.post("/orders", sent, content_type="application/json", HTTP_ACCEPT="text/html")

    assert json.loads(sent)["items"]
    assert answer.status_code == 201
    assert answer.headers["Content-Type"].startswith("text/html")
    assert str(Order.objects.get().id) in answer.content.decode()


@pytest.mark.django_db
def test_the_browsable_api_keeps_a_body_that_was_refused_and_shows_why():
    answer = Client().post(
        "/orders", '{"customer_id": "my typo"}', content_type="application/json", HTTP_ACCEPT="text/html"
    )

    page = html.unescape(answer.content.decode())
    assert answer.status_code == 422
    assert "/items" in page
    assert '{"customer_id": "my typo"}' in page


@pytest.mark.django_db
def test_every_example_of_the_form_does_what_its_name_says():
    two_items, above_the_limit, two_mistakes = ORDERS.examples.values()
    client = APIClient()

    assert client.post("/orders", two_items).status_code == 201
    assert client.post("/orders", above_the_limit).json()["total_amount"] > 100_000
    refused = client.post("/orders", two_mistakes)
    assert refused.status_code == 422
    assert len(refused.json()["errors"]) == 2
    _, one_wrong = BATCH.examples.values()
    batch = client.post("/orders/batch", one_wrong).json()
    assert (batch["accepted"], batch["refused"]) == (1, 1)


@pytest.mark.django_db
def test_the_list_shows_the_orders_with_their_status_and_leads_to_each():
    orders = [make_order(), make_order(status="failed")]

    page = Client().get("/orders", HTTP_ACCEPT="text/html").content.decode()

    for order in orders:
        assert f'<a href="/orders/{order.id}">' in page
    assert '<span class="desk-badge desk-waiting">pending</span>' in page
    assert '<span class="desk-badge desk-bad">failed</span>' in page
    assert 'href="/orders/batch"' in page


@pytest.mark.django_db
def test_the_list_shows_what_customers_send_as_text_and_nothing_else():
    evil = '"><script>alert(1)</script>'
    make_order(customer_id=evil)

    for path in ("/orders", f"/orders?{urlencode({'customer_id': evil})}", f"/orders/{Order.objects.get().id}"):
        page = Client().get(path, HTTP_ACCEPT="text/html").content.decode()
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert" in page


@pytest.mark.django_db
def test_the_page_of_an_order_leads_to_all_that_is_known_of_it():
    order = make_order()

    page = html.unescape(Client().get(f"/orders/{order.id}", HTTP_ACCEPT="text/html").content.decode())

    for path in (
        f"/orders/{order.id}?wait=20", f"/orders/{order.id}/timeline", f"/orders/{order.id}/events",
        f"/admin/orders/order/{order.id}/change/", f"/orders?{urlencode({'customer_id': order.customer_id})}",
    ):  # fmt: skip
        assert f'href="{path}"' in page
    assert f'data-follow="/orders/{order.id}"' in page


@pytest.mark.django_db
def test_the_page_of_an_order_leads_into_the_admin_only_who_may_see_it_there(client, django_user_model):
    order = make_order()
    user = django_user_model.objects.create_user("clerk", is_staff=True)
    client.force_login(user)

    assert "/admin/orders/order/" not in client.get(f"/orders/{order.id}", HTTP_ACCEPT="text/html").content.decode()
    user.user_permissions.add(Permission.objects.get(codename="view_order"))
    assert "/admin/orders/order/" in client.get(f"/orders/{order.id}", HTTP_ACCEPT="text/html").content.decode()


@pytest.mark.django_db
def test_the_page_of_a_final_order_follows_nothing():
    order = make_order(status="completed")

    page = Client().get(f"/orders/{order.id}", HTTP_ACCEPT="text/html").content.decode()

    assert "data-follow" not in page
    assert "?wait=" not in page


@pytest.mark.django_db
def test_the_browsable_api_shows_one_order_and_that_one_does_not_exist():
    order = make_order()
    client = Client()

    assert str(order.id) in client.get(f"/orders/{order.id}", HTTP_ACCEPT="text/html").content.decode()
    missing = client.get("/orders/1", HTTP_ACCEPT="text/html")
    assert missing.status_code == 404
    assert "Order not found" in missing.content.decode()


def _validate(value: Any, part: dict[str, Any], schema: dict[str, Any]) -> None:
    resolvable = {**part, "components": schema["components"]}
    jsonschema.Draft202012Validator(resolvable).validate(value)
