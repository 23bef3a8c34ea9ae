"""A pipeline for tests. A test fills the table with its rows."""

from django.http import HttpRequest

from dashboard.pipeline import Empty, Pipeline, Status

TABLE = """
    CREATE TABLE dashboard_test_thing (
        id integer PRIMARY KEY, status text NOT NULL, at timestamptz NOT NULL, took interval, waited interval
    )"""


def _empty(request: HttpRequest | None) -> Empty:
    return Empty("No thing yet.", "make thing", "/things", "or by hand")


PIPELINE = Pipeline(
    one="thing",
    many="things",
    happened="made",
    model="messaging.inboxmessage",
    at="processed_at",
    status="type",
    statuses=(
        Status("done", "done", "good"),
        Status("broken", "broken", "bad"),
        Status("waiting", "waiting", "waiting", is_final=False),
    ),
    rows="SELECT at, status, took FROM dashboard_test_thing WHERE at >= %(start)s AND at < %(end)s",
    took="From made to done",
    waits="SELECT at, waited AS took FROM dashboard_test_thing WHERE at >= %(start)s AND at < %(end)s",
    waited="Waited",
    exists="SELECT EXISTS (SELECT FROM dashboard_test_thing)",
    oldest_open="SELECT id, at FROM dashboard_test_thing WHERE status = 'waiting' ORDER BY at, id LIMIT 1",
    count_open="""
        SELECT count(*) FROM (SELECT FROM dashboard_test_thing WHERE status = 'waiting' LIMIT %(cap)s) AS waiting""",
    open_label="waiting",
    empty=_empty,
)
