"""Errors in words, for logs, answers and terminals."""

import re

_CREDENTIALS = re.compile(r"//[^/@\s]*@|(?<=password=)\S+", re.IGNORECASE)
_LONGEST = 300


def in_one_line(error: BaseException) -> str:
    """The first line of what the error says, without the credentials that connection errors like to quote.

    The name of its type if it says nothing. At most 300 characters.
    """
    lines = str(error).strip().splitlines()
    line = _CREDENTIALS.sub(lambda match: "//***@" if match[0].startswith("//") else "***", lines[0]) if lines else ""
    return line[:_LONGEST] or type(error).__name__
