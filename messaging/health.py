"""What `/health` says about this service's messaging."""

from typing import Any

from messaging.amqp import open_blocking
from messaging.conf import config
from messaging.models import DeadLetter, Process
from messaging.outbox import backlog


def broker() -> dict[str, Any]:
    """Opens and closes a connection. Raises BrokerUnavailableError or ConfigurationError with the reason."""
    with open_blocking(config(), name="health", timeout=2):
        return {}


def outbox() -> dict[str, Any]:
    """How many messages wait to be published, and for how long the oldest has; a warning above `outbox_max_age`."""
    waiting, age = backlog()
    found = {"waiting": waiting, "oldest_age_seconds": round(age, 1)}
    limit = config().outbox_max_age
    if age > limit:
        return {"status": "warning", "detail": f"The oldest message waits for more than {limit:g} s.", **found}
    return found


def dead_letters() -> dict[str, Any]:
    """How many wait for somebody to decide; a warning when any does."""
    waiting = DeadLetter.objects.filter(status=DeadLetter.Status.WAITING).count()
    if waiting:
        return {"status": "warning", "detail": "Messages could not be handled; see the admin.", "waiting": waiting}
    return {"waiting": waiting}


def relay() -> dict[str, Any]:
    """Which relays are alive, and when each last made progress; a warning when none is, or one waits for something."""
    return _processes("relay")


def consume() -> dict[str, Any]:
    """The same for the consumers."""
    return _processes("consume")


def missing_roles() -> list[str]:
    """The roles of which nobody is alive: without a `relay` nothing is sent, without a `consume` nothing handled."""
    return sorted({"consume", "relay"} - set(Process.objects.alive().values_list("role", flat=True)))


def _processes(role: str) -> dict[str, Any]:
    alive = [
        {
            "name": process.name,
            "seen_at": process.seen_at.isoformat(),
            "progressed_at": process.progressed_at and process.progressed_at.isoformat(),
            "circuit": f"open: the {process.circuit} is away" if process.circuit else "closed",
        }
        for process in Process.objects.alive().filter(role=role).order_by("name")
    ]
    if not alive:
        detail = f"No {role} was seen within {Process.ALIVE_WITHIN} seconds."
        return {"status": "warning", "detail": detail, "processes": []}
    if open_circuits := sum(process["circuit"] != "closed" for process in alive):
        detail = f"{open_circuits} of {len(alive)} wait for something that is away."
        return {"status": "warning", "detail": detail, "processes": alive}
    return {"processes": alive}
