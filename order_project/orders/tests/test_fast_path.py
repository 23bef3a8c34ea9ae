"""The fast path answers as Django does, or leaves the request to it."""

import json
import logging
import re
from io import BytesIO
from typing import Any, NamedTuple, cast

import pytest
from django.core import signals
from django.core.handlers.wsgi import WSGIHandler
from django.db import OperationalError, close_old_connections, connections
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from rest_framework.authtoken.models import Token
from rest_framework.permissions import IsAuthenticated

from database.statements import execute_prepared
from httpapi.fast_path import FastPath
from messaging.backpressure import Pressure
from messaging.models import OutboxMessage
from messaging.tests.round_trips import round_trips
from orders import services
from orders.models import Order
from orders.tests.factories import body, make_order, outbox_without_room
from orders.tests.test_post import UNREADABLE, WRONG_VALUES
from orders.views import OrderListView, OrderView

pytestmark = pytest.mark.django_db

FAST_VIEWS = "orders.fast_path.FAST_VIEWS"


@pytest.fixture(autouse=True)
def the_connection_of_the_test(monkeypatch):
    """Keeps the connection open, as Django's test client does: the test's transaction is on it."""
    monkeypatch.setattr("httpapi.fast_path.close_old_connections", lambda: None)
    for signal in (signals.request_started, signals.request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(close_old_connections)


class Answered(NamedTuple):
    status: str
    headers: dict[str, str]
    body: bytes

    @property
    def comparable(self) -> tuple[str, dict[str, str], bytes]:
        """Without the ids and moments that no two orders share."""
        if self.headers.get("Content-Type", "").startswith("text/html"):
            return self.status, {}, b""  # a page has tokens of its own
        headers = {name: _MADE_ANEW.sub("…", value) for name, value in self.headers.items()}
        kept = {name: value for name, value in headers.items() if name != "X-Request-ID"}
        return self.status, kept, _MADE_ANEW.sub("…", self.body.decode()).encode()


_MADE_ANEW = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d\d-\d\dT[\d:.]+Z")


class Gone:
    """A client that has left in the middle of its body."""

    def read(self, size: int = -1) -> bytes:
        raise OSError("gone")

    readline = read


def ask(application: Any, method: str = "POST", path: str = "/orders", raw: Any = None, **environ: Any) -> Answered:
    if raw is None:
        raw = json.dumps(body()).encode() if method == "POST" else b""
    heard: list[Any] = []
    given = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "SCRIPT_NAME": "",
        "QUERY_STRING": "",
        "HTTP_HOST": "testserver",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": BytesIO(raw),
        **({"CONTENT_TYPE": "application/json", "CONTENT_LENGTH": str(len(raw))} if method == "POST" else {}),
        **environ,
    }
    parts = application(
        {name: value for name, value in given.items() if value is not None}, lambda *start: heard.extend(start)
    )
    answer = b"".join(parts)
    if hasattr(parts, "close"):
        parts.close()
    status, headers = heard
    assert len({name.lower() for name, _ in headers}) == len(headers), "no header twice"
    return Answered(status, dict(headers), answer)


def nobody(environ: Any, start_response: Any) -> list[bytes]:
    raise AssertionError("this was left to Django")


def django(environ: Any, start_response: Any) -> list[bytes]:
    start_response("299 Left To Django", [])
    return [environ["wsgi.input"].read()]


def fast(behind: Any = nobody) -> FastPath:
    return FastPath(behind, FAST_VIEWS)


def ask_both(*args: Any, **environ: Any) -> tuple[Answered, Answered]:
    """The answers of the fast path with Django behind it, and of Django alone. Neither finds orders in the database."""
    Order.objects.all().delete()
    first = ask(fast(WSGIHandler()), *args, **environ)
    Order.objects.all().delete()
    return first, ask(WSGIHandler(), *args, **environ)


def test_a_plain_order_is_placed_without_django():
    answered = ask(fast())

    order = Order.objects.get()
    assert answered.status == "201 Created"
    assert answered.headers["Location"] == f"/orders/{order.id}"
    assert json.loads(answered.body)["id"] == str(order.id)
    assert OutboxMessage.objects.count() == 1


def test_an_order_is_read_without_django():
    order = make_order(status="failed")

    answered = ask(fast(), "GET", f"/orders/{order.id}")

    assert answered.status == "200 OK"
    assert json.loads(answered.body)["error_message"] == "too much"


@pytest.mark.django_db(transaction=True)
def test_a_program_with_a_token_and_a_key_is_served_without_django(django_user_model, monkeypatch):
    monkeypatch.setattr(OrderListView, "permission_classes", [IsAuthenticated])
    monkeypatch.setattr(OrderView, "permission_classes", [IsAuthenticated])
    shop = django_user_model.objects.create_user("shop", password="not-a-secret")
    environ = {"HTTP_AUTHORIZATION": f"Token {Token.objects.create(user=shop).key}", "HTTP_IDEMPOTENCY_KEY": "cart-1"}

    first, again = ask(fast(), **environ), ask(fast(), **environ)

    assert Order.objects.get().placed_by == shop
    assert (first.status, again.status) == ("201 Created", "201 Created")
    assert first.body == again.body
    assert again.headers["Idempotent-Replayed"] == "true"
    assert ask(fast(), "GET", first.headers["Location"], **environ).status == "200 OK"


SPECIAL = [
    {"HTTP_COOKIE": "orders_sessionid=x"},
    {"HTTP_ACCEPT": "text/html"},
    {"HTTP_ACCEPT": "application/json; indent=4"},
    {"HTTP_TRANSFER_ENCODING": "chunked"},
    {"HTTP_CONTENT_ENCODING": "gzip"},
    {"HTTP_HOST": "elsewhere"},
    {"HTTP_HOST": None},
    {"HTTP_AUTHORIZATION": "Token wrong"},
    {"HTTP_AUTHORIZATION": "Basic dTpw"},
    {"HTTP_AUTHORIZATION": ""},
    {"SCRIPT_NAME": "/shop"},
    {"QUERY_STRING": "format=json"},
    {"REQUEST_METHOD": "PUT"},
    {"REQUEST_METHOD": "HEAD"},
    {"REQUEST_METHOD": "OPTIONS"},
    {"PATH_INFO": "/orders/batch"},
    {"PATH_INFO": "/orders/"},
    {"PATH_INFO": "/orders\n"},
    {"CONTENT_TYPE": "application/json; charset=utf-16"},
    {"CONTENT_TYPE": "text/plain"},
]


@pytest.mark.parametrize("environ", SPECIAL, ids=lambda environ: "-".join(map(str, *environ.items())))
def test_what_is_special_is_left_to_django_with_its_body(environ):
    answered = ask(fast(django), **environ)

    assert answered.status == "299 Left To Django"
    assert json.loads(answered.body) == body()
    assert not Order.objects.exists()


@pytest.mark.parametrize(
    "environ",
    [
        {"HTTP_PREFER": "wait=5"},
        {"QUERY_STRING": "wait=5"},
        {"HTTP_ACCEPT": "text/event-stream"},
        {"CONTENT_TYPE": "application/json; charset=utf-16"},
    ],
    ids=str,
)
def test_whoever_waits_for_an_order_is_left_to_django(environ):
    assert ask(fast(django), "GET", f"/orders/{make_order().id}", **environ).status == "299 Left To Django"


@pytest.mark.parametrize("length", [None, "", "x", "-1", "١", "1048577"])
def test_a_body_without_a_length_that_is_taken_is_left_to_django(length):
    assert ask(fast(django), CONTENT_LENGTH=length).status == "299 Left To Django"


def test_an_order_that_is_not_there_is_left_to_django():
    path = "/orders/01a20370-3916-7684-b55b-b4bec911d845"

    assert ask(fast(django), "GET", path).status == "299 Left To Django"
    assert ask(fast(WSGIHandler()), "GET", path).status == "404 Not Found"


def test_plain_http_is_left_to_django_where_it_is_redirected(settings):
    settings.SECURE_SSL_REDIRECT = True

    assert ask(fast(django)).status == "299 Left To Django"
    assert ask(fast(), **{"wsgi.url_scheme": "https"}).status == "201 Created"


def test_it_believes_the_proxy_as_django_does(settings):
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_HSTS_SECONDS = 60

    for proto, is_secure in {"https": True, "https, http": True, "http": False, "http, https": False}.items():
        first, second = ask_both(HTTP_X_FORWARDED_PROTO=proto)

        assert first.comparable == second.comparable
        assert ("Strict-Transport-Security" in first.headers) == is_secure


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MIDDLEWARE", ["shop.middleware.Limit"]),
        ("USE_X_FORWARDED_HOST", True),
        ("DISALLOWED_USER_AGENTS", [re.compile("bot")]),
        ("FORCE_SCRIPT_NAME", "/shop"),
        ("PREPEND_WWW", True),
    ],
)
def test_it_steps_aside_for_settings_that_it_does_not_know(settings, name, value):
    setattr(settings, name, value)

    assert ask(fast(django)).status == "299 Left To Django"


@pytest.mark.parametrize("name", ["throttle_classes", "permission_classes", "authentication_classes"])
def test_it_steps_aside_for_a_view_of_your_own_making(monkeypatch, name):
    monkeypatch.setattr(OrderListView, name, [type("Mine", (), {})])

    assert ask(fast(django)).status == "299 Left To Django"


def test_nobody_is_served_where_everybody_must_sign_in(monkeypatch):
    monkeypatch.setattr(OrderListView, "permission_classes", [IsAuthenticated])

    answered = ask(fast(WSGIHandler()))

    assert answered.status == "401 Unauthorized"
    assert answered.headers["WWW-Authenticate"] == "Token"
    assert not Order.objects.exists()


# --- The same answers

PLAIN = [
    {},
    {"HTTP_ACCEPT": "*/*"},
    {"HTTP_ACCEPT": "application/json"},
    {"HTTP_IDEMPOTENCY_KEY": "cart-1"},
    {"HTTP_IDEMPOTENCY_KEY": "no key"},
    {"HTTP_IDEMPOTENCY_KEY": ""},
    {"HTTP_CONTENT_ENCODING": ""},
    {"HTTP_X_REQUEST_ID": "given"},
    {"wsgi.url_scheme": "https"},
    {"HTTP_ORIGIN": "https://elsewhere", "HTTP_X_FORWARDED_HOST": "elsewhere", "HTTP_USER_AGENT": "bot"},
]


@pytest.mark.parametrize("environ", PLAIN, ids=str)
def test_the_answer_is_djangos(environ):
    first, second = ask_both(**environ)

    assert first.comparable == second.comparable


def test_the_answer_to_a_get_is_djangos():
    order = make_order(items=3)

    first, second = (ask(one, "GET", f"/orders/{order.id}") for one in (fast(), WSGIHandler()))

    assert first.comparable == second.comparable


def test_the_headers_of_https_are_djangos(settings):
    settings.SECURE_HSTS_SECONDS = 60
    first, second = ask_both(**{"wsgi.url_scheme": "https"})

    assert first.comparable == second.comparable
    assert first.headers["Strict-Transport-Security"].startswith("max-age=60")


WRONG = [json.dumps(wrong).encode() for _, wrong, _ in WRONG_VALUES] + [raw for _, raw in UNREADABLE]


@pytest.mark.parametrize("raw", WRONG, ids=range(len(WRONG)))
def test_whatever_is_wrong_is_answered_as_django_answers(raw):
    first, second = ask_both(raw=raw)

    assert first.comparable == second.comparable
    assert not Order.objects.exists()


_HEADERS = {
    "HTTP_ACCEPT": ["", "*/*", "application/json", "text/html", "application/problem+json", "image/png"],
    "HTTP_AUTHORIZATION": ["Token x", "token x", "Bearer x", "Token  x", "Token"],
    "HTTP_IDEMPOTENCY_KEY": ["", "a", "a b", "é", "x" * 256],
    "HTTP_PREFER": ["wait=0", "respond-async"],
    "HTTP_CONTENT_ENCODING": ["", "identity", "gzip"],
    "HTTP_COOKIE": ["a=b"],
    "HTTP_HOST": ["testserver", "testserver:80", "TESTSERVER", "", "a b", "evil.example"],
    "HTTP_TRACEPARENT": ["x", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    "HTTP_X_REQUEST_ID": ["a", "a b", ""],
    "HTTP_X_HTTP_METHOD_OVERRIDE": ["GET"],
    "CONTENT_TYPE": ["", "application/json", "application/json;charset=utf-8", "text/plain", "application/JSON"],
    "CONTENT_LENGTH": ["", "0", "5", "x"],
    "QUERY_STRING": ["", "a=b", "format=json", "wait=0"],
}


@examples(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.fixed_dictionaries({}, optional={name: st.sampled_from(values) for name, values in _HEADERS.items()}),
    st.sampled_from(["POST", "GET", "HEAD", "PUT"]),
    st.booleans(),
)
def test_whatever_headers_are_sent_the_answer_is_djangos(environ, method, one):
    path = f"/orders/{make_order(customer_id='kept').id}" if one else "/orders"
    first = ask(fast(WSGIHandler()), method, path, **environ)
    Order.objects.exclude(customer_id="kept").delete()
    second = ask(WSGIHandler(), method, path, **environ)
    Order.objects.all().delete()

    assert first.comparable == second.comparable


# --- When it fails


@pytest.mark.django_db(transaction=True)
def test_a_key_that_belongs_to_another_order_is_refused_as_django_refuses_it():
    ask(fast(), HTTP_IDEMPOTENCY_KEY="cart-1")
    other = json.dumps(body(customer_id="other")).encode()

    first, second = (ask(one, raw=other, HTTP_IDEMPOTENCY_KEY="cart-1") for one in (fast(), WSGIHandler()))

    assert first.status == "422 Unprocessable Entity"
    assert first.comparable == second.comparable
    assert Order.objects.count() == 1


def test_back_pressure_refuses_as_django_refuses(monkeypatch):
    monkeypatch.setattr("messaging.backpressure.refusing", lambda: Pressure(70, 1000, 12))

    first, second = ask_both()

    assert first.status == "503 Service Unavailable"
    assert first.headers["Retry-After"] == "12"
    assert first.comparable == second.comparable
    assert not Order.objects.exists()


def test_a_database_that_is_away_is_answered_as_django_answers(monkeypatch):
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("the server is gone")

    monkeypatch.setattr(services, "place_order", away)

    first, second = ask_both()

    assert first.status == "503 Service Unavailable"
    assert first.comparable == second.comparable


@pytest.mark.django_db(transaction=True)
def test_a_standing_connection_that_the_server_has_ended_costs_no_order(monkeypatch):
    monkeypatch.setattr("httpapi.fast_path.close_old_connections", close_old_connections)
    [(pid,)] = execute_prepared("SELECT pg_backend_pid()", [])
    other = connections.create_connection("default")
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
    finally:
        other.close()

    assert ask(fast()).status == "201 Created"
    assert Order.objects.count() == 1


def test_a_body_that_breaks_off_is_answered_and_nothing_kept():
    answered = ask(fast(), **cast("dict[str, Any]", {"wsgi.input": Gone()}))

    assert answered.status == "400 Bad Request"
    assert answered.headers["Content-Type"] == "application/problem+json"
    assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["/orders", "/orders/batch"])
def test_a_body_that_ends_early_is_refused_although_it_could_be_read(path):
    raw = json.dumps(body() if path == "/orders" else {"orders": [body()]}).encode()

    first, second = ask_both(path=path, raw=raw, CONTENT_LENGTH=str(len(raw) + 1))

    assert first.status == "400 Bad Request"
    assert b"to its end" in first.body
    assert first.comparable == second.comparable
    assert not Order.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_fault_of_ours_is_answered_as_django_answers_and_logged_with_its_traceback(caplog):
    with outbox_without_room():
        first, second = ask_both()

    assert first.status == "500 Internal Server Error"
    assert b"the server" not in first.body
    assert first.comparable[0] == second.comparable[0]
    assert first.comparable[2] == second.comparable[2]
    faults = [record for record in caplog.records if record.name == "django.request" and record.exc_info]
    assert len(faults) == 2
    assert not Order.objects.exists()


# --- What is left behind


@pytest.mark.usefixtures("no_look_for_backpressure")
@pytest.mark.django_db(transaction=True)
def test_an_order_costs_one_round_trip_and_reading_it_another():
    location = ask(fast()).headers["Location"]  # opens the connection
    ask(fast(), "GET", location)

    with round_trips() as asked:
        ask(fast())
    assert asked == ["run"]
    with round_trips() as asked:
        ask(fast(), "GET", location)
    assert asked == ["run"]


def test_it_is_logged_and_counted_as_django_would(caplog):
    caplog.set_level(logging.INFO)
    ask(fast(), HTTP_X_REQUEST_ID="given-1")
    ask(WSGIHandler(), HTTP_X_REQUEST_ID="given-1")

    first, second = (vars(record) for record in caplog.records if record.name == "observability.request")

    for name in ("method", "path", "route", "status", "levelname"):
        assert first[name] == second[name]
    assert [row.correlation_id for row in OutboxMessage.objects.all()] == ["given-1", "given-1"]
