"""The floor's tables, and the four statements that use them.

The planner never knows how many rows wait in an outbox or are pending, so no statement leaves it a choice: the inner
query in `= ANY (ARRAY(…))` runs once, and `= ANY ($1)` walks the primary key, whatever the statistics say.
"""

import os

import psycopg

_OUTBOX = """
CREATE TABLE outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL DEFAULT gen_random_uuid(),
    body text NOT NULL);"""

ORDER_TABLES = f"""
CREATE TABLE orders (
    id uuid PRIMARY KEY, customer_id text NOT NULL, total_amount numeric(12, 2) NOT NULL,
    status text NOT NULL DEFAULT 'pending', error_message text,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 80);
CREATE TABLE items (
    order_id uuid NOT NULL REFERENCES orders, position int NOT NULL,
    product_id text NOT NULL, quantity int NOT NULL, price numeric(12, 2) NOT NULL, PRIMARY KEY (order_id, position));
{_OUTBOX}"""

PROCESSOR_TABLES = f"""
CREATE TABLE inbox (message_id uuid PRIMARY KEY, processed_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE records (
    order_id uuid PRIMARY KEY, customer_id text NOT NULL, total_amount numeric NOT NULL,
    outcome text NOT NULL, reason text, decided_at timestamptz NOT NULL DEFAULT now());
{_OUTBOX}"""

PLACE = """
WITH placed AS (
    INSERT INTO orders (id, customer_id, total_amount) VALUES ($1::uuid, $2::text, $3::numeric)
), lines AS (
    INSERT INTO items (order_id, position, product_id, quantity, price)
    SELECT $1::uuid, position, product_id, quantity, price
    FROM ROWS FROM (json_to_recordset($4::json) AS (product_id text, quantity int, price numeric))
         WITH ORDINALITY AS item (product_id, quantity, price, position))
INSERT INTO outbox (body) VALUES ($5::text)"""

SHOW = """
SELECT json_build_object(
    'id', id, 'customer_id', customer_id, 'total_amount', total_amount, 'status', status,
    'error_message', error_message, 'created_at', created_at, 'updated_at', updated_at, 'items',
    (SELECT json_agg(json_build_object('product_id', product_id, 'quantity', quantity, 'price', price)
                     ORDER BY position) FROM items WHERE order_id = orders.id))::text
FROM orders WHERE id = $1::uuid"""

TAKE = """
DELETE FROM outbox WHERE id = ANY (ARRAY(SELECT id FROM outbox ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED))
RETURNING message_id::text, body"""

DECIDE = """
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::numeric[], $5::text[], $6::text[])
        AS given (message_id, order_id, customer_id, total_amount, outcome, reason)
), fresh AS (
    INSERT INTO inbox (message_id) SELECT message_id FROM given ON CONFLICT DO NOTHING RETURNING message_id
), decided AS (
    INSERT INTO records (order_id, customer_id, total_amount, outcome, reason)
    SELECT order_id, customer_id, total_amount, outcome, reason FROM given JOIN fresh USING (message_id)
    ON CONFLICT DO NOTHING RETURNING order_id, outcome, reason)
INSERT INTO outbox (body)
SELECT json_build_object('order_id', order_id, 'status', outcome, 'error_message', reason)::text FROM decided"""

# From JSON the planner expects a hundred verdicts, and hashes them. From arrays it expects ten, and would compare each
# verdict with each order. The array of ids makes it use the key of `orders`.
NOTE = """
UPDATE orders SET status = verdict.status, error_message = verdict.error_message, updated_at = now()
FROM json_to_recordset($1::json) AS verdict (order_id uuid, status text, error_message text)
WHERE orders.id = ANY ($2::uuid[]) AND orders.id = verdict.order_id AND orders.status = 'pending'"""


def connect(*, autocommit: bool = True) -> tuple[psycopg.Connection, psycopg.RawCursor]:
    """A connection to the database of this process, and a cursor that prepares each statement at its first use."""
    connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=autocommit)
    connection.prepare_threshold = 0
    return connection, psycopg.RawCursor(connection)
