"""What a service tells the overview about its pipeline, named in the setting DASHBOARD.

Everything is asked in SQL, and every question must be answered by an index: the tables have millions of rows.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from django.conf import settings
from django.http import HttpRequest
from django.utils.module_loading import import_string

type Kind = Literal["good", "bad", "waiting"]


@dataclass(frozen=True, slots=True)
class Status:
    """One that a row can have, and how it is shown."""

    name: str
    label: str
    kind: Kind
    is_final: bool = True


@dataclass(frozen=True, slots=True)
class Empty:
    """What to say while there is no row at all."""

    sentence: str
    command: str = ""
    """Something to type that makes the first one."""
    link: str = ""
    """Where to go instead; with `link_text`."""
    link_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The rows of one table, each of which begins at a time and ends with a status."""

    one: str
    many: str
    """What the rows are called: `order`, `orders`."""
    happened: str
    """What is counted at `at`: `accepted`."""
    model: str
    """`app.model`, whose admin lists the rows."""
    at: str
    status: str
    """Its fields, for the filters of that list."""
    statuses: tuple[Status, ...]
    """In the order in which they are shown."""
    rows: str
    """Query of `at`, `status`, `took` (an interval, or null) of the rows from %(start)s to before %(end)s."""
    took: str
    """What `took` is, as a heading."""
    waits: str = ""
    """Query of `at` and `took` for a second time, if there is one."""
    waited: str = ""
    """What that is, as a heading."""
    exists: str
    """Query that says whether there is any row."""
    oldest_open: str = ""
    """Query of `id` and `at` of the oldest row that is not final; at most one."""
    count_open: str = ""
    """Query of how many are not final, up to %(cap)s."""
    open_label: str = ""
    """The status of those, for the list's filter."""
    open_max_age: float = 60.0
    """Seconds after which one that is not final counts as stuck."""
    open_remedy: str = ""
    """Sentences that say what to do about one that is stuck."""
    empty: Callable[[HttpRequest | None], Empty]

    @property
    def not_final(self) -> frozenset[str]:
        return frozenset(status.name for status in self.statuses if not status.is_final)


def pipeline() -> Pipeline | None:
    """This service's; None when it has none to show."""
    configured: Mapping[str, str] = getattr(settings, "DASHBOARD", {})
    if not configured:
        return None
    found: Pipeline = import_string(configured["PIPELINE"])
    return found
