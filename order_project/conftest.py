"""These tests run against a real PostgreSQL and RabbitMQ; `dev.pytest_servers` finds or starts them."""

from dev import pytest_servers


def pytest_configure() -> None:
    pytest_servers.configure(settings="order_project.settings", service="orders")
