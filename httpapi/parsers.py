"""Reading JSON bodies strictly: what is ambiguous or cannot be kept as sent is refused, with a reason."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest
from rest_framework.parsers import BaseParser

from httpapi.problems import Problem, error, invalid
from httpapi.renderers import JSONRenderer

MAX_DEPTH = 64
"""How many levels of arrays and objects may be nested."""

MAX_EXPONENT = 400
"""Numbers from 10**400 on, or as close to 0, are refused: no float can hold them, and `int()` of one can hang."""

DEFAULT_MAX_BODY_BYTES = 1024 * 1024


def max_body_bytes() -> int:
    """The setting API_MAX_BODY_BYTES: the largest body that is read. 1 MiB by default."""
    return int(getattr(settings, "API_MAX_BODY_BYTES", DEFAULT_MAX_BODY_BYTES))


def is_plain_json(request: HttpRequest) -> bool:
    """Whether the request says that its body is JSON (in UTF-8, as always) and not larger than what is read."""
    length = request.META.get("CONTENT_LENGTH", "")
    return bool(
        request.META.get("CONTENT_TYPE") == "application/json"
        and length.isdecimal()
        and int(length) <= max_body_bytes()
    )


def cut_off() -> Problem:
    """400 for a body of which a part is missing: its client has left, or was cut off."""
    return Problem(400, "The body could not be read to its end.")


def too_large(limit: int | None = None) -> Problem:
    """413 that names the limit, API_MAX_BODY_BYTES unless told otherwise."""
    return Problem(413, f"The body is larger than the {limit or max_body_bytes()} bytes this service takes.")


class StrictJSONParser(BaseParser):
    """`application/json`, UTF-8. Numbers with a fraction or an exponent arrive as Decimal, exactly as written.

    Raises Problem: 413 for a body over API_MAX_BODY_BYTES, before it is read; 400 for one that is not JSON, is nested
    too deeply, or has duplicate keys, NaN, Infinity or numbers out of range; 422 for lone surrogates. NUL, which
    PostgreSQL cannot keep either, is left to the fields: if no field takes it, it does no harm.
    """

    media_type = "application/json"
    renderer_class = JSONRenderer

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        assert parser_context is not None
        request = parser_context["request"]._request
        if int(request.META.get("CONTENT_LENGTH") or 0) > max_body_bytes():
            raise too_large()
        return parse_json(whole_body(request))


def whole_body(request: HttpRequest) -> bytes:
    """The whole body, which stays readable. Raises Problem 400 for one that is shorter than announced."""
    body = request.body
    if len(body) < int(request.META.get("CONTENT_LENGTH") or 0):
        raise cut_off()
    return body


def parse_json(body: bytes) -> Any:
    """The value of a JSON text, read as strictly as `StrictJSONParser` promises. Raises Problem."""
    try:
        text = body.decode()
    except UnicodeDecodeError as exc:
        raise Problem(400, f"The body is not UTF-8: byte {exc.start} does not belong there.") from None
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_float=_number, parse_constant=_constant)
    except json.JSONDecodeError as exc:
        message = exc.msg.removesuffix(" (decode using utf-8-sig)")
        raise Problem(400, f"The body is not JSON: {message}, at line {exc.lineno}, column {exc.colno}.") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError:  # The only one left: Python refuses to read an integer of thousands of digits.
        raise Problem(400, "The body has an integer with too many digits.") from None
    # Both checks walk the whole value, so they run only if the text can contain what they look for.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    if b"\\u" in body:
        _check_text(value)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Problem(400, f"The body has the key {json.dumps(twice[:100])} twice in one object.")
    return value


def _number(text: str) -> Decimal:
    # The exponent is looked at as text: Decimal raises for one that is absurd, and keeps one that is merely huge.
    try:
        value = Decimal(text)
    except ArithmeticError:
        raise _out_of_range(text) from None
    if abs(value.adjusted()) >= MAX_EXPONENT and value:
        raise _out_of_range(text)
    return value


def _out_of_range(text: str) -> Problem:
    return Problem(400, f"The body has a number that is out of range: {text[:40]}.")


def _constant(name: str) -> Any:
    raise Problem(400, f"The body has {name}, which is not JSON.")


def _too_deep() -> Problem:
    return Problem(400, f"The body is nested deeper than {MAX_DEPTH} levels.")


def _check_depth(value: Any) -> None:
    level = [value] if isinstance(value, (dict, list)) else []
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for container in level
            for inner in (container.values() if isinstance(container, dict) else container)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise _too_deep()


def _check_text(value: Any) -> None:
    """Refuses lone surrogates wherever they are: they are not text, and no answer could quote them."""
    steps = _to_half_a_pair(value)
    if steps is not None:
        pointer = "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in steps)
        raise invalid([error(pointer, "Half of a surrogate pair is no character.")])


def _to_half_a_pair(value: Any) -> list[Any] | None:
    """The path to the first one. Made on the way back: else a long key above many values would be copied for each."""
    if isinstance(value, str):
        return [] if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value) else None
    items: Any = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        if isinstance(key, str) and _to_half_a_pair(key) is not None:
            return []
        if (steps := _to_half_a_pair(inner)) is not None:
            return [key, *steps]
    return None
