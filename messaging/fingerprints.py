"""What makes two failures the same: the type of the error, the place of our code that raised it, the message's type.

None of these changes with the message, or with a release that leaves the place alone.
"""

import sysconfig
import uuid
from pathlib import PurePath
from types import CodeType, TracebackType

from messaging.conf import config
from messaging.storable import storable_text

_FINGERPRINTS = uuid.UUID("3c0b9a1e-5c43-5d0f-9b37-7c1c5f2a9e64")
_PACKAGES = {"site-packages", "dist-packages"}
_STANDARD_LIBRARY = tuple(
    f"{PurePath(path)}/" for path in {sysconfig.get_path(name) for name in ("stdlib", "platstdlib")} if path
)


def place_of(error: BaseException) -> str:
    """`module.function` of our code, or the team's, that raised it; "" when there is none in its traceback.

    The innermost frame that belongs neither to the standard library nor to an installed package: not where the
    database driver gave up, but where it was asked. Without line numbers, so that a release does not change it.
    An error that was raised because of another (`raise … from …`) has its own place, not the other's.
    """
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if place := _innermost_of_ours(current.__traceback__):
            return place
        current = current.__cause__
    return ""


def _innermost_of_ours(trace: TracebackType | None) -> str:
    place = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if _is_ours(code):
            module = str(trace.tb_frame.f_globals.get("__name__", ""))
            place = f"{module}.{code.co_qualname.replace('.<locals>', '')}"
        trace = trace.tb_next
    return storable_text(place, 255)


def _is_ours(code: CodeType) -> bool:
    file = code.co_filename
    # <frozen importlib>, <string>, and what dataclasses and the like have written themselves.
    return not file.startswith(("<", *_STANDARD_LIBRARY)) and _PACKAGES.isdisjoint(PurePath(file).parts)


def fingerprint_of(error_type: str, place: str, type: str) -> uuid.UUID:
    """That of the failure group. Types that this service does not take count as one: anybody can send new ones."""
    parts = (storable_text(error_type, 255), storable_text(place, 255), known_type(type))
    return uuid.uuid5(_FINGERPRINTS, "\0".join(parts))


def known_type(type: str) -> str:
    """The type, if this service takes it, else "unknown". No type at all is the only one, where there is only one."""
    handlers = config().handler_table
    if type in handlers:
        return type
    return next(iter(handlers)) if not type and len(handlers) == 1 else "unknown"
