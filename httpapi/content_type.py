"""Content types that Django cannot take.

Django trusts the charset of a Content-Type header as soon as it makes the request, before any middleware, and decodes
the query string with it: `charset=zlib` is an error there that nothing catches, and others change what was sent.
So the header is looked at before that, and `ProblemMiddleware` answers when it was refused.
"""

from typing import Any

from django.utils.http import parse_header_parameters

REFUSED = "httpapi.refused_content_type"
"""The key in the WSGI environment that says why the Content-Type is refused."""


def check_content_type(*, environ: dict[str, Any], **kwargs: Any) -> None:
    """Receives `request_started`. Takes a Content-Type that names another charset than UTF-8 out of the environment."""
    content_type = environ.get("CONTENT_TYPE") or ""
    if ";" not in content_type and len(content_type) < 1000:
        return
    try:
        media_type, parameters = parse_header_parameters(content_type)
        charsets = [value for name, value in parameters.items() if name.lower() == "charset"]
    except Exception:  # Parameters may have any encoding that Python knows, each with errors of its own.
        environ["CONTENT_TYPE"] = ""
        environ[REFUSED] = "The Content-Type cannot be read."
        return
    if any(charset.lower() not in ("utf-8", "utf8") for charset in charsets):
        environ["CONTENT_TYPE"] = media_type
        environ[REFUSED] = f"The charset {charsets[0][:40]} is not taken; use utf-8."
    elif len(parameters) == len(charsets):
        environ["CONTENT_TYPE"] = media_type  # without parameters, which Django then need not parse again
