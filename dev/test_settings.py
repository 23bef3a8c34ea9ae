"""A minimal project around the shared packages, for their own tests."""

import environ

env = environ.Env()

DEBUG = env.bool("DEBUG")
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS")
DATABASES = {"default": {**env.db("DATABASE_URL"), "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}}

MESSAGING = {
    "URL": env.str("RABBITMQ_URL"),
    "SERVICE": "things",
    "QUEUE": "things.events.v1",
    "HANDLERS": "messaging.tests.handlers.HANDLERS",
    "EXCHANGE": "things",
    "MANAGEMENT_URL": env.str("RABBITMQ_MANAGEMENT_URL"),
}
HEALTH_CHECKS = {"database": "observability.health.database", "rabbitmq": "messaging.health.broker"}
READINESS_CHECKS = ["database"]
METRICS_PORT = 0
METRICS_COLLECTORS = ["messaging.metrics.OutboxCollector"]
API_MAX_BODY_BYTES = 1024 * 1024

ROOT_URLCONF = "dev.test_urls"
INSTALLED_APPS = [
    "messaging",
    "observability",
    "httpapi",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "rest_framework.authtoken",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "observability.middleware.CorrelationMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
TIME_ZONE = "UTC"
