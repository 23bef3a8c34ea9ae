"""Settings of the order service. The environment decides; `.env.example` lists all of it, one line each.

What is required has no default. What the values mean beyond their type is checked by `manage.py check` (orders.checks).
"""

import warnings
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

# --- Limits of one order
MAX_ITEMS_PER_ORDER = env.int("MAX_ITEMS_PER_ORDER", default=1000)
API_MAX_BODY_BYTES = env.int("API_MAX_BODY_BYTES", default=1024 * 1024)
# Django's own limit, which also holds for the admin's forms, must not be the smaller one.
DATA_UPLOAD_MAX_MEMORY_SIZE = max(API_MAX_BODY_BYTES, 2_621_440)

# --- Messaging
MESSAGING = {
    "URL": env.amqp("RABBITMQ_URL"),
    "SERVICE": "orders",
    "QUEUE": "orders.events.v1",
    "EXCHANGE": "orders",
    "HANDLERS": "orders.handlers.HANDLERS",
    "BATCH_SIZE": env.int("MESSAGING_BATCH_SIZE", default=200),
    "RETRY_DELAYS": tuple(env.list("MESSAGING_RETRY_DELAYS", default=["1s", "5s", "30s", "2m", "10m"])),
    "MANAGEMENT_URL": env.str("RABBITMQ_MANAGEMENT_URL", default=""),
    "BACKPRESSURE": env.choice("MESSAGING_BACKPRESSURE", ("off", "warn", "refuse"), default="warn"),
    "OUTBOX_MAX_AGE": env.int("MESSAGING_OUTBOX_MAX_AGE", default=60),
    "RETENTION_DAYS": env.int("MESSAGING_RETENTION_DAYS", default=30),
    "RELEASE": env.str("RELEASE", default="") or installed_release(),
}

# --- Web server: gunicorn.conf.py takes these from here, so that a wrong one stops whatever process starts first
WEB_CONCURRENCY = env.between("WEB_CONCURRENCY", 1, 1000, default=2)
WEB_THREADS = env.between("WEB_THREADS", 1, 1000, default=8)

# --- Clients that wait until an order is final (serving.waiting)
WAITING_READY = "orders.waiting.which_are_final"
WAITING_MAX_CLIENTS = env.int("WAITING_MAX_CLIENTS", default=1000)
WAITING_MAX_SECONDS = env.int("WAITING_MAX_SECONDS", default=60)
WAITING_STREAM_SECONDS = env.int("WAITING_STREAM_SECONDS", default=300)

# --- Observability
LOGGING = logging_config(
    service="orders",
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
    "BOOK": "orders.ledger.BOOK",
    "PEER_VARIABLE": "PROCESSOR_API_URL",
    "PEER_URL": env.str("PROCESSOR_API_URL", default="http://localhost:8001"),
    "PEER_TOKEN": env.str("PROCESSOR_API_TOKEN", default=""),
}

# --- Overview: what the first page of the admin says about this service
DASHBOARD = {"PIPELINE": "orders.overview.PIPELINE"}

# --- Links between the two services' admins
PROCESSOR_ADMIN_URL = env.str("PROCESSOR_ADMIN_URL", default="http://localhost:8001/admin/")

# --- Timelines: this service's half of an order's story; the other half is asked for at LEDGER's address
TIMELINE = {
    "STORY": "orders.timeline.story",
    "PEER": "processor",
    "PEER_PATH": "/records/{order_id}/timeline",
    "PEER_ADMIN": PROCESSOR_ADMIN_URL,
}

# --- The application
ROOT_URLCONF = "order_project.urls"
WSGI_APPLICATION = "order_project.wsgi.application"
INSTALLED_APPS = ["orders", "dashboard", "timeline", "ledger", "messaging", "observability", *httpapi_settings.APPS]
MIDDLEWARE = httpapi_settings.MIDDLEWARE
TEMPLATES = httpapi_settings.TEMPLATES
LOGIN_REDIRECT_URL = "admin:index"
CSRF_FAILURE_VIEW = "httpapi.problems.csrf_failure"
AUTH_PASSWORD_VALIDATORS = httpapi_settings.AUTH_PASSWORD_VALIDATORS
REST_FRAMEWORK = httpapi_settings.rest_framework_settings(API_AUTH_REQUIRED)
SERVICE_NAME = "Orders"
SERVICE_DESCRIPTION = (
    "Takes orders, and tells how they ended. A new order is `pending`; it becomes `completed` or `failed` "
    "once the processor has decided it."
)
API_RESOURCES = {"Orders": "/orders"}
SPECTACULAR_SETTINGS = httpapi_settings.spectacular_settings(SERVICE_NAME, SERVICE_DESCRIPTION, "1.0.0")
UNFOLD = httpapi_settings.unfold_settings(
    SERVICE_NAME,
    pipeline=["orders.order", "orders.orderbatch"],
    elsewhere={"Processor": PROCESSOR_ADMIN_URL},
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
SESSION_COOKIE_NAME = "orders_sessionid"
CSRF_COOKIE_NAME = "orders_csrftoken"
