"""What the browsable API is told about processing records: filters, and how a record is shown."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse
from django.utils.html import format_html
from rest_framework.request import Request

from desk.badges import badge
from httpapi.browsable import Page, in_the_admin, money
from httpapi.service import Link
from processing.overview import OUTCOME_KINDS
from processing.serializers import RecordFilters


def _outcome(value: Any, of: Mapping[str, Any]) -> str:
    return badge(str(value), OUTCOME_KINDS.get(value, "quiet"))


def _order_id(value: Any, of: Mapping[str, Any]) -> str:
    return format_html('<a href="{}"><code>{}</code></a>', reverse("record", args=[value]), value)


def _links(record: Mapping[str, Any], request: Request) -> list[Link]:
    if "order_id" not in record:
        return []
    customer = urlencode({"customer_id": record["customer_id"]})
    return [
        *in_the_admin(request, "processing.processingrecord", record["order_id"]),
        Link("All records of this customer", f"{reverse('records')}?{customer}"),
    ]


_CELLS = {"outcome": _outcome, "order_id": _order_id, "total_amount": money, "price": money}

RECORDS = Page(
    filters=RecordFilters,
    columns={"results": ["finished_at", "outcome", "order_id", "customer_id", "total_amount", "reason"]},
    cells=_CELLS,
)

RECORD = Page(cells=_CELLS, links=_links)
