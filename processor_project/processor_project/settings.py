"""Settings of the processor service. The environment decides; `.env.example` lists all of it, one line each.

What is required has no default. What the values mean beyond their type is checked by `manage.py check`
(processing.checks).
"""

import warnings
from decimal import Decimal
from pathlib import Path

from httpapi import settings as httpapi_settings
from httpapi.environment import Environment
from observability.logs import logging_config
from observability.metrics import count_apart
from observability.release import installed_release

BASE_DIR = Path(__file__).resolve().parent.parent
Environment.read_env(BASE_DIR / ".env")
env = Environment()
count_apart()

# --- What every installation decides
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["*"]) if DEBUG else env.list("ALLOWED_HOSTS")
API_AUTH_REQUIRED = env.bool("API_AUTH_REQUIRED", default=not DEBUG)

DATABASES = {
    "default": {
        **env.postgresql("DATABASE_URL", prepare=env.bool("DATABASE_PREPARED_STATEMENTS", default=True)),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
}

# --- Processing: the rules that an order runs through, one by one; processing.pipeline says how to add one
PROCESSING_STEPS = env.list(
    "PROCESSING_STEPS",
    default=["processing.steps.validate", "processing.steps.limit_total", "processing.steps.simulate"],
)
PROCESSING_MAX_ORDER_TOTAL = env.decimal("PROCESSING_MAX_ORDER_TOTAL", default=Decimal(100_000))
SIMULATED_LATENCY_MS = env.int("SIMULATED_LATENCY_MS", default=0)
SIMULATED_FAILURE_RATE = env.decimal("SIMULATED_FAILURE_RATE", default=Decimal(0))

# --- Messaging
MESSAGING = {
    "URL": env.amqp("RABBITMQ_URL"),
    "SERVICE": "processor",
    "QUEUE": "processor.events.v1",
    "EXCHANGE": "orders",
    "HANDLERS": "processing.handlers.HANDLERS",
    "BATCH_SIZE": env.int("MESSAGING_BATCH_SIZE", default=200),
    "RETRY_DELAYS": tuple(env.list("MESSAGING_RETRY_DELAYS", default=["1s", "5s", "30s", "2m", "10m"])),
    "MANAGEMENT_URL": env.str("RABBITMQ_MANAGEMENT_URL", default=""),
    "OUTBOX_MAX_AGE": env.int("MESSAGING_OUTBOX_MAX_AGE", default=60),
    "RETENTION_DAYS": env.int("MESSAGING_RETENTION_DAYS", default=30),
    "RELEASE": env.str("RELEASE", default="") or installed_release(),
}

# --- Web server: gunicorn.conf.py takes these from here, so that a wrong one stops whatever process starts first
WEB_CONCURRENCY = env.between("WEB_CONCURRENCY", 1, 1000, default=2)
WEB_THREADS = env.between("WEB_THREADS", 1, 1000, default=8)

# --- Observability
LOGGING = logging_config(
    service="processor",
    level=env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), default="INFO"),
    log_format=env.choice("LOG_FORMAT", ("json", "text"), default="json"),
)
METRICS_PORT = env.between("METRICS_PORT", 0, 65535, default=0)
METRICS_COLLECTORS = ["messaging.metrics.OutboxCollector"]
HEALTH_CHECKS = {"database": "observability.health.database", "rabbitmq": "messaging.health.broker"}
HEALTH_REPORTS = {name: f"messaging.health.{name}" for name in ("outbox", "dead_letters", "relay", "consume")}
READINESS_CHECKS = ["database"]

# --- Ledger: the book that `manage.py reconcile` compares with this service's own
LEDGER = {
    "BOOK": "processing.ledger.BOOK",
    "PEER_VARIABLE": "ORDERS_API_URL",
    "PEER_URL": env.str("ORDERS_API_URL", default="http://localhost:8000"),
    "PEER_TOKEN": env.str("ORDERS_API_TOKEN", default=""),
}

# --- Overview: what the first page of the admin says about this service
DASHBOARD = {"PIPELINE": "processing.overview.PIPELINE"}

# --- Links between the two services' admins
ORDERS_ADMIN_URL = env.str("ORDERS_ADMIN_URL", default="http://localhost:8000/admin/")

# --- Timelines: this service's half of an order's story. The order service asks for it and joins both halves
TIMELINE = {"STORY": "processing.timeline.story"}

# --- The application
ROOT_URLCONF = "processor_project.urls"
WSGI_APPLICATION = "processor_project.wsgi.application"
INSTALLED_APPS = ["processing", "dashboard", "timeline", "ledger", "messaging", "observability", *httpapi_settings.APPS]
MIDDLEWARE = httpapi_settings.MIDDLEWARE
TEMPLATES = httpapi_settings.TEMPLATES
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "httpapi.problems.csrf_failure"
AUTH_PASSWORD_VALIDATORS = httpapi_settings.AUTH_PASSWORD_VALIDATORS
REST_FRAMEWORK = httpapi_settings.rest_framework_settings(API_AUTH_REQUIRED)
SERVICE_NAME = "Processor"
SERVICE_DESCRIPTION = (
    "Decides orders, and tells what it decided: one record for every order, completed, or failed with the business "
    "rule that it broke. Orders come in as events; this API only reads."
)
API_RESOURCES = {"Records": "/records"}
SPECTACULAR_SETTINGS = httpapi_settings.spectacular_settings(SERVICE_NAME, SERVICE_DESCRIPTION, "1.0.0")
UNFOLD = httpapi_settings.unfold_settings(
    SERVICE_NAME,
    pipeline=["processing.processingrecord"],
    elsewhere={"Orders": ORDERS_ADMIN_URL},
    pages=[("overview/fragment", "overview_fragment", "dashboard.views.FragmentView")],
)
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
FORMAT_MODULE_PATH = "httpapi.formats"

# --- Static files: served by the application itself. Without `collectstatic` they come straight from the packages.
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}}
WHITENOISE_USE_FINDERS = True
warnings.filterwarnings("ignore", message="No directory at: ")

# --- Security. Safe unless the environment says otherwise; plain HTTP (development, compose) says so.
_secure = not DEBUG
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=_secure)
SECURE_REDIRECT_EXEMPT = [r"^health(/|$)", r"^metrics$"]  # probes speak plain HTTP from inside
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=365 * 24 * 3600 if _secure else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=_secure)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=_secure)
SESSION_COOKIE_SECURE = env.bool("SESSION_COOKIE_SECURE", default=_secure)
CSRF_COOKIE_SECURE = env.bool("CSRF_COOKIE_SECURE", default=_secure)
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Only behind a proxy that sets or strips this header itself; anyone else could forge it.
if env.bool("TRUST_X_FORWARDED_PROTO", default=False):
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Cookies ignore ports: under one name, logging in to one service on localhost would log you out of the other.
SESSION_COOKIE_NAME = "processor_sessionid"
CSRF_COOKIE_NAME = "processor_csrftoken"
