"""How an order is decided: the steps that `PROCESSING_STEPS` names, one after the other.

To put in a rule of your own, write a function that takes the order and name it in the setting:

    def no_tobacco(order: OrderCreated) -> None:
        if any(item.product_id.startswith("tobacco-") for item in order.items):
            raise BusinessRuleViolation("We do not sell tobacco.")

    PROCESSING_STEPS = ["processing.steps.validate", "shop.rules.no_tobacco", …]

A step that returns lets the order pass on; when all have returned, the order is completed. One that raises
`BusinessRuleViolation` ends it: the order is failed, with the reason, and the shop is told so. Anything else that
it raises is about the message, not about the order: `messaging.errors.TransientError` has the message tried again
later, `PermanentError` puts it to the dead letters; in both cases the order stays undecided.

A step runs inside the transaction that keeps the decision, together with the other orders of its batch, and may run
more than once for the same order, when that transaction is rolled back. What it writes to the database is kept or
undone with the decision. A step that calls the outside must therefore be safe to repeat, and wants
`MESSAGING_BATCH_SIZE=1`, so that one slow or failing call holds up no other order.

That an order is failed is a decision too, so what was written before the `BusinessRuleViolation`, by this step or an
earlier one, is kept. A step that writes comes last, and looks at all of the order before it writes.
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
    """The order breaks a rule of the business, and the shop is told the reason. No error: nothing is retried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def decide(order: OrderCreated, steps: Sequence[Step]) -> str:
    """Run the order through the steps. Returns the reason why it failed; empty when it is completed.

    Passes on whatever else a step raises. Nothing has happened then, beyond what the step itself did.
    """
    for step in steps:
        try:
            step(order)
        except BusinessRuleViolation as violation:
            return _storable(violation.reason) or f"Refused by {step.__module__}.{step.__qualname__}."
    return ""


def configured_steps() -> Sequence[Step]:
    """The steps that `PROCESSING_STEPS` names now. To be asked once for a batch: a setting takes Django 1 µs."""
    return load_steps(tuple(settings.PROCESSING_STEPS))


@cache
def load_steps(paths: tuple[str, ...]) -> tuple[Step, ...]:
    """The functions behind the dotted paths. Raises ImproperlyConfigured that names the path that leads to none."""
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
