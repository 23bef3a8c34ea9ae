"""How an order is decided: the steps that `PROCESSING_STEPS` names, one after the other.

To put in a rule of your own, write a function that takes the order and name it in the setting:

    def no_tobacco(order: OrderCreated) -> None:
        if any(item.product_id.startswith("tobacco-") for item in order.items):
            raise BusinessRuleViolation("We do not sell tobacco.")

    PROCESSING_STEPS = ["processing.steps.validate", "shop.rules.no_tobacco", …]

A step that returns passes the order on; when all have returned, the order is completed. A step that raises
`BusinessRuleViolation` ends it: the order is failed, with the reason, and the shop is told so. Anything else that a
step raises is about the message, not about the order: after `messaging.errors.TransientError` the message is tried
again later, after `PermanentError` it goes to the dead letters; in both cases the order stays undecided.

A step runs inside the transaction that keeps the decision, which it shares with the other orders of the batch. What it
writes to the database is kept or undone with the decision. When that transaction is rolled back, the step may run again
for the same order. So a step that calls other systems must be safe to repeat, and should have
`MESSAGING_BATCH_SIZE=1`, so that one slow or failing call holds up no other order.

To fail an order is a decision too, so what was written before the `BusinessRuleViolation`, by this step or an earlier
one, is kept. A step that writes should come last, and check the whole order before it writes.
"""

from collections.abc import Callable, Sequence
from functools import cache
from inspect import iscoroutinefunction

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string

from contracts.events import MAX_ERROR_MESSAGE, OrderCreated

type Step = Callable[[OrderCreated], None]


class BusinessRuleViolation(Exception):
    """The order breaks a rule of the business, and the shop is told the reason. Not an error: nothing is retried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decide(order: OrderCreated, steps: Sequence[Step]) -> str:
    """Run the order through the steps. Returns the reason why it failed; empty when it is completed.

    Passes on whatever else a step raises. Nothing has happened then beyond what the steps themselves did.
    """
    for step in steps:
        try:
            step(order)
        except BusinessRuleViolation as violation:
            return _storable(violation.reason) or f"Refused by {step.__module__}.{step.__qualname__}."
    return ""


def configured_steps() -> Sequence[Step]:
    """The steps that `PROCESSING_STEPS` names now. To be called once a batch: reading a setting takes Django 1 µs."""
    return load_steps(tuple(settings.PROCESSING_STEPS))


@cache
def load_steps(paths: tuple[str, ...]) -> tuple[Step, ...]:
    """The functions behind the dotted paths. Raises ImproperlyConfigured, with the path that leads to none."""
    steps = []
    for path in paths:
        try:
            step = import_string(path)
        except ImportError as error:
            raise ImproperlyConfigured(f"PROCESSING_STEPS names {path!r}, which cannot be imported: {error}") from error
        if not callable(step):
            raise ImproperlyConfigured(f"PROCESSING_STEPS names {path!r}, which is no function")
        if iscoroutinefunction(step):
            raise ImproperlyConfigured(
                f"PROCESSING_STEPS names {path!r}, an async function, which nobody would await: no order would break it"
            )
        steps.append(step)
    return tuple(steps)


def _storable(reason: str) -> str:
    """The reason as the database and the wire can hold it, whatever the rule has put into it."""
    text = reason.replace("\0", "").encode(errors="replace").decode().strip()
    return text if len(text) <= MAX_ERROR_MESSAGE else text[: MAX_ERROR_MESSAGE - 1] + "…"
