"""The settings of the HTTP face, shared so that it is the same in both services."""

from collections.abc import Sequence
from typing import Any

from django.http import HttpRequest

APPS = [
    # Before the apps whose templates httpapi replaces: the admin and REST framework.
    "httpapi",
    "desk",
    "unfold",
    # Loads no pages by itself: the URLs do that, and relays and consumers load no URLs.
    "django.contrib.admin.apps.SimpleAdminConfig",
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
    "httpapi.middleware.let_go_of_the_view",
]
"""The setting of this name, in an order that works."""

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]
"""The setting of this name."""

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{validator}"}
    for validator in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
"""The setting of this name."""


def rest_framework_settings(auth_required: bool) -> dict[str, Any]:
    """The setting REST_FRAMEWORK: strict JSON in, JSON or the browsable API out, problems for errors.

    With `auth_required` only for those who have signed in, else for everybody.
    """
    return {
        "DEFAULT_RENDERER_CLASSES": ["httpapi.renderers.JSONRenderer", "httpapi.renderers.BrowsableAPIRenderer"],
        "DEFAULT_PARSER_CLASSES": ["httpapi.parsers.StrictJSONParser"],
        "DEFAULT_CONTENT_NEGOTIATION_CLASS": "httpapi.negotiation.ContentNegotiation",
        # A 401 asks for the first one in WWW-Authenticate.
        "DEFAULT_AUTHENTICATION_CLASSES": [
            "httpapi.authentication.TokenAuthentication",
            "rest_framework.authentication.SessionAuthentication",
        ],
        "DEFAULT_PERMISSION_CLASSES": [
            f"rest_framework.permissions.{'IsAuthenticated' if auth_required else 'AllowAny'}"
        ],
        "DEFAULT_METADATA_CLASS": "httpapi.metadata.Metadata",
        "DEFAULT_PAGINATION_CLASS": "httpapi.pagination.CursorPagination",
        "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
        "EXCEPTION_HANDLER": "httpapi.problems.exception_handler",
        "TEST_REQUEST_DEFAULT_FORMAT": "json",
    }


def spectacular_settings(title: str, description: str, version: str) -> dict[str, Any]:
    """The setting SPECTACULAR_SETTINGS: OpenAPI 3.1, with its pages from local files only."""
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
        # Without `validatorUrl` Swagger UI would send the schema to a server on the internet.
        "SWAGGER_UI_SETTINGS": {
            "deepLinking": True,
            "displayRequestDuration": True,
            "tryItOutEnabled": True,
            "validatorUrl": None,
        },
    }


def unfold_settings(
    title: str, *, pipeline: list[str], elsewhere: dict[str, str], pages: Sequence[tuple[str, str, str]] = ()
) -> dict[str, Any]:
    """The setting UNFOLD: one look for the admins of all services.

    `pipeline` names the service's own models (`app.model`) for the sidebar; `elsewhere` are titles and addresses of
    other services' admins; `pages` are further views of the admin: path, name, class. Nothing is fetched from another
    host, and rows are searched by exact id only.
    """

    def style(request: HttpRequest) -> str:
        from django.templatetags.static import static

        return static("desk/desk.css")

    def icon(request: HttpRequest) -> str:
        from django.templatetags.static import static

        return static("httpapi/icon.svg")

    def navigation(request: HttpRequest) -> list[dict[str, Any]]:
        from httpapi.navigation import sidebar

        return sidebar(request, pipeline=pipeline, elsewhere=elsewhere)

    return {
        "SITE_TITLE": title,
        "SITE_HEADER": title,
        "SITE_SYMBOL": "package_2",
        "SITE_URL": None,  # the sidebar has it
        "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": icon}],
        "SHOW_HISTORY": False,
        "SHOW_VIEW_ON_SITE": False,
        "SHOW_BACK_BUTTON": True,
        "SITE_VIEWS": pages,
        "STYLES": [style],
        "SIDEBAR": {"show_search": True, "navigation": navigation},
        # Searching models would go through a million rows, and show every one that is found.
        "COMMAND": {"search_models": False, "search_callback": "httpapi.navigation.find_by_id"},
        "COLORS": {
            "primary": {
                "50": "oklch(97.1% .013 244)",
                "100": "oklch(93.6% .03 245)",
                "200": "oklch(88.2% .057 246)",
                "300": "oklch(81% .095 247)",
                "400": "oklch(74% .125 249)",
                "500": "oklch(70% .14 251)",
                "600": "oklch(48% .15 253)",
                "700": "oklch(42% .13 253)",
                "800": "oklch(37% .11 253)",
                "900": "oklch(32% .085 253)",
                "950": "oklch(24% .06 253)",
            },
            # A shade darker than unfold's own, which is too pale on its greys.
            "font": {
                "subtle-light": "var(--color-base-600)",
                "subtle-dark": "var(--color-base-300)",
                "default-light": "var(--color-base-700)",
                "default-dark": "var(--color-base-200)",
                "important-light": "var(--color-base-900)",
                "important-dark": "var(--color-base-100)",
            },
        },
    }
