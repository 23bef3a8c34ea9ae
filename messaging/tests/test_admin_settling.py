"""Dead letters that are replayed or discarded in the admin, one or many."""

import re
from html import unescape

import pytest
from django.test import Client

from messaging import admin, dead_letters
from messaging.models import DeadLetter, InboxMessage, OperatorAction, OutboxMessage, Replay
from messaging.tests.desk import LETTERS, ask, confirm, hidden, listed, staff_with, text, way_back
from messaging.tests.handlers import Recorder
from messaging.tests.letters import stored

pytestmark = pytest.mark.django_db


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
        assert (replay.created_by, replay.reason, replay.canary, replay.rate) == ("anna", "repaired", True, 7)
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
        fields = hidden(page)
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
            "discard", "anna", "a test order", row.pk,
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
        assert f"They are being replayed already: replay {replay.pk}, started by anna." in again
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
        fields = hidden(question)
        refused = client.post(path, {**fields, "reason": " "})
        for answer in (question, refused):
            assert way_back(answer) == path
        assert way_back(ask(client, "discard", row)) == LETTERS

    def test_the_way_back_leads_to_the_page_of_one_where_it_was_asked_for(self, client: Client) -> None:
        row = stored()
        page = text(client, f"{LETTERS}{row.pk}/change/?_changelist_filters=type%3Dthing.happened")
        (query,) = re.findall(r'name="page_query" value="([^"]*)"', page)
        question = ask(client, "discard", row, page_query=unescape(query))
        fields = hidden(question)
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
        assert "in Replay 7" in narrow
        assert str(row.group) in narrow

    def test_staff_without_permission_see_nothing(self) -> None:
        assert staff_with().get(LETTERS).status_code == 403
