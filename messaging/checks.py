"""Wrong settings stop a process at start, with a sentence."""

from inspect import iscoroutinefunction
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from messaging.amqp import parameters
from messaging.backpressure import MODES
from messaging.conf import MessagingConfig, config, delay_seconds
from messaging.errors import ConfigurationError
from messaging.management_api import ManagementApi
from messaging.message import Handler
from messaging.retention import check_retention


@register("settings")
def check_messaging(**kwargs: Any) -> list[CheckMessage]:
    """The `MESSAGING` setting.

    E001 its keys, E002 the URL, E003 the batch size, E004 the retry delays, E005 the handlers, E006 the retention,
    E007 the back-pressure, E008 the management API's URL.
    """
    try:
        settings = config()
    except ConfigurationError as error:
        return [Error(str(error), id="messaging.E001")]
    return [*_check_values(settings), *_check_handlers(settings)]


def _check_values(settings: MessagingConfig) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    try:
        parameters(settings, name="check")
    except ConfigurationError as error:
        found.append(Error(str(error), id="messaging.E002"))
    if settings.management_url:
        try:
            ManagementApi(settings.management_url, virtual_host="/")
        except ConfigurationError as error:
            found.append(Error(str(error), id="messaging.E008"))
    if not 1 <= settings.batch_size <= 10_000:
        found.append(Error(f"MESSAGING_BATCH_SIZE is {settings.batch_size}, not 1 to 10000", id="messaging.E003"))
    if settings.backpressure not in MODES:
        modes = ", ".join(MODES)
        found.append(Error(f"MESSAGING_BACKPRESSURE is {settings.backpressure!r}, not {modes}", id="messaging.E007"))
    if not 1 <= settings.outbox_max_age <= 86_400:
        found.append(
            Error(f"MESSAGING_OUTBOX_MAX_AGE is {settings.outbox_max_age}, not 1 to 86400", id="messaging.E007")
        )
    try:
        seconds = [delay_seconds(delay) for delay in settings.retry_delays]
    except ConfigurationError as error:
        return [*found, Error(str(error), id="messaging.E004")]
    if not seconds or seconds != sorted(set(seconds)):
        found.append(
            Error("MESSAGING_RETRY_DELAYS must be one or more, each longer than the last", id="messaging.E004")
        )
    try:
        check_retention(settings, days=settings.retention_days)
    except ConfigurationError as error:
        found.append(Error(f"MESSAGING_RETENTION_DAYS: {error}", id="messaging.E006"))
    return found


def _check_handlers(settings: MessagingConfig) -> list[CheckMessage]:
    try:
        table = import_string(settings.handlers)
    except ImportError as error:
        return [Error(f"MESSAGING['HANDLERS'] cannot be imported: {error}", id="messaging.E005")]
    if not isinstance(table, dict) or not all(isinstance(handler, Handler) for handler in table.values()):
        return [Error(f"{settings.handlers} is no table from message type to Handler", id="messaging.E005")]
    return [
        Error(
            f"{settings.handlers}: the handler of {type_!r} is an async function.",
            hint="Nobody would await it: its messages would be acknowledged without any effect. Make it a plain one.",
            id="messaging.E005",
        )
        for type_, handler in table.items()
        if iscoroutinefunction(handler.handle) or iscoroutinefunction(handler.decode)
    ]
