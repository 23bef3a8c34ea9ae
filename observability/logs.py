"""How both services log: one JSON object a line, or a readable line for a person at a terminal.

Every line carries the service, the role of the process and the correlation id. Lines go to standard error, so that
the output of a command stays its own. Log ids, never payloads.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS, LogData
from pythonjsonlogger.orjson import OrjsonFormatter

from observability.context import current_correlation_id

# `request` is what Django's own loggers attach: an object no line can hold.
_NOT_EXTRAS = frozenset({*RESERVED_ATTRS, "request", "correlation_id", "each"})
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160), 0x2028, 0x2029)}
_CONTROL |= {ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): " "}
_COLOURS = {"WARNING": "\033[33m", "ERROR": "\033[31m", "CRITICAL": "\033[1;31m", "DEBUG": "\033[2m"}
_RESET = "\033[0m"
_DIM = "\033[2m"


def process_role(argv: list[str] | None = None) -> str:
    """What this process is for: `web`, or the manage.py command (`relay`, `consume`, `migrate`...)."""
    argv = sys.argv if argv is None else argv
    program = Path(argv[0]) if argv and argv[0] else Path("python")
    name = program.parent.name if program.stem == "__main__" else program.stem
    if name in ("manage", "django", "django-admin"):
        command = next((word for word in argv[1:] if not word.startswith("-")), "manage")
        return "web" if command == "runserver" else command
    return "web" if name == "gunicorn" else name


def logging_config(*, service: str, level: str, log_format: str) -> dict[str, Any]:
    """The LOGGING setting, also gunicorn's `logconfig_dict`.

    `log_format` is `json` or `text`, `level` a level's name in any case. Raises ValueError for anything else.
    """
    if log_format not in ("json", "text"):
        raise ValueError(f"LOG_FORMAT is {log_format!r}; it must be json or text")
    level = level.upper()
    if level not in logging.getLevelNamesMapping():
        raise ValueError(f"LOG_LEVEL is {level!r}; it must be DEBUG, INFO, WARNING, ERROR or CRITICAL")
    formatter = JSONFormatter if log_format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "service": service, "process": process_role()}},
        "filters": {"tracebacks": {"()": HasTraceback}, "strangers": {"()": DoneByAStranger}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level, "handlers": ["console"]},
        "loggers": {
            # Django's defaults for these would write lines of their own shape.
            "django": {"level": level, "handlers": [], "propagate": True},
            # Every answer has its own line already (observability.middleware); only tracebacks come from here.
            "django.request": {"level": "ERROR", "filters": ["tracebacks"]},
            "django.security.DisallowedHost": {"filters": ["strangers"]},
            "django.server": {"level": "ERROR", "handlers": [], "propagate": True},
            "gunicorn.error": {"level": level, "handlers": [], "propagate": True},
            # With a logconfig_dict gunicorn cannot be kept from an access log otherwise; see serving.gunicorn.
            "gunicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": True},
            # It warns of each answer to a HEAD, whose body Django leaves for the server to drop.
            "gunicorn.http.wsgi": {"level": "ERROR"},
        },
    }


def info_each(logger: logging.Logger, message: str, extras: Sequence[Mapping[str, Any]]) -> None:
    """Logs the message once for each of `extras`: as many lines, with the same time and in one write.

    For a batch: a record for each of its lines would be a sixth of what a message costs a relay or a consumer. Handlers
    see a single record, which has the extras as `each`; for a single one it is the record that `logger.info` makes.
    """
    if len(extras) == 1:
        logger.info(message, extra=extras[0])
    elif extras:
        logger.info(message, extra={"each": extras})


class HasTraceback(logging.Filter):
    """Lets only records with a traceback pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.exc_info is not None


class DoneByAStranger(logging.Filter):
    """Turns an error that anybody can cause, and that nobody here has to mend, into a warning in one line."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
        record.exc_info = None
        return logging.root.isEnabledFor(record.levelno)


class JSONFormatter(OrjsonFormatter):
    """One JSON object: time, level, logger, message, service, process, pid, correlation_id, then the extras."""

    def __init__(self, *, service: str, process: str) -> None:
        super().__init__()
        self._service = service
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        each: Sequence[Mapping[str, Any]] | None = record.__dict__.get("each")
        if each is None:
            return super().format(record)
        record.message = record.getMessage()
        same: dict[str, Any] = {}
        self.add_fields(same, record, {})
        context = {"correlation_id": same.pop("correlation_id")}
        # What the lines have in common is encoded once, and put behind what each has of its own.
        common = self.jsonify_log_record(same)[1:]
        lines = []
        for extra in each:
            own = {**context, **extra}
            if own.keys().isdisjoint(same):
                lines.append(f"{self.jsonify_log_record(own)[:-1]},{common}")
            else:
                lines.append(self.jsonify_log_record(own | same))
        return "\n".join(lines)

    def add_fields(self, log_data: LogData, record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        log_data["time"] = _time(record)
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["message"] = record.message
        log_data["service"] = self._service
        log_data["process"] = self._process
        log_data["pid"] = record.process
        log_data["correlation_id"] = _correlation_id(record.__dict__)
        if "exc_info" in message_dict:
            message_dict["traceback"] = message_dict.pop("exc_info")
        log_data.update(message_dict)
        for key, value in record.__dict__.items():
            if key not in _NOT_EXTRAS and key not in log_data:
                log_data[key] = value

    def jsonify_log_record(self, log_data: LogData) -> str:
        try:
            return super().jsonify_log_record(log_data)
        except TypeError:
            # Lone surrogates, integers beyond 64 bits: orjson refuses them, and no line may be lost for that.
            return json.dumps(log_data, default=str, skipkeys=True)


class TextFormatter(logging.Formatter):
    """One line for a person: time, level, service and process, logger, message, ids. Coloured on a terminal.

    Control characters in it are shown escaped, so that no message can forge a line or steer the terminal; a
    traceback follows on indented lines.
    """

    def __init__(self, *, service: str, process: str) -> None:
        super().__init__()
        self._who = f"{service}.{process}"
        self._colours = _COLOURS if sys.stderr.isatty() and "NO_COLOR" not in os.environ else {}

    def format(self, record: logging.LogRecord) -> str:
        each: Sequence[Mapping[str, Any]] = record.__dict__.get("each") or [record.__dict__]
        return "\n".join(self._line(record, given) for given in each)

    def _line(self, record: logging.LogRecord, given: Mapping[str, Any]) -> str:
        extras = [
            f"{key}={value}" for key, value in given.items() if key not in _NOT_EXTRAS and not key.startswith("_")
        ]
        if correlation_id := _correlation_id(given):
            extras.append(f"correlation_id={correlation_id}")
        message = record.getMessage().translate(_CONTROL)
        ids = " ".join(extras).translate(_CONTROL)
        when = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        head = f"{when}.{int(record.msecs):03d} {record.levelname:<7} {self._who} {record.name}: {message}"
        if self._colours:
            colour = self._colours.get(record.levelname, "")
            head, ids = (f"{colour}{head}{_RESET}" if colour else head), (f"{_DIM}{ids}{_RESET}" if ids else "")
        line = f"{head} {ids}" if ids else head
        traces = [self.formatException(record.exc_info) if record.exc_info else "", record.stack_info or ""]
        return line + "".join(f"\n    {text.translate(_CONTROL)}" for trace in traces for text in trace.splitlines())


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def _correlation_id(given: Mapping[str, Any]) -> str:
    correlation_id = given.get("correlation_id")
    return current_correlation_id() if correlation_id is None else str(correlation_id)
