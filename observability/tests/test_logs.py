import io
import json
import logging
import logging.config
import sys
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from observability.context import bind
from observability.logs import JSONFormatter, TextFormatter, info_each, logging_config, process_role


@contextmanager
def logger_through(formatter):
    """A logger, and the stream that it writes to through the formatter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.getLogger("things.views")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield logger, stream
    logger.removeHandler(handler)


@pytest.fixture
def log():
    """Logs one record through a formatter and returns the text."""

    def write(formatter, message, *args, level=logging.INFO, **kwargs):
        with logger_through(formatter) as (logger, stream):
            logger.log(level, message, *args, **kwargs)
        return stream.getvalue()

    return write


@pytest.fixture
def as_json(log):
    def write(message, *args, **kwargs):
        text = log(JSONFormatter(service="things", process="web"), message, *args, **kwargs)
        assert text.count("\n") == 1, "one record is one line"
        return json.loads(text)

    return write


@pytest.fixture
def as_text(log):
    return lambda *args, **kwargs: log(TextFormatter(service="things", process="web"), *args, **kwargs)


def test_a_json_line_says_when_where_what_and_for_whom(as_json):
    before = datetime.now(UTC)
    with bind(correlation_id="abc"):
        line = as_json("order %s", "placed", extra={"order_id": 7})

    assert line["time"].endswith("Z")
    assert abs(datetime.fromisoformat(line.pop("time")) - before).total_seconds() < 60
    assert line.pop("pid") > 0
    assert line == {
        "level": "INFO",
        "logger": "things.views",
        "message": "order placed",
        "service": "things",
        "process": "web",
        "correlation_id": "abc",
        "order_id": 7,
    }


def test_a_correlation_id_given_with_the_record_wins_over_the_context(as_json):
    with bind(correlation_id="of the context"):
        assert as_json("x", extra={"correlation_id": "of the message"})["correlation_id"] == "of the message"


def test_an_extra_does_not_replace_what_every_line_has(as_json):
    line = as_json("x", extra={"service": "forged", "level": "forged", "time": "forged"})
    assert line["service"] == "things"
    assert line["level"] == "INFO"
    assert line["time"] != "forged"


def test_a_traceback_is_one_field_of_the_line(as_json):
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        line = as_json("failed", exc_info=True)
    assert line["traceback"].startswith("Traceback")
    assert "first\nsecond" in line["traceback"]
    assert "exc_info" not in line


def test_a_json_line_cannot_be_broken_by_what_it_quotes(as_json):
    assert as_json("a\r\nb", extra={"path": "/x\n{}"})["path"] == "/x\n{}"


@pytest.mark.parametrize("value", ["\ud800", 2**70, {1, 2}, object(), b"\xff", {("a",): 1}])
def test_no_value_costs_the_line(as_json, value):
    assert as_json("kept", extra={"odd": value})["message"] == "kept"


def test_the_request_that_django_attaches_to_its_records_stays_out(as_json):
    line = as_json("x", extra={"request": object()})
    assert "request" not in line


@pytest.fixture
def lines_of_each():
    """What `info_each` writes through a formatter."""

    def write(formatter, message, extras):
        with logger_through(formatter) as (logger, stream):
            info_each(logger, message, extras)
        return stream.getvalue().splitlines()

    return write


@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_batch_is_logged_with_a_line_for_each_like_any_other(lines_of_each, number):
    formatter = JSONFormatter(service="things", process="relay")
    lines = [
        json.loads(line)
        for line in lines_of_each(
            formatter, "sent", [{"message_id": str(n), "correlation_id": f"c{n}", "odd": {n}} for n in range(number)]
        )
    ]
    assert [(line["message_id"], line["correlation_id"], line["odd"]) for line in lines] == [
        (str(n), f"c{n}", f"{{{n}}}") for n in range(number)
    ]
    for line in lines:
        assert line["message"] == "sent"
        assert line["logger"] == "things.views"
        assert line["service"] == "things"
        assert line["level"] == "INFO"
        assert line["time"].endswith("Z")


def test_a_line_of_a_batch_keeps_the_rules_of_any_other(lines_of_each):
    with bind(correlation_id="of the context"):
        lines = lines_of_each(
            JSONFormatter(service="things", process="relay"), "x", [{"service": "forged"}, {"a": "b\nc"}]
        )
    assert "forged" not in lines[0]
    first, second = map(json.loads, lines)
    assert first["service"] == "things"
    assert second["a"] == "b\nc"
    assert first["correlation_id"] == second["correlation_id"] == "of the context"


def test_a_batch_in_text_is_a_line_for_each(lines_of_each):
    formatter = TextFormatter(service="things", process="relay")
    first, second = lines_of_each(formatter, "sent", [{"id": 1, "correlation_id": "c1"}, {"id": "2\n", "_own": 3}])
    assert first.endswith("things.views: sent id=1 correlation_id=c1")
    assert second.endswith("things.views: sent id=2\\n")


def test_a_text_line_shows_the_message_and_the_ids(as_text):
    with bind(correlation_id="abc"):
        line = as_text("placed", extra={"order_id": 7})
    assert "INFO" in line
    assert "things.web things.views: placed" in line
    assert line.endswith("order_id=7 correlation_id=abc\n")
    assert "\033" not in line, "no colours where nobody looks"


def test_a_text_line_cannot_be_broken_or_coloured_by_what_it_quotes(as_text):
    line = as_text("a\r\n12:00:00 INFO forged\033[31m", extra={"path": "x\ny\u2028z\u2029\x85\x9b31m\x7f"})
    assert line.splitlines() == [line.rstrip("\n")]
    assert line.rstrip("\n").isprintable()
    assert "\\n" in line


def test_a_traceback_in_text_is_indented_so_that_it_cannot_pass_for_a_line(as_text):
    try:
        raise ValueError("first\n12:00:00 INFO forged")
    except ValueError:
        first, *rest = as_text("failed", exc_info=True).splitlines()
    assert first.endswith("failed")
    assert rest
    assert all(line.startswith("    ") for line in rest)


def test_colours_are_for_terminals_that_want_them(as_text, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\033[31m" in as_text("x", level=logging.ERROR)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\033" not in as_text("x", level=logging.ERROR)


@pytest.mark.parametrize(
    ("argv", "role"),
    [
        (["/app/.venv/bin/gunicorn", "order_project.wsgi"], "web"),
        (["/app/.venv/lib/gunicorn/__main__.py", "order_project.wsgi"], "web"),
        (["manage.py", "runserver", "8000"], "web"),
        (["./manage.py", "relay"], "relay"),
        (["manage.py", "consume", "--once"], "consume"),
        (["/app/.venv/bin/django-admin", "migrate"], "migrate"),
        (["/app/.venv/lib/django/__main__.py", "--verbosity", "check"], "check"),
        (["manage.py"], "manage"),
        (["/usr/bin/pytest"], "pytest"),
        ([""], "python"),
    ],
)
def test_the_role_of_a_process_is_read_from_its_command_line(argv, role):
    assert process_role(argv) == role


@pytest.mark.parametrize(("level", "log_format"), [("INFO", "xml"), ("LOUD", "json")])
def test_a_setting_it_does_not_know_is_refused_by_name(level, log_format):
    with pytest.raises(ValueError, match=r"LOG_(FORMAT|LEVEL) is"):
        logging_config(service="things", level=level, log_format=log_format)


@pytest.mark.parametrize("log_format", ["json", "text"])
@pytest.mark.parametrize("level", ["debug", "INFO", "ERROR"])
def test_every_configuration_is_one_that_logging_takes(log_format, level):
    config = logging_config(service="things", level=level, log_format=log_format)
    logging.config.DictConfigurator(config)  # checks the form
    assert config["root"]["level"] == level.upper()
