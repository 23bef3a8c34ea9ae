import subprocess
import sys

from httpapi.checks import check_apps, check_middleware
from httpapi.settings import APPS

SAY_WHETHER_PAGES_ARE_LOADED = """
import sys
import django
from django.core.checks import run_checks
django.setup()
for tag in ("settings", "admin"):
    run_checks(tags=[tag])
    print(tag, "rest_framework.authtoken.admin" in sys.modules)
"""


def test_the_settings_that_are_offered_are_right(settings):
    settings.INSTALLED_APPS = APPS
    assert check_apps() == []
    assert check_middleware() == []


def test_templates_that_would_never_be_found_are_an_error(settings):
    settings.INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "rest_framework", "httpapi"]
    assert [error.id for error in check_apps()] == ["httpapi.E001"]


def test_the_admin_may_stand_there_by_its_configuration_too(settings):
    settings.INSTALLED_APPS = ["django.contrib.admin.apps.SimpleAdminConfig", "httpapi"]
    assert [error.id for error in check_apps()] == ["httpapi.E001"]
    settings.INSTALLED_APPS = ["django.contrib.admindocs", "httpapi"]
    assert check_apps() == []


def test_missing_middleware_is_an_error(settings):
    settings.MIDDLEWARE = []
    assert [error.id for error in check_middleware()] == ["httpapi.E002"]


def test_pages_of_the_admin_are_not_loaded_for_checks_of_settings_and_are_for_its_own():
    command = [sys.executable, "-c", SAY_WHETHER_PAGES_ARE_LOADED]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == ["settings False", "admin True"]
