"""`manage.py reconcile`, where the tests of the whole system do not cover it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from django.core.management import call_command
from django.utils import timezone

from httpapi.timestamps import timestamp
from ledger.book import Entry, Fetch, Wrong
from ledger.serializers import as_json
from ledger.tests import books

pytestmark = pytest.mark.django_db


@pytest.fixture
def reconcile(
    keep: Callable[..., UUID], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[object, str]]:
    """Runs the command on a file in which the processor has these entries. Returns the exit status and the output."""

    def run(*options: str, entries: Sequence[Entry] = ()) -> tuple[object, str]:
        lines = (
            {"service": "processor", "made_at": timestamp(timezone.now()), "version": 1},
            *map(as_json, entries),
            {"queued": 0, "entries": len(entries)},
        )
        file = tmp_path / "book.jsonl"
        file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        with pytest.raises(SystemExit) as ended:
            call_command("reconcile", "--from", str(file), "--again-after", "0s", *options)
        return ended.value.code, capsys.readouterr().out

    return run


def restore(order_ids: Sequence[UUID], fetch: Fetch) -> int:
    pytest.fail("restored")


def test_what_cannot_be_restored_from_a_file_is_not_tried_and_says_so(
    reconcile: Callable[..., tuple[object, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books, "BOOK", replace(books.BOOK, restore={Wrong.ORDER: restore}))
    record = Entry(uuid4(), "record", "completed", timezone.now(), 1)

    status, said = reconcile("--repair", "--older-than", "0s", entries=[record])

    assert status == 1
    assert "ORDER MISSING  1 order" in said
    assert str(record.order_id) in said
    assert "It could not be mended; the log says why. From a file it cannot be restored." in said


def test_a_list_that_ends_at_its_limit_says_how_many_more_there_are(
    keep: Callable[..., UUID], reconcile: Callable[..., tuple[object, str]]
) -> None:
    for _ in range(3):
        keep("pending")

    for limit, more in (("1", ["  and 2 more; --limit 0 lists all"]), ("3", []), ("0", [])):
        _, said = reconcile("--limit", limit)
        assert [line for line in said.splitlines() if "more" in line] == more
    assert "Mend it in the processor service" in said


def test_machines_read_lists_and_counts(
    keep: Callable[..., UUID], reconcile: Callable[..., tuple[object, str]]
) -> None:
    ids = {str(keep("pending")) for _ in range(3)}

    status, said = reconcile("--json")

    assert status == 1
    found = json.loads(said)
    assert {finding["order_id"] for finding in found["missing"]} == ids
    assert (found["missing_count"], found["double"], found["balanced"], found["repaired"]) == (3, [], False, 0)
