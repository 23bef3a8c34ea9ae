"""The floor: no order lost, none decided twice, no framework. Only for comparison; nobody should run it for real.

It shows what it costs to take an order, announce it, decide it once and note the verdict, when every line is written
for that alone: a WSGI function behind the same gunicorn, one SQL statement an order, one a batch, the same quorum
queues, outbox, inbox, confirms and mandatory publishes. The project's cost is measured beside it.

A crash anywhere loses no order and decides none twice. All else is left out: idempotency keys, logins, lists, admin,
logs, metrics, tracing, retries, a ledger, reconnecting. A process that loses the database or the broker ends with an
error, and somebody has to start it again.
"""
