"""The environment decides, and what is wrong with it is one sentence that names the variable."""

import os
import runpy
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.core.checks import run_checks
from django.core.management import call_command
from pytest_django.fixtures import Settings

PROJECT = Path(__file__).resolve().parents[2]

PRODUCTION = {
    "DATABASE_URL": "postgresql://processor:secret@db.example.com:5432/processor?sslmode=verify-full",
    "RABBITMQ_URL": "amqps://processor:secret@rabbit.example.com/orders",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "processor.example.com",
}

# Like manage.py, but ignores a developer's .env.
MANAGE = """
import environ, os, sys
environ.Env.read_env = staticmethod(lambda *args, **kwargs: None)
os.environ["DJANGO_SETTINGS_MODULE"] = "processor_project.settings"
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""


async def never_awaited(order: Any) -> None: ...


def manage(*arguments: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Runs manage.py under production's environment with some variables changed, or left out (None)."""
    variables = {name: value for name, value in (PRODUCTION | environment).items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", MANAGE, *arguments],
        cwd=PROJECT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def read_settings(**environment: str | None) -> dict[str, Any]:
    """The settings under production's environment with some variables changed, or left out (None)."""
    variables = {name: value for name, value in (PRODUCTION | environment).items() if value is not None}
    with mock.patch.dict(os.environ, variables, clear=True):
        return runpy.run_path(str(PROJECT / "processor_project" / "settings.py"))


def refusal(**environment: str | None) -> str:
    """The sentence with which the process ends under such an environment."""
    with pytest.raises(SystemExit) as caught:
        read_settings(**environment)
    sentence = str(caught.value)
    assert len(sentence.splitlines()) == 1
    assert "secret" not in sentence
    return sentence


def test_production_passes_all_checks_for_deployment() -> None:
    result = manage("check", "--deploy", "--fail-level", "WARNING")

    assert result.returncode == 0, result.stderr
    assert "no issues" in result.stdout


@pytest.mark.parametrize("variable", ["DATABASE_URL", "RABBITMQ_URL", "SECRET_KEY", "ALLOWED_HOSTS"])
def test_what_is_required_and_missing_is_named(variable: str) -> None:
    assert refusal(**{variable: None}).startswith(f"{variable} is not set: ")
    assert refusal(**{variable: ""}).startswith(f"{variable} is empty: ")


@pytest.mark.parametrize("command", ["check", "consume", "migrate"])
def test_a_command_that_lacks_a_variable_ends_with_that_sentence_alone(command: str) -> None:
    result = manage(command, DATABASE_URL=None)

    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == refusal(DATABASE_URL=None) + "\n"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DEBUG", "ture"),
        ("API_AUTH_REQUIRED", "maybe"),
        ("DATABASE_URL", "mysql://localhost/processor"),
        ("DATABASE_URL", "postgresql://localhost:port/processor"),
        ("DATABASE_URL", "postgresql://localhost"),
        ("RABBITMQ_URL", "http://localhost"),
        ("RABBITMQ_URL", "amqp://localhost:port"),
        ("LOG_LEVEL", "LOUD"),
        ("WEB_CONCURRENCY", "two"),
        ("WEB_THREADS", "0"),
        ("LOG_FORMAT", "xml"),
        ("METRICS_PORT", "many"),
        ("METRICS_PORT", "65536"),
        ("MESSAGING_BATCH_SIZE", "1.5"),
        ("PROCESSING_MAX_ORDER_TOTAL", "a lot"),
        ("SIMULATED_LATENCY_MS", "1s"),
        ("SIMULATED_FAILURE_RATE", "often"),
        ("SECURE_HSTS_SECONDS", "a year"),
    ],
)
def test_what_is_malformed_is_named(variable: str, value: str) -> None:
    assert refusal(**{variable: value}).startswith(f"{variable} is malformed: ")


@pytest.mark.parametrize(
    ("name", "value", "check_id"),
    [
        ("PROCESSING_STEPS", ["processing.steps.validat"], "processing.E001"),
        ("PROCESSING_STEPS", "processing.steps.validate", "processing.E001"),
        ("PROCESSING_STEPS", ["processing.steps.validate", 1], "processing.E001"),
        ("PROCESSING_STEPS", ["processing.tests.test_settings.never_awaited"], "processing.E001"),
        ("PROCESSING_STEPS", None, "processing.E001"),
        ("PROCESSING_STEPS", [], "processing.E001"),
        ("PROCESSING_MAX_ORDER_TOTAL", Decimal("NaN"), "processing.E002"),
        ("PROCESSING_MAX_ORDER_TOTAL", Decimal(-1), "processing.E002"),
        ("PROCESSING_MAX_ORDER_TOTAL", 0.5, "processing.E002"),
        ("SIMULATED_LATENCY_MS", -1, "processing.E003"),
        ("SIMULATED_FAILURE_RATE", Decimal("1.5"), "processing.E004"),
        ("SIMULATED_FAILURE_RATE", Decimal("-0.1"), "processing.E004"),
        ("ORDERS_ADMIN_URL", "localhost:8000/admin", "processing.E005"),
        ("ORDERS_ADMIN_URL", "http://localhost:8000/admin", "processing.E005"),
    ],
)
def test_what_cannot_work_is_found_by_a_check_that_names_it(
    settings: Settings, name: str, value: Any, check_id: str
) -> None:
    setattr(settings, name, value)

    (found,) = run_checks()

    assert found.id == check_id
    assert found.msg.startswith(name)
    assert found.hint


def test_the_consumer_does_not_start_with_a_step_that_leads_nowhere() -> None:
    result = manage("consume", PROCESSING_STEPS="processing.steps.validat")

    assert result.returncode == 1
    assert "(processing.E001) PROCESSING_STEPS names 'processing.steps.validat'" in result.stderr
    assert "Traceback" not in result.stderr


def test_no_rule_at_all_is_refused_in_words() -> None:
    result = manage("check", PROCESSING_STEPS="")

    assert result.returncode == 1
    assert "(processing.E001) PROCESSING_STEPS is empty: " in result.stderr


def test_the_settings_under_test_pass_all_checks() -> None:
    assert run_checks() == []


def test_production_is_safe_by_default() -> None:
    production = read_settings()

    assert production["DEBUG"] is False
    for name in ("API_AUTH_REQUIRED", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE"):
        assert production[name] is True
    assert production["SECURE_HSTS_SECONDS"] >= 31_536_000
    assert "SECURE_PROXY_SSL_HEADER" not in production


def test_what_the_database_url_says_after_the_question_mark_reaches_the_driver() -> None:
    (database,) = read_settings()["DATABASES"].values()

    assert database["HOST"] == "db.example.com"
    assert database["OPTIONS"].items() >= {"connect_timeout": 5, "prepare_threshold": 5}.items()
    assert database["OPTIONS"]["sslmode"] == "verify-full"


def test_a_secret_may_begin_with_a_dollar() -> None:
    secret = "$" + 60 * "x"

    assert read_settings(SECRET_KEY=secret)["SECRET_KEY"] == secret
    assert refusal(MESSAGING_BATCH_SIZE="$5").startswith("MESSAGING_BATCH_SIZE is malformed: ")


def test_nothing_is_kept_on_the_server_for_a_pooler_whose_next_transaction_may_go_elsewhere() -> None:
    (database,) = read_settings(DATABASE_PREPARED_STATEMENTS="false")["DATABASES"].values()

    assert database["OPTIONS"]["prepare_threshold"] is None
    assert database["DISABLE_SERVER_SIDE_CURSORS"] is True


def test_development_needs_no_hosts_and_no_tokens() -> None:
    development = read_settings(DEBUG="true", ALLOWED_HOSTS=None)

    assert development["ALLOWED_HOSTS"] == ["*"]
    assert development["API_AUTH_REQUIRED"] is False


def test_the_rules_and_their_figures_come_from_the_environment() -> None:
    default = read_settings()
    assert default["PROCESSING_MAX_ORDER_TOTAL"] == Decimal(100_000)
    assert default["SIMULATED_LATENCY_MS"] == default["SIMULATED_FAILURE_RATE"] == 0

    given = read_settings(
        PROCESSING_STEPS="a.b,c.d",
        PROCESSING_MAX_ORDER_TOTAL="500.50",
        SIMULATED_LATENCY_MS="20",
        SIMULATED_FAILURE_RATE="0.1",
    )
    assert given["PROCESSING_STEPS"] == ["a.b", "c.d"]
    assert given["PROCESSING_MAX_ORDER_TOTAL"] == Decimal("500.50")
    assert given["SIMULATED_LATENCY_MS"] == 20
    assert given["SIMULATED_FAILURE_RATE"] == Decimal("0.1")


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True)  # ends the process when one is
