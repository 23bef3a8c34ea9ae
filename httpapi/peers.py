"""What there is to say about a request to another service."""


def reason(error: Exception) -> str:
    """Why a request failed, in a few words. Takes what urllib3 raises, which wraps one error in another."""
    while isinstance(inner := getattr(error, "reason", None), Exception):
        error = inner
    return str(error).rpartition(": ")[2]
