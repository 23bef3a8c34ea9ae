"""Makes many orders at once, by SQL, as if the project had taken and processed them."""

from benchmarks.stacks import Project
from dev.environment import ORDER, PROCESSOR, SERVICES, Service

_ORDER = """
    INSERT INTO orders_order (id, customer_id, total_amount, status, created_at, updated_at, correlation_id)
    SELECT id, customer_id, 46.00, '{status}', at, at, '' FROM ({orders}) AS orders"""
_ITEMS = """
    INSERT INTO orders_orderitem (order_id, position, product_id, quantity, price)
    SELECT id, position - 1, item->>'product_id', (item->>'quantity')::int, (item->>'price')::numeric
    FROM ({orders}) AS orders, json_array_elements(items) WITH ORDINALITY AS lines (item, position)"""
_OUTBOX = """
    INSERT INTO messaging_outboxmessage
        (message_id, type, exchange, routing_key, headers, body, correlation_id, attempts, last_error)
    SELECT gen_random_uuid(), 'order.created', 'orders', 'order.created', '{{"schema-version": 1}}',
           convert_to(json_build_object('order_id', id, 'customer_id', customer_id, 'items', items,
                                        'total_amount', 46.00, 'created_at', at)::text, 'UTF8'), '', 0, ''
    FROM ({orders}) AS orders"""
_RECORDS = """
    INSERT INTO processing_processingrecord
        (order_id, outcome, reason, customer_id, total_amount, item_count, attempts, message_id, correlation_id,
         started_at, finished_at, "order")
    SELECT id, 'completed', '', customer_id, 46.00, 2, 1, gen_random_uuid(), '', at, at,
           json_build_object('items', items, 'created_at', at)
    FROM ({orders}) AS orders"""
_INBOX = """
    INSERT INTO messaging_inboxmessage (message_id, type, correlation_id)
    SELECT gen_random_uuid(), '{type}', '' FROM generate_series(1, {number})"""


def add_pending_orders(project: Project, number: int, *, after: int = 0) -> None:
    """Adds orders of two items, with their announcements in the outbox. `after` is how many were added before."""
    orders = _orders(after + 1, after + number)
    for statement in (_ORDER, _ITEMS, _OUTBOX):
        _run(project, ORDER, statement.format(orders=orders, status="pending"))
    _tidy(project)


def add_final_orders(project: Project, number: int) -> None:
    """Adds orders of two items that are finished: completed, with their records, and in both inboxes."""
    orders = _orders(1, number)
    for statement in (_ORDER, _ITEMS):
        _run(project, ORDER, statement.format(orders=orders, status="completed"))
    _run(project, ORDER, _INBOX.format(type="order.processed", number=number))
    _run(project, PROCESSOR, _RECORDS.format(orders=orders))
    _run(project, PROCESSOR, _INBOX.format(type="order.created", number=number))
    _tidy(project)


def _orders(first: int, last: int) -> str:
    """A query that makes up orders. The same number gets the same id, which begins with the time, like a UUIDv7."""
    return f"""
        SELECT (lpad(to_hex(moment), 12, '0') || '7' || substr(digest, 1, 3)
                || '8' || substr(digest, 4, 15))::uuid AS id,
               'customer-' || number % 1000 AS customer_id, to_timestamp(moment / 1000.0) AS at,
               '[{{"product_id": "product-1", "quantity": 2, "price": 18.50}},
                 {{"product_id": "product-2", "quantity": 1, "price": 9.00}}]'::json AS items
        FROM (SELECT number, 1735689600000 + number * 10::bigint AS moment, md5(number::text) AS digest
              FROM generate_series({first}, {last}) AS number) AS counted"""


def _run(project: Project, service: Service, statement: str) -> None:
    # The rows are made so that foreign keys hold. Looking each one up would take longer than all the rest.
    project.execute(service, "SET session_replication_role = replica")
    project.execute(service, statement)
    project.execute(service, "RESET session_replication_role")


def _tidy(project: Project) -> None:
    """Does now what autovacuum would do in the middle of the measurement."""
    for service in SERVICES:
        project.execute(service, "VACUUM (ANALYZE)")
