import re
from datetime import timedelta
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from messaging import admin, dead_letters
from messaging.admin_support import CappedPaginator
from messaging.models import DeadLetter, InboxMessage, OperatorAction, OutboxMessage, Process, Replay
from messaging.tests.handlers import Recorder
from messaging.tests.letters import LATER, stored

pytestmark = pytest.mark.django_db

LETTERS = "/admin/messaging/deadletter/"
OUTBOX = "/admin/messaging/outboxmessage/"
INBOX = "/admin/messaging/inboxmessage/"


@pytest.fixture
def client() -> Client:
    client = Client()
    client.force_login(User.objects.create(username="admin", is_staff=True, is_superuser=True))
    return client


def staff_with(*permissions: str) -> Client:
    user = User.objects.create_user(f"staff{uuid4()}", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def text(client: Client, path: str) -> str:
    answer = client.get(path)
    assert answer.status_code == 200
    return answer.content.decode()


def listed(client: Client, path: str) -> list[int]:
    return [
        int(pk)
        for pk in re.findall(r'class="field-id [^"]*"><a href="/admin/messaging/\w+/(\d+)/change/', text(client, path))
    ]


def ask(client: Client, verb: str, *rows: DeadLetter, path: str = LETTERS, **more: Any) -> Any:
    data = {"action": f"{verb}_selected", "_selected_action": [row.pk for row in rows], **more}
    return client.post(path, data, follow=True)


HIDDEN = r'<input type="hidden" name="(\w+)" value="([^"]*)">'


def confirm(client: Client, question: Any, **filled: Any) -> str:
    """Sends the form of the confirmation page, filled in."""
    fields = dict(re.findall(HIDDEN, question.content.decode()))
    answer: str = client.post(LETTERS, {"rate": 50, **fields, **filled}, follow=True).content.decode()
    return answer


def way_back(question: Any) -> str:
    (url,) = re.findall(r'href="([^"]*)">No, take me back<', question.content.decode())
    return unescape(url)


def outbox_row(**values: Any) -> OutboxMessage:
    given = {"message_id": uuid4(), "type": "thing.happened", "exchange": "things", "routing_key": "thing.happened"}
    return OutboxMessage.objects.create(**{**given, "body": b"{}", **values})


class TestDeadLetterList:
    def test_it_shows_what_waits_newest_first(self, client: Client) -> None:
        old, new, settled = stored(), stored(failed_at=LATER), stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(pk=settled.pk), by="anna")
        assert listed(client, LETTERS) == [new.pk, old.pk]

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
            "failedattempt/?step__exact", "replay/?state__exact", "outboxmessage/?due", "operatoraction/?by",
        ],
    )  # fmt: skip
    def test_a_filter_with_a_nul_is_no_server_error(self, query: str, client: Client) -> None:
        answer = client.get(f"/admin/messaging/{query}=%00")
        assert (answer.status_code, answer["Location"]) == (302, f"/admin/messaging/{query.partition('?')[0]}?e=1")
        assert client.get(answer["Location"]).status_code == 200

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


class TestReplayAndDiscard:
    def test_it_asks_first(self, client: Client) -> None:
        row = stored()
        question = ask(client, "replay", row)
        assert "Replay 1 dead letter?" in question.content.decode()
        assert str(row.message_id) in question.content.decode()
        assert DeadLetter.objects.get().status == "waiting"
        assert not Replay.objects.exists()

    def test_a_confirmed_replay_begins_and_is_shown(self, client: Client) -> None:
        first, second, other = stored(), stored(), stored()
        page = confirm(client, ask(client, "replay", first, second), reason="repaired", canary="on", rate=7)
        replay = Replay.objects.get()
        assert f"Replay {replay.pk} of 2 dead letters has begun." in page
        assert (replay.created_by, replay.reason, replay.canary, replay.rate) == ("admin", "repaired", True, 7)
        assert set(replay.messages.values_list("dead_letter_id", flat=True)) == {first.pk, second.pk}
        assert OperatorAction.objects.get().action == "start replay"
        assert DeadLetter.objects.filter(status="waiting").count() == 3, "nothing is sent before a consumer does it"
        assert other.pk not in replay.messages.values_list("dead_letter_id", flat=True)

    def test_a_canary_is_proposed_for_several_and_not_for_one(self, client: Client) -> None:
        one, several = ask(client, "replay", stored()), ask(client, "replay", stored(), stored())
        checkbox = r'<input type="checkbox" name="canary"[^>]*?>'
        assert " checked>" not in re.findall(checkbox, one.content.decode())[0]
        assert " checked>" in re.findall(checkbox, several.content.decode())[0]

    def test_a_rate_that_is_none_is_refused(self, client: Client) -> None:
        question = ask(client, "replay", stored())
        page = confirm(client, question, rate=0)
        assert "greater than or equal to 1" in page
        assert not Replay.objects.exists()
        assert "has begun" in confirm(client, question, rate=1)

    def test_the_question_shows_a_dry_run(self, client: Client, recorder: Recorder) -> None:
        good, bad = stored(), stored(body=b"[1]")
        page = ask(client, "replay", good, bad).content.decode()
        assert "Dry run: 1 would pass, 1 would fail" in page
        assert "not an object" in page
        assert "It would be a dead letter again at once." in page
        assert not OutboxMessage.objects.exists()
        assert not InboxMessage.objects.exists()

    def test_a_page_tries_25_at_most_and_says_so(self, client: Client, recorder: Recorder) -> None:
        rows = [stored() for _ in range(27)]
        page = ask(client, "dry_run", *rows).content.decode()
        assert "Dry run of 27 dead letters" in page
        assert "25 would pass" in page
        assert "2 further were not tried" in page
        assert len(recorder.batches) == 25

    def test_a_dry_run_changes_nothing_and_leads_to_the_question(self, client: Client, recorder: Recorder) -> None:
        row = stored()
        page = ask(client, "dry_run", row)
        assert "Dry run of 1 dead letter" in page.content.decode()
        fields = dict(re.findall(HIDDEN, page.content.decode()))
        question = client.post(LETTERS, fields)
        assert "Replay 1 dead letter?" in question.content.decode()
        assert DeadLetter.objects.values_list("status").get() == ("waiting",)
        assert not OperatorAction.objects.exists()

    def test_a_confirmed_discard_sends_nothing(self, client: Client) -> None:
        row = stored()
        page = confirm(client, ask(client, "discard", row), reason="a test order")
        assert "Discarded 1 dead letter." in page
        assert DeadLetter.objects.get().status == "discarded"
        action = OperatorAction.objects.get()
        assert (action.action, action.by, action.reason, action.dead_letter_id) == (
            "discard", "admin", "a test order", row.pk,
        )  # fmt: skip
        assert not OutboxMessage.objects.exists()
        history = text(client, f"{LETTERS}{row.pk}/change/")
        assert "a test order" in history

    def test_a_discard_needs_a_reason(self, client: Client) -> None:
        question = ask(client, "discard", stored())
        assert "This field is required." in confirm(client, question, reason=" ")
        assert DeadLetter.objects.get().status == "waiting"

    def test_confirming_twice_replays_once(self, client: Client) -> None:
        question = ask(client, "replay", stored())
        confirm(client, question)
        again = confirm(client, question)
        replay = Replay.objects.get()
        assert f"They are being replayed already: replay {replay.pk}, started by admin." in again
        assert f"{replay.pk}/progress/" in again, "whoever comes second lands where the first one did"
        assert OperatorAction.objects.count() == 1

    def test_confirming_twice_discards_once(self, client: Client) -> None:
        question = ask(client, "discard", stored())
        confirm(client, question, reason="r")
        page = confirm(client, question, reason="r")
        assert "1 dead letter was settled, or is part of another replay, and left alone." in page
        assert OperatorAction.objects.count() == 1

    def test_what_was_asked_is_what_is_done(self, client: Client) -> None:
        asked = [stored(), stored()]
        question = ask(client, "replay", asked[0], select_across="1", index="0")
        assert "Replay 2 dead letters?" in question.content.decode()
        came_later = stored()
        confirm(client, question)
        assert came_later.pk not in Replay.objects.get().messages.values_list("dead_letter_id", flat=True)
        assert Replay.objects.get().total == 2

    def test_what_does_not_wait_is_not_asked_about(self, client: Client) -> None:
        row = stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")
        answer = ask(client, "replay", row, path=LETTERS + "?status__exact=all")
        assert "None of them waits any more" in answer.content.decode()

    def test_too_many_are_a_matter_for_the_command(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(admin.settling, "ACTION_LIMIT", 1)
        rows = stored(), stored()
        for verb, command in (("discard", "discard"), ("dry_run", "dry-run"), ("replay", "replay")):
            answer = ask(client, verb, *rows)
            assert f"manage.py dead_letters {command} --all" in answer.content.decode()
        assert DeadLetter.objects.filter(status="waiting").count() == 2

    def test_the_command_for_too_many_has_the_filters_of_the_list(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admin.settling, "ACTION_LIMIT", 1)
        rows = stored(error_type="Odd Error", queue="--q"), stored(error_type="Odd Error", queue="--q")
        group = rows[0].group_id
        query = f"status__exact=all&o=1&type=thing.happened&error_type=Odd+Error&queue=--q&group__id__exact={group}"
        page = unescape(ask(client, "discard", *rows, path=f"{LETTERS}?{query}").content.decode())
        options = f"--type=thing.happened '--error=Odd Error' --queue=--q --group={group}"
        assert f"manage.py dead_letters discard --all {options}, or filter further." in page

    @pytest.mark.parametrize("query", ["q=number+is", "last_failed_at__gte=2026-01-01+00:00:00Z", "attempts=6"])
    def test_no_command_is_advised_that_would_settle_more_than_the_list_shows(
        self, query: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(admin.settling, "ACTION_LIMIT", 1)
        page = ask(client, "discard", stored(), stored(), path=f"{LETTERS}?{query}").content.decode()
        assert "go by their failure groups, however large" in page
        assert "--all" not in page

    def test_the_way_back_leads_to_the_list_as_it_was_filtered(self, client: Client) -> None:
        row = stored()
        path = f"{LETTERS}?type=thing.happened&o=1"
        question = ask(client, "discard", row, path=path)
        fields = dict(re.findall(HIDDEN, question.content.decode()))
        refused = client.post(path, {**fields, "reason": " "})
        for answer in (question, refused):
            assert way_back(answer) == path
        assert way_back(ask(client, "discard", row)) == LETTERS

    def test_the_way_back_leads_to_the_page_of_one_where_it_was_asked_for(self, client: Client) -> None:
        row = stored()
        page = text(client, f"{LETTERS}{row.pk}/change/?_changelist_filters=type%3Dthing.happened")
        (query,) = re.findall(r'name="page_query" value="([^"]*)"', page)
        question = ask(client, "discard", row, page_query=unescape(query))
        fields = dict(re.findall(HIDDEN, question.content.decode()))
        refused = client.post(LETTERS, {**fields, "reason": " "})
        for answer in (question, refused):
            assert way_back(answer) == f"{LETTERS}{row.pk}/change/?_changelist_filters=type%3Dthing.happened"
        assert way_back(ask(client, "discard", row, page_query="")) == f"{LETTERS}{row.pk}/change/"

    def test_the_way_back_leads_to_no_other_site(self, client: Client) -> None:
        row = stored()
        back = way_back(ask(client, "discard", row, page_query="//evil.example/"))
        assert back == f"{LETTERS}{row.pk}/change/?//evil.example/"

    def test_the_page_of_one_has_buttons_that_ask(self, client: Client) -> None:
        row = stored()
        page = text(client, f"{LETTERS}{row.pk}/change/")
        form = re.search(
            r'<form class="desk-actions" method="post" action="([^"]+)"[^>]*>(.*?)</form>', page, re.DOTALL
        )
        assert form
        assert form[1] == LETTERS
        assert re.findall(r'name="action" value="(\w+)"', form[2]) == [
            "dry_run_selected", "replay_selected", "discard_selected",
        ]  # fmt: skip
        assert f'name="_selected_action" value="{row.pk}"' in form[2]
        assert f'href="{LETTERS}{row.pk}/edit/"' in form[2]
        assert "Discard 1 dead letter?" in ask(client, "discard", row).content.decode()

    def test_who_may_only_look_can_neither_ask_nor_confirm(self, client: Client) -> None:
        row = stored()
        looker = staff_with("view_deadletter", "view_replay", "change_deadletter")
        page = text(looker, f"{LETTERS}{row.pk}/change/")
        for button in ("Dry run", "Replay…", "Edit and replay…", "Discard…"):
            assert button not in page
        for verb in ("dry_run", "replay", "discard"):
            ask(looker, verb, row)
            ask(looker, verb, row, ids=str(row.pk), confirmed="yes", rate=1, reason="r")
            assert looker.post(f"{LETTERS}group/{row.group_id}/{verb}/").status_code == 403
        assert looker.get(f"{LETTERS}{row.pk}/edit/").status_code == 403
        assert DeadLetter.objects.get().status == "waiting"
        assert not Replay.objects.exists()
        assert not OperatorAction.objects.exists()

    @pytest.mark.parametrize("may", ["replay", "edit", "discard"])
    def test_each_power_has_a_permission_of_its_own(self, may: str) -> None:
        operator = staff_with("view_deadletter", "view_replay", f"{may}_deadletter")
        row = stored()
        page = text(operator, f"{LETTERS}{row.pk}/change/")
        shown = {"replay": "Replay…</button>", "edit": "Edit and replay…</a>", "discard": "Discard…</button>"}
        assert [verb for verb, button in shown.items() if button in page] == [may]
        assert (operator.get(f"{LETTERS}{row.pk}/edit/").status_code == 200) == (may == "edit")
        ask(operator, "replay", row, ids=str(row.pk), confirmed="yes", rate=1)
        assert Replay.objects.exists() == (may == "replay")
        ask(operator, "discard", row, ids=str(row.pk), confirmed="yes", reason="r")
        assert DeadLetter.objects.filter(status="discarded").exists() == (may == "discard")

    def test_who_may_not_see_replays_is_told_on_the_list_that_one_has_begun(self) -> None:
        operator = staff_with("view_deadletter", "replay_deadletter")
        row = stored()
        question = ask(operator, "replay", row)
        page = confirm(operator, question)
        replay = Replay.objects.get()
        assert f"Replay {replay.pk} of 1 dead letter has begun." in page
        assert listed(operator, LETTERS) == [row.pk]
        assert f"They are being replayed already: replay {replay.pk}" in confirm(operator, question)
        others = stored(error_type="OtherError").group_id
        answer = operator.post(
            f"{LETTERS}group/{others}/replay/", {"up_to": 10**9, "confirmed": "yes", "rate": 1}, follow=True
        )
        assert answer.redirect_chain == [(f"{LETTERS}?group__id__exact={others}", 302)]
        assert f"Replay {Replay.objects.latest('pk').pk} of 1 dead letter has begun." in answer.content.decode()

    def test_the_page_of_one_links_only_what_may_be_seen(self, client: Client) -> None:
        row = stored()
        confirm(client, ask(client, "replay", row))
        OperatorAction.objects.create(by="anna", action="replay", dead_letter_id=row.pk, replay_id=7)
        path = f"{LETTERS}{row.pk}/change/"
        links = "/admin/messaging/replay/7/", f"/admin/messaging/failuregroup/{row.group_id}/"
        page, narrow = text(client, path), text(staff_with("view_deadletter"), path)
        assert all(link in page for link in links)
        assert 'href="/admin/messaging/replay/' not in narrow
        assert 'href="/admin/messaging/failuregroup/' not in narrow
        assert "in replay 7" in narrow
        assert str(row.group) in narrow

    def test_staff_without_permission_see_nothing(self) -> None:
        assert staff_with().get(LETTERS).status_code == 403


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
