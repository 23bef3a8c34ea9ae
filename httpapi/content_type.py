"""Content types that Django cannot take.

Django believes the charset in a Content-Type header already while it makes the request, before any middleware, and
decodes the query string with it: `charset=zlib` is an error there that nothing catches, and others change what was
sent. So the header is looked at before, and `ProblemMiddleware` answers for what was found.
"""

from typing import Any

from django.utils.http import parse_header_parameters

REFUSED = "httpapi.refused_content_type"
"""In the WSGI environment: why the Content-Type is refused."""


def check_content_type(*, environ: dict[str, Any], **kwargs: Any) -> None:
    """Receives `request_started`. Takes a Content-Type out of the environment that names another charset than UTF-8."""
    content_type = environ.get("CONTENT_TYPE") or ""
    if ";" not in content_type and len(content_type) < 1000:
        return
    try:
        media_type, parameters = parse_header_parameters(content_type)
        charsets = [value for name, value in parameters.items() if name.lower() == "charset"]
    except Exception:  # Parameters may be encoded in any way that Python knows; each fails in its own.
        environ["CONTENT_TYPE"] = ""
        environ[REFUSED] = "The Content-Type cannot be read."
        return
    if any(charset.lower() not in ("utf-8", "utf8") for charset in charsets):
        environ["CONTENT_TYPE"] = media_type
        environ[REFUSED] = f"The charset {charsets[0][:40]} is not taken; use utf-8."
    elif len(parameters) == len(charsets):
        environ["CONTENT_TYPE"] = media_type  # nothing is lost, and Django need not parse it again
