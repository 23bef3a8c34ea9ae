"""What the API's documents say in words, since JSON Schema cannot, for the schemathesis of test_api_schema.py.

No check or operation is left out: this only keeps requests from counting as good that the words call bad.
"""

import hashlib
import json
import re
from decimal import Decimal
from typing import Any

import schemathesis

KEY = "Idempotency-Key"
TOTAL_LIMIT = 10**10


@schemathesis.hook
def filter_body(context: schemathesis.HookContext, body: Any) -> bool:
    """The total of an order has at most ten digits before the point, whatever its quantities and prices."""
    try:
        return sum(Decimal(str(item["quantity"])) * Decimal(str(item["price"])) for item in body["items"]) < TOTAL_LIMIT
    except (ArithmeticError, LookupError, TypeError):
        return True  # no order at all: the API has to say so


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: schemathesis.Case[Any], kwargs: dict[str, Any]) -> None:
    """A key belongs to one order: a good key gets the order's hash, so that it comes with no other order."""
    key = case.headers.get(KEY) if case.headers else None
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        order = hashlib.sha256(json.dumps(case.body, sort_keys=True, default=str).encode()).hexdigest()[:32]
        case.headers[KEY] = key[: 255 - len(order)] + order
