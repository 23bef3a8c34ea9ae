"""The requests that shops send most, as `httpapi.fast_path` answers them: an order to place, and one to read."""

import re
from uuid import UUID

from httpapi.fast_path import Answer, FastView, PlainRequest
from orders import services, views
from orders.new_order import read_plain
from orders.serializers import as_json


def fast_place(request: PlainRequest) -> Answer | None:
    """As `views.OrderListView.post` does."""
    key = views.idempotency_key(request.environ)
    order = read_plain(request.body)
    if order is None:
        return None
    return views.answer_placed(order, path=request.path, user=request.user, idempotency_key=key)


def fast_read(request: PlainRequest) -> Answer | None:
    """As `views.OrderView.get` does for a client that does not wait."""
    order = services.read_order(UUID(request.path.rpartition("/")[2]))
    return order and Answer(200, as_json(order, order.items))


FAST_VIEWS = [
    FastView(method="POST", path=re.compile("/orders"), example="/orders", answer=fast_place),
    FastView(
        method="GET",
        path=re.compile("/orders/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        example="/orders/00000000-0000-7000-8000-000000000000",
        answer=fast_read,
    ),
]
