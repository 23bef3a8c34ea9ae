"""The floor: no order lost, none decided twice, no framework. Only for comparison; nobody should run it for theirs.

What it costs to take an order, to announce it, to decide it once and to note the verdict, when every line is written
for that alone: a WSGI function behind the same gunicorn, one SQL statement an order, one a batch, the same quorum
queues, outbox, inbox, confirms and mandatory publishes. Beside it stands what the project costs.

A crash anywhere loses no order and decides none twice. All else is left out: idempotency keys, logins, lists, admin,
logs, metrics, tracing, retries, a ledger, starting over. A process that loses the database or the broker ends with an
error, and somebody has to start it again.
"""
