"""The environment decides: safe by default, and one sentence for what is missing or malformed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.checks import run_checks

PROJECT = Path(__file__).parents[2]

PRODUCTION = {
    "PATH": os.environ["PATH"],
    "DATABASE_URL": "postgresql://orders:secret@database.invalid:5432/orders",
    "RABBITMQ_URL": "amqps://orders:secret@broker.invalid/",
    "SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "ALLOWED_HOSTS": "orders.example.com",
}

# A developer's `.env` must not fill in what a test leaves out.
WITHOUT_DOTENV = "import environ; environ.Env.read_env = staticmethod(lambda *a, **k: None);"


def python(code: str, **environment: str | None) -> subprocess.CompletedProcess[str]:
    """Runs this code in a new process, in production's environment with these changes."""
    changed = {name: value for name, value in {**PRODUCTION, **environment}.items() if value is not None}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_DOTENV + code],
        cwd=PROJECT, env=changed, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def from_settings(*names: str, **environment: str | None) -> list[str]:
    code = f"from order_project import settings; print(*(repr(getattr(settings, name)) for name in {names}), sep='|')"
    done = python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().split("|")


@pytest.mark.parametrize("name", ["DATABASE_URL", "RABBITMQ_URL", "SECRET_KEY", "ALLOWED_HOSTS"])
@pytest.mark.parametrize("value", [None, ""], ids=["missing", "empty"])
def test_what_is_required_ends_the_process_with_a_sentence_that_names_it(name, value):
    done = python("import order_project.settings", **{name: value})

    assert done.returncode == 1
    assert done.stderr.startswith(name)
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DEBUG", "perhaps"),
        ("API_AUTH_REQUIRED", "2"),
        ("DATABASE_URL", "orders"),
        ("DATABASE_URL", "mysql://user:secret@host/orders"),
        ("DATABASE_URL", "postgresql://user:secret@host:port/orders"),
        ("DATABASE_URL", "postgresql://user:secret@host"),
        ("RABBITMQ_URL", "http://user:secret@host"),
        ("RABBITMQ_URL", "amqp://user:secret@host:99999/"),
        ("RABBITMQ_URL", "amqp://one,two"),
        ("MAX_ITEMS_PER_ORDER", "many"),
        ("API_MAX_BODY_BYTES", "1 MiB"),
        ("MESSAGING_BATCH_SIZE", "1.5"),
        ("LOG_LEVEL", "LOUD"),
        ("WEB_CONCURRENCY", "two"),
        ("WEB_THREADS", "0"),
        ("LOG_FORMAT", "xml"),
    ],
)
def test_what_is_malformed_ends_the_process_with_a_sentence_that_names_it_and_no_secret(name, value):
    done = python("import order_project.settings", **{name: value})

    assert done.returncode == 1
    assert done.stderr.startswith(f"{name} is malformed: ")
    assert done.stderr.count("\n") == 1
    assert "secret" not in done.stderr


def test_gunicorn_ends_with_the_same_sentence():
    environment = {name: value for name, value in PRODUCTION.items() if name != "SECRET_KEY"}
    done = subprocess.run(
        [Path(sys.executable).with_name("gunicorn"), "order_project.wsgi", "--bind", "127.0.0.1:0"],
        cwd=PROJECT, env={**environment, "SECRET_KEY": ""}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr.startswith("SECRET_KEY is empty")
    assert done.stderr.count("\n") == 1


def test_without_a_word_the_api_is_closed_and_everything_is_secure():
    names = ("DEBUG", "API_AUTH_REQUIRED", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")

    assert from_settings(*names) == ["False", "True", "True", "True", "True"]
    assert int(from_settings("SECURE_HSTS_SECONDS")[0]) > 0


def test_in_debug_the_api_is_open_and_plain_http_works():
    names = ("API_AUTH_REQUIRED", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "SECURE_HSTS_SECONDS")

    assert from_settings(*names, DEBUG="true", ALLOWED_HOSTS=None) == ["False", "False", "False", "0"]


def test_the_forwarded_protocol_is_trusted_only_when_told_so():
    code = "from order_project import settings; print(getattr(settings, 'SECURE_PROXY_SSL_HEADER', None))"

    assert python(code).stdout.strip() == "None"
    assert "HTTP_X_FORWARDED_PROTO" in python(code, TRUST_X_FORWARDED_PROTO="true").stdout


def test_what_the_database_url_says_of_libpq_is_kept():
    (databases,) = from_settings(
        "DATABASES", DATABASE_URL="postgresql://u@/orders?host=/run/postgresql&connect_timeout=9"
    )

    assert "'host': '/run/postgresql'" in databases
    assert "'connect_timeout': 9" in databases


def test_a_database_that_vanishes_is_given_up_unless_its_url_says_otherwise():
    (usual,) = from_settings("DATABASES")
    (patient,) = from_settings("DATABASES", DATABASE_URL="postgresql://u@host/orders?tcp_user_timeout=0&keepalives=0")

    assert "'tcp_user_timeout': 20000" in usual
    assert "'keepalives_idle': 10" in usual
    assert "'tcp_user_timeout': 0" in patient
    assert "'keepalives': 0" in patient


def test_blanks_in_a_list_are_none_of_its_items():
    assert from_settings("ALLOWED_HOSTS", ALLOWED_HOSTS="orders.example.com, api.example.com ,") == [
        "['orders.example.com', 'api.example.com']"
    ]


def test_a_list_of_blanks_is_empty():
    assert python("import order_project.settings", ALLOWED_HOSTS=" , ").stderr.startswith("ALLOWED_HOSTS is empty")


def test_only_gunicorn_looks_for_the_folder_in_which_workers_count():
    code = "import order_project.settings; from prometheus_client import Counter; Counter('c', 'c').inc(); print(1)"

    assert python(code, PROMETHEUS_MULTIPROC_DIR="/nowhere").stdout == "1\n"


@pytest.mark.parametrize(("level", "lines"), [("INFO", 1), ("ERROR", 0)])
def test_a_request_for_another_host_is_a_warning_in_one_line(level, lines):
    code = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'order_project.settings';"
        "from order_project.wsgi import application;"
        "from django.test import Client;"
        "assert Client().get('/orders', headers={'host': 'evil.example'}).status_code == 400"
    )

    done = python(code, SECURE_SSL_REDIRECT="false", LOG_LEVEL=level)

    assert done.returncode == 0, done.stderr
    said = [json.loads(line) for line in done.stderr.splitlines() if "ALLOWED_HOSTS" in line]
    assert [line["level"] for line in said] == ["WARNING"] * lines
    assert "exception" not in done.stderr
    assert "Traceback" not in done.stderr


def test_the_deployment_check_is_clean_with_production_settings():
    code = (
        "import os, sys; os.environ['DJANGO_SETTINGS_MODULE'] = 'order_project.settings';"
        "from django.core.management import execute_from_command_line as run;"
        "run(['manage.py', 'check', '--deploy', '--fail-level', 'WARNING'])"
    )

    done = python(code)

    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("name", "value", "check_id"),
    [
        ("MAX_ITEMS_PER_ORDER", 0, "orders.E001"),
        ("API_MAX_BODY_BYTES", -1, "orders.E004"),
        ("WAITING_MAX_SECONDS", -1, "orders.E006"),
        ("WAITING_STREAM_SECONDS", 0, "orders.E007"),
        ("WAITING_MAX_CLIENTS", -1, "orders.E008"),
        ("PROCESSOR_ADMIN_URL", "javascript:alert(1)", "orders.E005"),
        ("PROCESSOR_ADMIN_URL", "http://localhost:8001/admin", "orders.E005"),
    ],
)
def test_a_value_that_cannot_work_is_found_by_a_check_with_an_id(settings, name, value, check_id):
    setattr(settings, name, value)

    (found,) = [message for message in run_checks() if message.id == check_id]

    assert name in found.msg
