from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django.fixtures import Settings

from messaging.checks import check_messaging
from messaging.message import Handler


async def never_awaited(messages: Any) -> None: ...


NEVER_AWAITED = {"thing": Handler(decode=bytes, handle=never_awaited)}  # type: ignore[arg-type]  # as a mistake


def ids(settings: Settings, **changes: Any) -> list[str | None]:
    settings.MESSAGING = django_settings.MESSAGING | changes
    return [error.id for error in check_messaging()]


def test_the_settings_of_the_tests_hold(settings: Settings) -> None:
    assert ids(settings) == []


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"COLOUR": "red"}, "messaging.E001"),
        ({"URL": "http://broker/"}, "messaging.E002"),
        ({"URL": "amqp://guest:guest@broker:port/"}, "messaging.E002"),
        ({"URL": "amqps://broker/?ssl_options={'cafile': '/nowhere.pem'}"}, "messaging.E002"),
        ({"URL": "amqps://broker/?ssl_options={"}, "messaging.E002"),
        ({"BATCH_SIZE": 0}, "messaging.E003"),
        ({"RETRY_DELAYS": ("soon",)}, "messaging.E004"),
        ({"RETRY_DELAYS": ()}, "messaging.E004"),
        ({"RETRY_DELAYS": ("5s", "1s")}, "messaging.E004"),
        ({"HANDLERS": "nowhere.HANDLERS"}, "messaging.E005"),
        ({"HANDLERS": "messaging.tests.handlers.recorder"}, "messaging.E005"),
        ({"HANDLERS": "messaging.tests.test_checks.NEVER_AWAITED"}, "messaging.E005"),
        ({"RETENTION_DAYS": 0}, "messaging.E006"),
        ({"RETENTION_DAYS": 99_999_999}, "messaging.E006"),
        ({"RETENTION_DAYS": 10**12}, "messaging.E006"),
        ({"MANAGEMENT_URL": "foo"}, "messaging.E008"),
        ({"MANAGEMENT_URL": "http://guest:guest@broker:port"}, "messaging.E008"),
        ({"RETENTION_DAYS": 1, "RETRY_DELAYS": ("1h", "48h")}, "messaging.E006"),
    ],
)
def test_a_wrong_setting_has_its_id(settings: Settings, change: dict[str, Any], expected: str) -> None:
    assert expected in ids(settings, **change)


def test_a_missing_setting_is_named(settings: Settings) -> None:
    settings.MESSAGING = {}
    [error] = check_messaging()
    assert error.id == "messaging.E001"
    assert "queue" in error.msg
