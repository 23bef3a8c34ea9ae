import pytest

from observability.checks import check_dotted_paths, check_middleware, check_readiness


@pytest.fixture(autouse=True)
def right(settings):
    settings.HEALTH_CHECKS = {"fine": "observability.tests.checks.fine"}
    settings.READINESS_CHECKS = ["fine"]
    settings.METRICS_COLLECTORS = ["observability.tests.checks.Apples"]


def test_right_settings_pass():
    assert [*check_middleware(), *check_dotted_paths(), *check_readiness()] == []


def test_middleware_that_is_not_first_is_an_error(settings):
    settings.MIDDLEWARE = ["django.middleware.common.CommonMiddleware", *settings.MIDDLEWARE]
    assert [error.id for error in check_middleware()] == ["observability.E001"]
    settings.MIDDLEWARE = []
    assert [error.id for error in check_middleware()] == ["observability.E001"]


@pytest.mark.parametrize("path", ["no.such.check", "observability.tests.checks.missing", "nodots"])
def test_a_path_that_leads_nowhere_is_an_error_that_names_it(settings, path):
    settings.HEALTH_CHECKS = {"fine": path}
    (error,) = check_dotted_paths()
    assert error.id == "observability.E002"
    assert path in error.msg
    settings.HEALTH_CHECKS, settings.METRICS_COLLECTORS = {}, [path]
    assert [error.id for error in check_dotted_paths()] == ["observability.E002"]


def test_readiness_that_asks_for_an_unknown_check_is_an_error(settings):
    settings.READINESS_CHECKS = ["fine", "rabbitmq"]
    (error,) = check_readiness()
    assert error.id == "observability.E003"
    assert "rabbitmq" in error.msg
