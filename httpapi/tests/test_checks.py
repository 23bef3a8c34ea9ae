from httpapi.checks import check_apps, check_middleware
from httpapi.settings import APPS


def test_the_settings_that_are_offered_are_right(settings):
    settings.INSTALLED_APPS = APPS
    assert check_apps() == []
    assert check_middleware() == []


def test_templates_that_would_never_be_found_are_an_error(settings):
    settings.INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "httpapi"]
    assert [error.id for error in check_apps()] == ["httpapi.E001"]


def test_missing_middleware_is_an_error(settings):
    settings.MIDDLEWARE = []
    assert [error.id for error in check_middleware()] == ["httpapi.E002"]
