"""The environment that the services get on a developer's machine, where they speak plain HTTP with trusted people."""

PLAIN_HTTP = {
    "SECURE_SSL_REDIRECT": "false",
    "SECURE_HSTS_SECONDS": "0",
    "SESSION_COOKIE_SECURE": "false",
    "CSRF_COOKIE_SECURE": "false",
}
"""Production's defaults want HTTPS; without it no login would keep its cookie."""

OPEN_API = {"API_AUTH_REQUIRED": "false"}
"""Nobody needs a token to try the API. The admin still asks who one is."""
