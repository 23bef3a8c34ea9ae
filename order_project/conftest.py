"""Starts the servers that the tests need, then Django. Also has the fixtures that many tests use."""

import math

import pytest

from dev.pytest_servers import configure


def pytest_configure(config: pytest.Config) -> None:
    configure(settings="order_project.settings", service="orders")


@pytest.fixture
def operator(db, django_user_model):
    """Somebody who may do everything in the admin."""
    return django_user_model.objects.create_superuser("operator", password="not-a-secret")


@pytest.fixture
def admin(client, operator):
    """A browser in which the operator has logged in."""
    client.force_login(operator)
    return client


@pytest.fixture
def no_look_for_backpressure(monkeypatch):
    """Keeps the back-pressure check, which runs once a second, out of the queries that a test counts."""
    monkeypatch.setattr("messaging.backpressure._pressure", None)
    monkeypatch.setattr("messaging.backpressure._looked_at", math.inf)
