"""The parts of a service's settings that belong to its HTTP face, so that both services have the same one."""

from typing import Any

from httpapi.permissions import api_permissions

APPS = [
    # Before the apps whose templates it replaces: the admin and REST framework.
    "httpapi",
    "unfold",
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
"""For INSTALLED_APPS, in an order that works."""

MIDDLEWARE = [
    "observability.middleware.CorrelationMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "httpapi.middleware.ProblemMiddleware",
    "httpapi.people.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "httpapi.people.AuthenticationMiddleware",
    "httpapi.people.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
"""The setting of this name, in an order that works."""


def rest_framework_settings(auth_required: bool) -> dict[str, Any]:
    """The setting REST_FRAMEWORK: strict JSON in, JSON or the browsable API out, problems for errors."""
    return {
        "DEFAULT_RENDERER_CLASSES": ["httpapi.renderers.JSONRenderer", "httpapi.renderers.BrowsableAPIRenderer"],
        "DEFAULT_PARSER_CLASSES": ["httpapi.parsers.StrictJSONParser"],
        "DEFAULT_CONTENT_NEGOTIATION_CLASS": "httpapi.negotiation.ContentNegotiation",
        # The first one is what a 401 asks for in WWW-Authenticate.
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "rest_framework.authentication.TokenAuthentication",
            "rest_framework.authentication.SessionAuthentication",
        ],
        "DEFAULT_PERMISSION_CLASSES": api_permissions(auth_required),
        "DEFAULT_PAGINATION_CLASS": "httpapi.pagination.CursorPagination",
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
        "EXCEPTION_HANDLER": "httpapi.problems.exception_handler",
        "TEST_REQUEST_DEFAULT_FORMAT": "json",
    }


def spectacular_settings(title: str, description: str, version: str) -> dict[str, Any]:
    """The setting SPECTACULAR_SETTINGS: OpenAPI 3.1, its pages from local files alone."""
    return {
        "TITLE": title,
        "DESCRIPTION": description,
        "VERSION": version,
        "OAS_VERSION": "3.1.0",
        "SERVE_INCLUDE_SCHEMA": False,
        "SERVE_AUTHENTICATION": [],
        "COMPONENT_SPLIT_REQUEST": True,
        # Else every enum's description repeats its values.
        "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
        "SWAGGER_UI_DIST": "SIDECAR",
        "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
        "REDOC_DIST": "SIDECAR",
        # Without `validatorUrl` Swagger UI would show the schema to a server on the internet.
        "SWAGGER_UI_SETTINGS": {
            "deepLinking": True,
            "displayRequestDuration": True,
            "tryItOutEnabled": True,
            "validatorUrl": None,
        },
    }
