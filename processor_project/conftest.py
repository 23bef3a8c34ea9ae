"""Starts the servers that the tests need, then Django."""

import pytest

from dev.pytest_servers import configure


def pytest_configure(config: pytest.Config) -> None:
    configure(settings="processor_project.settings", service="processor")
