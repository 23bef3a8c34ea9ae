"""The floor's order service: `gunicorn benchmarks.floor.web:application`."""

import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

import orjson

from benchmarks.floor.tables import PLACE, SHOW, connect
from serving.plain_http import Written

WAKES_A_SECOND = 100
MOST_WAKES_AT_ONCE = 10
"""As in the project: beyond this, commits wake nobody, and the relay finds their messages when it looks by itself."""
_wakes_left = float(MOST_WAKES_AT_ONCE)
_counted_at = 0.0
_own = threading.local()


class Application:
    """A WSGI application, with the `answer` that the project's worker calls for plain requests."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        written = self.answer(environ)
        start_response(written.status, list(written.headers))
        return [written.body]

    def answer(self, environ: dict[str, Any]) -> Written:
        status, body = _answer(environ["REQUEST_METHOD"], environ["PATH_INFO"], environ)
        return Written(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))], body)


application = Application()


def _answer(method: str, path: str, environ: dict[str, Any]) -> tuple[str, bytes]:
    if (method, path) == ("POST", "/orders"):
        try:
            return "201 Created", _place(environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)))
        except (KeyError, TypeError, ValueError) as error:
            return "422 Unprocessable Content", orjson.dumps({"detail": str(error)})
    if method == "GET" and path.startswith("/orders/"):
        try:
            row = _cursor().execute(SHOW, (UUID(path.removeprefix("/orders/")),)).fetchone()
        except ValueError:
            row = None
        if row:
            return "200 OK", row[0].encode()
    if path == "/health/live":
        return "200 OK", b"{}"
    return "404 Not Found", b'{"detail": "not found"}'


def _place(raw: bytes) -> bytes:
    """Commits the order with its announcement. Raises ValueError, KeyError, TypeError for what is no order."""
    sent = orjson.loads(raw)
    customer, items = _text(sent["customer_id"]), sent["items"]
    if type(items) is not list or not 0 < len(items) <= 1000:
        raise ValueError("items: 1 to 1000 of them")
    lines, cents = [], 0
    for item in items:
        quantity, price = item["quantity"], item["price"]
        if type(quantity) is not int or not 0 < quantity < 2**31:
            raise ValueError("quantity: a whole number above zero")
        if type(price) not in (int, float) or price <= 0 or abs(price * 100 - round(price * 100)) > 1e-4:
            raise ValueError("price: a number above zero, with two places")
        cents += quantity * round(price * 100)
        lines.append({"product_id": _text(item["product_id"]), "quantity": quantity, "price": price})
    if cents >= 10**12:
        raise ValueError("the total amount has more than ten digits before the point")
    order = {"order_id": _new_id(), "customer_id": customer, "items": lines, "total_amount": cents / 100}
    announcement = orjson.dumps(order).decode()
    total = f"{cents // 100}.{cents % 100:02}"
    _cursor().execute(PLACE, (order["order_id"], customer, total, orjson.dumps(lines).decode(), announcement))
    _wake_relay()
    order["id"] = order.pop("order_id")
    return orjson.dumps(order | {"status": "pending", "error_message": None})


def _text(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 255 or "\0" in value or not value.strip():
        raise ValueError("customer_id, product_id: 1 to 255 characters")
    return value


def _new_id() -> str:
    """A UUIDv7, so that indexes grow at their end."""
    return str(UUID(int=time.time_ns() // 1_000_000 << 80 | 7 << 76 | int.from_bytes(os.urandom(9)) | 1 << 63))


def _wake_relay() -> None:
    global _wakes_left, _counted_at
    now = time.monotonic()
    _wakes_left = min(_wakes_left + (now - _counted_at) * WAKES_A_SECOND, MOST_WAKES_AT_ONCE)
    _counted_at = now
    if _wakes_left >= 1:
        _wakes_left -= 1
        _cursor().execute("NOTIFY outbox")


def _cursor() -> Any:
    """The cursor of this thread."""
    if not hasattr(_own, "cursor"):
        _own.connection, _own.cursor = connect()
    return _own.cursor
