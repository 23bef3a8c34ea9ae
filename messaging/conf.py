"""The `MESSAGING` setting, typed, with its defaults. Looked up on use, so that `override_settings` works."""

import re
from dataclasses import dataclass, fields
from functools import cache, cached_property
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from messaging.errors import ConfigurationError
from messaging.message import Handler

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def delay_seconds(name: str) -> float:
    """`"5s"` -> 5.0. Units: ms, s, m, h. Raises ConfigurationError for anything else."""
    match = re.fullmatch(r"(\d+)(ms|s|m|h)", name)
    if not match or not int(match[1]):
        raise ConfigurationError(f"MESSAGING_RETRY_DELAYS: {name!r} is no delay; write it like 500ms, 5s, 2m or 1h")
    return int(match[1]) * _UNITS[match[2]]


@dataclass(frozen=True)
class MessagingConfig:
    """Durations are in seconds."""

    url: str
    """amqp:// or amqps:// URL of the broker; several, comma-separated, are tried in turn."""
    service: str
    """Sent as `app_id`."""
    queue: str
    """The service's work queue; the ladder and the dead-letter queue are named after it."""
    exchange: str
    """Where it publishes and what its queue is bound to; the retry and dead-letter exchanges are named after it."""
    handlers: str
    """Dotted path of the table type -> Handler."""
    batch_size: int = 200
    retry_delays: tuple[str, ...] = ("1s", "5s", "30s", "2m", "10m")
    confirm_timeout: float = 15.0
    """How long the broker may take to confirm a batch before it counts as away."""
    heartbeat: int = 15
    poll_interval: float = 1.0
    """How often the relay looks at the outbox when nobody wakes it."""
    new_queue_pause: float = 2.0
    """How long a queue that had to be declared stays unbound; `messaging.topology.apply` says why."""
    management_url: str = ""
    """HTTP API of the broker's management plugin, with credentials; empty: bindings are not compared."""
    outbox_max_age: float = 60.0
    """How long a message may wait to be published before it counts as back-pressure."""
    backpressure: str = "warn"
    """What the services do about it: "off" nothing, "warn" a line in the log, "refuse" takes nothing new."""
    release: str = ""
    """What runs here; dead letters and failure groups are marked with it."""
    retention_days: int = 30
    """How many days `purge` keeps what is done with."""

    @cached_property
    def handler_table(self) -> dict[str, Handler[Any]]:
        """Each type of message that this service takes, and what handles it. Raises ImportError for a wrong path."""
        table: dict[str, Handler[Any]] = import_string(self.handlers)
        return table


@cache
def config() -> MessagingConfig:
    """The current configuration. Raises ConfigurationError naming an unknown or missing key."""
    given = {key.lower(): value for key, value in settings.MESSAGING.items()}
    known = {f.name for f in fields(MessagingConfig)}
    if unknown := given.keys() - known:
        raise ConfigurationError(f"MESSAGING has unknown keys: {', '.join(sorted(unknown))}")
    if missing := {"url", "service", "queue", "exchange", "handlers"} - given.keys():
        raise ConfigurationError(f"MESSAGING lacks: {', '.join(sorted(missing))}")
    return MessagingConfig(**given)


@receiver(setting_changed)
def _forget(*, setting: str, **_: Any) -> None:
    if setting == "MESSAGING":
        config.cache_clear()
