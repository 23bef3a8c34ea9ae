"""Sets up the tests of the shared packages. The services' and the system's tests have a conftest of their own."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parent
NEED_DJANGO = {
    "dashboard", "database", "desk", "httpapi", "ledger", "messaging", "observability", "serving", "timeline",
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    # pytest reads this file for every suite below, each of which needs other settings, or none.
    if NEED_DJANGO & {_top_folder(argument, config) for argument in config.args}:
        from dev.pytest_servers import configure

        configure(settings="dev.test_settings", service="shared")


def _top_folder(argument: str, config: pytest.Config) -> str:
    path = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
    return path.relative_to(ROOT).parts[0] if path.is_relative_to(ROOT) and path != ROOT else ""
