"""What a service tells the overview about its pipeline, named in the setting DASHBOARD.

All queries are SQL, and an index must answer each of them: the tables have millions of rows.
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
    """A status that a row can have, and how it is shown."""

    name: str
    label: str
    kind: Kind
    is_final: bool = True


@dataclass(frozen=True, slots=True)
class Empty:
    """What to say while there is no row at all."""

    sentence: str
    command: str = ""
    """A command to type that makes the first row."""
    link: str = ""
    """Where to go instead; needs a `link_text`."""
    link_text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The rows of one table, each of which begins at a time and ends with a status."""

    one: str
    many: str
    """What one row and many rows are called: `order`, `orders`."""
    happened: str
    """What happens to a row at the time `at`: `accepted`."""
    model: str
    """`app.model`, whose admin lists the rows."""
    at: str
    status: str
    """The fields `at` and `status` of the model, for the filters of that list."""
    statuses: tuple[Status, ...]
    """In the order in which they are shown."""
    rows: str
    """Query of `at`, `status`, `took` (an interval, or null) of the rows from %(start)s to before %(end)s."""
    took: str
    """What `took` is, as a heading."""
    waits: str = ""
    """Query of `at` and `took` for a second kind of time, if there is one."""
    waited: str = ""
    """What that second time is, as a heading."""
    exists: str
    """Query that says whether there is any row."""
    oldest_open: str = ""
    """Query of `id` and `at` of the oldest row that is not final; at most one."""
    count_open: str = ""
    """Query of how many rows are not final, up to %(cap)s."""
    open_label: str = ""
    """The status of rows that are not final, for the list's filter."""
    open_max_age: float = 60.0
    """Seconds after which a row that is not final counts as stuck."""
    open_remedy: str = ""
    """Sentences that say what to do about a row that is stuck."""
    empty: Callable[[HttpRequest | None], Empty]

    @property
    def not_final(self) -> frozenset[str]:
        return frozenset(status.name for status in self.statuses if not status.is_final)


def pipeline() -> Pipeline | None:
    """This service's pipeline; None when it has none to show."""
    configured: Mapping[str, str] = getattr(settings, "DASHBOARD", {})
    if not configured:
        return None
    found: Pipeline = import_string(configured["PIPELINE"])
    return found
