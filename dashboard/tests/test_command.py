"""`manage.py overview`."""

import json
import re
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from dashboard import rollup, text
from dashboard.management.commands import overview
from dashboard.models import PipelineSlot
from dashboard.snapshot import take
from dashboard.tests.conftest import NOW
from dashboard.tests.pipelines import PIPELINE
from dashboard.verdict import judge
from messaging.tests.letters import stored

pytestmark = pytest.mark.django_db


def run(*arguments: str) -> tuple[int, str]:
    output = StringIO()
    try:
        call_command("overview", *arguments, stdout=output)
    except SystemExit as end:
        return int(end.code or 0), output.getvalue()
    return 0, output.getvalue()


def test_it_says_that_all_is_well_and_ends_with_0(make, broker, processes):
    make("done", number=5, took=0.5)

    code, said = run()

    assert code == 0
    assert said.startswith("All is well.\n")
    assert "5 done, 0 broken, 0 waiting" in said
    assert "p50 5" in said
    assert "█" in said
    assert "things.events.v1.retry.5s" in said


def test_it_says_what_is_wrong_and_what_to_do_and_ends_with_1(make, broker):
    broker.is_away()

    code, said = run()

    assert code == 1
    assert said.startswith("RabbitMQ does not answer. And 2 more things to look at.")
    assert "python manage.py relay" in said
    assert "“The broker is away” in docs/operations.md" in " ".join(said.split())
    assert "No thing yet." in said
    assert "make thing" in said


def test_groups_that_differ_only_in_the_type_are_told_apart(broker, processes):
    for type_ in ("thing.happened", "other"):
        stored(type=type_, error_type="KeyError", place="things.handle")

    _, said = run()
    _, found = run("--json")

    for type_ in ("thing.happened", "other, not taken by this service"):
        assert re.search(rf"open +{type_} +KeyError in things\.handle\n", said)
    # The type "other" is counted together with all types that no handler takes.
    assert {group["type"] for group in json.loads(found)["dead_letters"]["groups"]} == {"thing.happened", "unknown"}


def test_one_look_after_a_pause_counts_all_that_has_changed(make, broker, processes, monkeypatch):
    now = timezone.now()
    make("waiting", at=now - timedelta(minutes=6), number=2)
    make("waiting", at=now - timedelta(minutes=40))
    take(PIPELINE, now=now - timedelta(minutes=5), patience=1000.0)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE dashboard_test_thing SET status = 'done', took = '1 s'")
    monkeypatch.setattr(rollup, "BUDGET", 0.0000001)
    monkeypatch.setattr(overview, "PATIENCE", 1000.0)

    _, said = run()

    assert re.search("3 done, 0 broken, 0 waiting$", said, re.MULTILINE)


def test_it_says_what_it_had_no_time_to_count(make, broker, processes, monkeypatch):
    make("waiting", at=NOW - timedelta(minutes=40))
    take(PIPELINE, now=NOW, patience=1000.0)
    PipelineSlot.objects.filter(is_open=True).update(computed_at=NOW - timedelta(minutes=5))
    monkeypatch.setattr(rollup, "refresh", lambda *_, **__: False)
    stale, new = take(PIPELINE, now=NOW), take(PIPELINE, now=NOW + timedelta(minutes=1))

    assert "1 waiting (some of them last counted 5 min ago)" in "\n".join(text.as_text(stale, judge(stale)))
    assert "1 waiting (still being counted)" in "\n".join(text.as_text(new, judge(new)))


def test_json_is_one_object_with_the_same_figures(make, broker, processes):
    make("done", number=2, took=0.5)
    make("waiting")

    code, said = run("--json")

    found: dict[str, Any] = json.loads(said)
    assert code == 0
    assert (found["well"], found["line"], found["problems"]) == (True, "All is well.", [])
    assert found["last_hour"]["counts"] == {"done": 2, "broken": 0, "waiting": 1}
    assert found["last_hour"]["p95_ms"] == pytest.approx(500, rel=0.03)
    assert len(found["last_hour"]["minutes"]) == 60
    assert found["open"] == 1
    assert found["outbox"] == {"waiting": 0, "oldest_age_seconds": None}
    assert len(found["processes"]["relay"]) == 1
    assert found["queues"][0] == {"name": "things.events.v1", "messages": 0, "consumers": 1}


def test_json_tells_a_broker_that_is_away_from_empty_queues(make, broker, processes):
    broker.is_away()

    code, said = run("--json")

    found = json.loads(said)
    assert code == 1
    assert found["queues"] is None
    assert "Connection refused" in found["broker_error"]


def test_watch_goes_on_until_it_is_interrupted_and_ends_with_0(make, broker, monkeypatch):
    pauses = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)

    code, said = run("--watch", "--json")

    assert code == 0
    assert pauses == [5.0, 5.0, 5.0]
    assert len(said.splitlines()) == 3
