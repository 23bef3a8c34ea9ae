import pytest


@pytest.fixture(autouse=True)
def things(settings):
    """The tests' own URLs, behind the middleware and nothing else."""
    settings.ROOT_URLCONF = "observability.tests.urls"
    settings.MIDDLEWARE = ["observability.middleware.CorrelationMiddleware"]
    settings.STATIC_URL = "/static/"
    settings.METRICS_COLLECTORS = []
