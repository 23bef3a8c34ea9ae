import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from desk.admin import CappedPaginator
from messaging import dead_letters
from messaging.admin.transport import ProcessAdmin
from messaging.models import DeadLetter, InboxMessage, OutboxMessage, Process
from messaging.tests.desk import LETTERS, ask, listed, staff_with, text
from messaging.tests.letters import LATER, stored

pytestmark = pytest.mark.django_db

OUTBOX = "/admin/messaging/outboxmessage/"
INBOX = "/admin/messaging/inboxmessage/"


def outbox_row(**values: Any) -> OutboxMessage:
    given = {"message_id": uuid4(), "type": "thing.happened", "exchange": "things", "routing_key": "thing.happened"}
    return OutboxMessage.objects.create(**{**given, "body": b"{}", **values})


class TestDeadLetterList:
    def test_it_shows_what_waits_newest_first(self, client: Client) -> None:
        old, new, settled = stored(), stored(failed_at=LATER), stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(pk=settled.pk), by="anna")
        assert listed(client, LETTERS) == [new.pk, old.pk]

    def test_it_says_of_which_zone_its_times_are(self, client: Client) -> None:
        letter = stored()

        assert "Times are UTC." in text(client, LETTERS)
        assert "Times are UTC." in text(client, f"{LETTERS}{letter.pk}/change/")

    def test_an_empty_list_is_good_news(self, client: Client) -> None:
        assert "No dead letter waits: every message was handled" in text(client, LETTERS)

    def test_a_filter_that_matches_nothing_is_not_good_news(self, client: Client) -> None:
        stored()
        page = text(client, LETTERS + "?status__exact=discarded")
        assert "Nothing matches" in page
        assert "every message was handled" not in page

    def test_it_filters(self, client: Client) -> None:
        rows = {
            "type": stored(type="other"),
            "error_type": stored(error_type="other"),
            "queue": stored(queue="other"),
        }
        for parameter, row in rows.items():
            assert listed(client, f"{LETTERS}?{parameter}=other") == [row.pk]
        settled = stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(pk=settled.pk), by="anna")
        assert listed(client, f"{LETTERS}?status__exact=discarded") == [settled.pk]
        assert len(listed(client, f"{LETTERS}?status__exact=all")) == 4

    def test_a_filter_offers_the_values_there_are(self, client: Client) -> None:
        stored(error_type="FirstError")
        stored(error_type="SecondError")
        page = text(client, LETTERS)
        assert "?error_type=FirstError" in page
        assert "?error_type=SecondError" in page

    @pytest.mark.parametrize(
        "query",
        [
            "deadletter/?error_type", "deadletter/?status__exact", "failuregroup/?state", "process/?role__exact",
            "failedattempt/?step__exact", "replay/?state__exact", "operatoraction/?by",
        ],
    )  # fmt: skip
    def test_a_filter_with_a_nul_is_no_server_error(self, query: str, client: Client) -> None:
        answer = client.get(f"/admin/messaging/{query}=%00")
        assert (answer.status_code, answer["Location"]) == (302, f"/admin/messaging/{query.partition('?')[0]}?e=1")
        assert client.get(answer["Location"]).status_code == 200

    @pytest.mark.parametrize(
        "query",
        [
            "messaging/deadletter/?last_failed_at__year=99999",
            "messaging/inboxmessage/?processed_at__year=99999999999999999999",
            "messaging/replay/?id__range=1",
            "auth/user/?date_joined__year=0",
        ],
    )
    def test_an_address_that_asks_for_what_cannot_be_is_no_server_error(self, query: str, client: Client) -> None:
        answer = client.get(f"/admin/{query}")
        assert (answer.status_code, answer["Location"]) == (302, f"/admin/{query.partition('?')[0]}?e=1")

    def test_a_fault_of_ours_is_not_taken_for_one_of_the_address(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ProcessAdmin, "get_queryset", lambda *_: int("a fault"))
        with pytest.raises(ValueError, match="a fault"):
            client.get("/admin/messaging/process/")

    def test_an_id_that_no_row_can_have_is_not_found(self, client: Client) -> None:
        answer = client.get("/admin/messaging/process/a%00b/change/")
        assert (answer.status_code, answer["Location"]) == (302, "/admin/")

    def test_a_time_that_has_no_utc_is_said_as_it_was_given(self, client: Client) -> None:
        page = text(client, "/admin/messaging/operatoraction/?at__gte=0001-01-01T00:00:00%2B14:00")
        assert "From 0001-01-01T00:00:00+14:00 UTC" in page

    def test_a_search_finds_by_id_in_every_status(self, client: Client) -> None:
        row = stored(correlation_id="request-42")
        stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(pk=row.pk), by="anna")
        for term in (row.message_id, "request-42", row.pk):
            assert listed(client, f"{LETTERS}?q={term}") == [row.pk]

    def test_a_search_finds_a_part_of_the_error(self, client: Client) -> None:
        row = stored(error_message="the warehouse is closed")
        stored()
        assert listed(client, f"{LETTERS}?q=Warehouse") == [row.pk]
        assert listed(client, f"{LETTERS}?q=99999999999999999999999") == []

    def test_a_search_for_a_text_reads_the_newest_and_no_more(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("messaging.admin.dead_letters.SEARCHED_TEXTS", 2)
        rows = [stored(error_message="closed", failed_at=LATER + timedelta(hours=hour)) for hour in range(3)]
        with CaptureQueriesContext(connection) as queries, connection.cursor() as cursor:
            assert listed(client, f"{LETTERS}?q=closed") == [rows[2].pk, rows[1].pk]
            cursor.execute("SET LOCAL enable_seqscan = off")  # a sequential scan would do for three rows
            for search in (query["sql"] for query in queries.captured_queries if "LIKE" in query["sql"]):
                cursor.execute(f"EXPLAIN {search}")
                assert "Index Cond: (last_failed_at >= " in "\n".join(line for (line,) in cursor.fetchall())

    def test_nothing_of_a_message_is_markup(self, client: Client) -> None:
        evil = "<script>alert(1)</script>"
        row = stored(
            type=evil, error_type=evil, error_message=evil, traceback=evil, body=evil.encode(), queue=evil,
            correlation_id=evil, headers={evil: evil},
        )  # fmt: skip
        question = ask(client, "replay", row)
        for page in (text(client, LETTERS), text(client, f"{LETTERS}{row.pk}/change/"), question.content.decode()):
            assert evil not in page
            assert "&lt;script&gt;" in page

    def test_it_does_not_count_everything(self, client: Client) -> None:
        stored()
        with CaptureQueriesContext(connection) as queries:
            text(client, LETTERS)
        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
        assert counts
        assert all("LIMIT 10001" in count for count in counts)

    def test_it_does_not_fetch_bodies(self, client: Client) -> None:
        stored()
        with CaptureQueriesContext(connection) as queries:
            text(client, LETTERS)
        assert not any('"body"' in query["sql"] for query in queries)

    def test_more_than_the_cap_is_said_to_be_more(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(CappedPaginator, "cap", 2)
        for _ in range(2):
            stored()
        assert "More than" not in text(client, LETTERS)
        stored()
        assert re.search(r"More than 2\s+dead letters", text(client, LETTERS))


class TestDeadLetterPage:
    def test_it_shows_everything_there_is(self, client: Client) -> None:
        row = stored(headers={"tenant": "x"}, traceback="Traceback (most recent call last)")
        page = text(client, f"{LETTERS}{row.pk}/change/")
        for part in (
            str(row.message_id), "request-1", "number is missing", "Traceback (most recent call last)", "tenant",
            "  &quot;number&quot;: 1", "JSON, 13 bytes", "not yet: it waits",
        ):  # fmt: skip
            assert part in page

    def test_whatever_the_body_is_the_page_is_shown(self, client: Client) -> None:
        for body in (b"", b"\xff\x00", b"[" * 100_000, b"x" * 1_000_000, "é\u202e".encode(), b"NaN"):
            assert client.get(f"{LETTERS}{stored(body=body).pk}/change/").status_code == 200

    def test_the_body_can_be_downloaded_byte_for_byte(self, client: Client) -> None:
        row = stored(body=b"<html>\x00\xff")
        url = reverse("admin:messaging_deadletter_body", args=[row.pk])
        assert url in text(client, f"{LETTERS}{row.pk}/change/")
        answer = client.get(url)
        assert answer.content == b"<html>\x00\xff"
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"] == f'attachment; filename="{row.message_id}.body"'
        assert answer["X-Content-Type-Options"] == "nosniff"

    def test_the_body_is_not_for_everybody(self) -> None:
        url = reverse("admin:messaging_deadletter_body", args=[stored().pk])
        assert staff_with().get(url).status_code == 403
        assert staff_with("view_deadletter").get(url).status_code == 200
        assert Client().get(url).status_code == 302

    def test_a_body_that_is_not_there_is_not_found(self, client: Client) -> None:
        assert client.get(reverse("admin:messaging_deadletter_body", args=[4711])).status_code == 404

    def test_it_says_who_settled_it(self, client: Client) -> None:
        row = stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")
        page = text(client, f"{LETTERS}{row.pk}/change/")
        assert "Discarded by anna on" in page
        assert "Replay…" not in page


@pytest.mark.parametrize("path", [LETTERS, OUTBOX, INBOX])
def test_nobody_adds_changes_or_deletes(path: str, client: Client) -> None:
    letter, waiting = stored(), outbox_row()
    handled = InboxMessage.objects.create(message_id=uuid4(), type="t")
    pk = {LETTERS: letter.pk, OUTBOX: waiting.pk, INBOX: handled.pk}[path]
    assert client.get(f"{path}add/").status_code == 403
    assert client.post(f"{path}{pk}/change/", {"type": "changed"}).status_code == 403
    assert client.post(f"{path}{pk}/delete/", {"post": "yes"}).status_code == 403
    client.post(path, {"action": "delete_selected", "_selected_action": [pk], "post": "yes"})
    assert [model.objects.count() for model in (DeadLetter, OutboxMessage, InboxMessage)] == [1, 1, 1]
    assert "_save" not in text(client, f"{path}{pk}/change/")


class TestOutbox:
    def test_an_empty_outbox_says_what_that_means(self, client: Client) -> None:
        assert "everything that was committed is on the broker" in text(client, OUTBOX)

    def test_it_shows_what_waits_since_when_and_why(self, client: Client) -> None:
        now = timezone.now()
        refused = outbox_row(
            created_at=now - timedelta(hours=3), attempts=4, available_at=now + timedelta(minutes=10, seconds=30),
            last_error="No queue takes it",
        )  # fmt: skip
        due = outbox_row(created_at=now - timedelta(hours=1))
        page = text(client, OUTBOX)
        for part in ("things → thing.happened", ">3 h<", "in 10 min ", "No queue takes it", ">now<"):
            assert part in page
        assert listed(client, OUTBOX) == [due.pk, refused.pk]

    def test_seconds_are_told_as_seconds(self, client: Client) -> None:
        now = timezone.now()
        outbox_row(created_at=now - timedelta(seconds=20), available_at=now + timedelta(seconds=50))
        page = text(client, OUTBOX)
        assert re.search(r">[23]\d s<", page)
        assert re.search(r">in [345]\d s<", page)

    def test_it_filters_what_was_refused(self, client: Client) -> None:
        due, refused = outbox_row(), outbox_row(available_at=timezone.now() + timedelta(hours=1))
        assert listed(client, OUTBOX + "?due=later") == [refused.pk]
        assert listed(client, OUTBOX + "?due=now") == [due.pk]

    def test_it_finds_by_id(self, client: Client) -> None:
        row, _ = outbox_row(), outbox_row()
        assert listed(client, f"{OUTBOX}?q={row.message_id}") == [row.pk]
        assert listed(client, f"{OUTBOX}?q={row.pk}") == [row.pk]
        assert listed(client, f"{OUTBOX}?q=nonsense") == []

    def test_the_body_is_shown_and_can_be_downloaded(self, client: Client) -> None:
        row = outbox_row(body=b'{"number":1}', headers={"schema-version": 1})
        page = text(client, f"{OUTBOX}{row.pk}/change/")
        assert "&quot;number&quot;: 1" in page
        assert "schema-version" in page
        assert client.get(reverse("admin:messaging_outboxmessage_body", args=[row.pk])).content == b'{"number":1}'


class TestInbox:
    def test_an_empty_inbox_says_what_that_means(self, client: Client) -> None:
        assert "no message has taken effect yet" in text(client, INBOX)

    def test_it_shows_and_finds_what_has_taken_effect(self, client: Client) -> None:
        row = InboxMessage.objects.create(message_id=uuid4(), type="thing.happened", correlation_id="request-1")
        other = InboxMessage.objects.create(message_id=uuid4(), type="other")
        page = text(client, INBOX)
        assert str(row.message_id) in page
        assert "request-1" in page
        found = text(client, f"{INBOX}?q={row.message_id}")
        assert str(row.message_id) in found
        assert str(other.message_id) not in found
        assert client.get(f"{INBOX}{row.pk}/change/").status_code == 200


def test_processes_say_whether_they_live_and_what_they_wait_for(client: Client) -> None:
    path = "/admin/messaging/process/"
    assert "Nothing runs here: start" in text(client, path)
    Process.objects.create(name="relay a:1", role="relay", circuit="broker", rate=1234.5)
    Process.objects.create(name="consume b:2", role="consume", seen_at=timezone.now() - timedelta(minutes=2))
    page = text(client, path)
    assert "the broker, which is away" in page
    assert "1,234" in page
    assert "never" in page
    assert re.search(r"\d m?s ago", page)
    assert re.search(r">2 min( \d+ s)? ago<", page)
    assert "consume b:2" not in text(client, f"{path}?q=relay")
    assert re.findall(r'desk-(good|bad)">(alive|gone)<', page) == [("bad", "gone"), ("good", "alive")]
