"""A minimal project around the shared packages, for their own tests."""

import environ

from httpapi import settings as httpapi_settings

env = environ.Env()

DEBUG = env.bool("DEBUG")
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")
DATABASES = {
    "default": {
        **env.db("DATABASE_URL"),
        "OPTIONS": {"prepare_threshold": 5},
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
}

MESSAGING = {
    "URL": env.str("RABBITMQ_URL"),
    "SERVICE": "things",
    "QUEUE": "things.events.v1",
    "HANDLERS": "messaging.tests.handlers.HANDLERS",
    "EXCHANGE": "things",
    "NEW_QUEUE_PAUSE": 0,
    "MANAGEMENT_URL": env.str("RABBITMQ_MANAGEMENT_URL"),
}
HEALTH_CHECKS = {"database": "observability.health.database", "rabbitmq": "messaging.health.broker"}
READINESS_CHECKS = ["database"]
LEDGER = {
    "BOOK": "ledger.tests.books.BOOK",
    "PEER_VARIABLE": "OTHERS_API_URL",
    "PEER_URL": "http://127.0.0.1:1",
    "PEER_TOKEN": "",
}
DASHBOARD = {"PIPELINE": "dashboard.tests.pipelines.PIPELINE"}
TIMELINE = {"STORY": "timeline.tests.stories.story"}
WAITING_READY = "serving.tests.waiting.ready"
WAITING_MAX_CLIENTS = 1000
METRICS_PORT = 0
METRICS_COLLECTORS = ["messaging.metrics.OutboxCollector"]
API_MAX_BODY_BYTES = 1024 * 1024

ROOT_URLCONF = "dev.test_urls"
INSTALLED_APPS = ["dashboard", "timeline", "ledger", "messaging", "observability", *httpapi_settings.APPS]
MIDDLEWARE = httpapi_settings.MIDDLEWARE
REST_FRAMEWORK = httpapi_settings.rest_framework_settings(auth_required=False)
SPECTACULAR_SETTINGS = httpapi_settings.spectacular_settings("Things", "Keeps things.", "1.0.0")
SERVICE_NAME = "Things"
UNFOLD = httpapi_settings.unfold_settings(
    SERVICE_NAME,
    pipeline=[],
    elsewhere={"Others": "http://others.invalid/admin/"},
    pages=[("overview/fragment", "overview_fragment", "dashboard.views.FragmentView")],
)
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "httpapi.problems.csrf_failure"
TEMPLATES = httpapi_settings.TEMPLATES
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
