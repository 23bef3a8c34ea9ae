"""`manage.py reconcile` for what the tests of the system do not ask."""

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


def restore(order_ids: Sequence[UUID], fetch: Fetch) -> int:
    pytest.fail("restored")


def test_what_cannot_be_restored_from_a_file_is_not_tried_and_says_so(
    keep: Callable[..., UUID], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(books, "BOOK", replace(books.BOOK, restore={Wrong.ORDER: restore}))
    record = Entry(uuid4(), "record", "completed", timezone.now(), 1)
    lines = (
        {"service": "processor", "made_at": timestamp(timezone.now()), "version": 1},
        as_json(record),
        {"queued": 0, "entries": 1},
    )
    file = tmp_path / "book.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    with pytest.raises(SystemExit) as ended:
        call_command("reconcile", "--from", str(file), "--repair", "--older-than", "0s", "--again-after", "0s")

    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "ORDER MISSING  1 order" in said
    assert f"{record.order_id}" in said
    assert "It could not be mended; the log says why. From a file it cannot be restored." in said
