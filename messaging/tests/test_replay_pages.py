"""What operators see of a replay, of editing, and of a whole failure group."""

import re
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging import dead_letters, editing, replay_runner, replays
from messaging.models import (
    DeadLetter,
    FailureGroup,
    InboxMessage,
    OperatorAction,
    OutboxMessage,
    Process,
    Replay,
    ReplayedMessage,
)
from messaging.tests.desk import staff_with
from messaging.tests.handlers import Recorder
from messaging.tests.letters import LATER, again, failed, stored

pytestmark = pytest.mark.django_db

LETTERS = "/admin/messaging/deadletter/"
REPLAYS = "/admin/messaging/replay/"


def text(answer: Any) -> str:
    assert answer.status_code == 200
    content: str = answer.content.decode()
    return content


def squeezed(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def started(number: int = 3, **values: Any) -> Replay:
    dead_letters.store([failed() for _ in range(number)])
    return replays.start(dead_letters=DeadLetter.objects.all(), by="anna", **values)


def alive(*roles: str) -> None:
    for role in roles:
        Process.objects.create(name=f"{role} a:1", role=role)


class TestReplayPage:
    def test_it_says_how_far_it_is(self, client: Client) -> None:
        replay = started(4, reason="repaired in 1.2")
        replay_runner.advance()
        page = text(client.get(f"{REPLAYS}{replay.pk}/change/"))
        shown = squeezed(page)
        for part in (
            "repaired in 1.2",
            "started by anna",
            "running",
            "canary 1 of 3: 1 message",
            "1 sent, on its way",
            "3 not sent yet",
        ):
            assert part in shown
        assert 'aria-label="0 of 4 have an outcome: 1 on the way, 3 not sent"' in page

    def test_it_says_of_which_day_its_times_are(self, client: Client) -> None:
        replay = started(1)
        replay.messages.update(sent_at="2026-06-15 23:59:58Z", settled_at="2026-06-16 00:00:01Z")
        page = squeezed(text(client.get(f"{REPLAYS}{replay.pk}/change/")))
        assert "2026-06-15 23:59:58 2026-06-16 00:00:01" in page

    def test_problems_come_first(self, client: Client) -> None:
        replay = started(5, canary=False)
        rows = replay.messages.order_by("position")
        for position, outcome in enumerate(["handled", "skipped", "waiting", "sent", "failed"]):
            rows.filter(position=position).update(outcome=outcome)
        page = text(client.get(f"{REPLAYS}{replay.pk}/change/"))
        numbers = re.findall(r'<td class="desk-number">(\d+)</td>', page)
        assert numbers == ["5", "4", "2", "3", "1"]

    def test_its_messages_come_in_pages_and_by_outcome(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("messaging.admin.replays.PAGE", 2)
        replay = started(5)
        replay.messages.filter(position__in=[3, 4]).update(outcome="failed")
        replay.messages.filter(position=0).update(outcome="handled")

        def numbers(query: str) -> list[str]:
            page = text(client.get(f"{REPLAYS}{replay.pk}/change/?{query}"))
            return re.findall(r'<td class="desk-number">(\d+)</td>', page)

        assert [numbers(f"page={page}") for page in (1, 2, 3)] == [["4", "5"], ["2", "3"], ["1"]]
        assert numbers("outcome=waiting") == ["2", "3"]
        assert numbers("outcome=nonsense&page=-1") == []
        assert numbers("page=99999999999999") == ["4", "5"]

    def test_a_page_costs_no_more_for_more_messages(self, client: Client) -> None:
        def queries(replay: Replay) -> int:
            with CaptureQueriesContext(connection) as captured:
                text(client.get(f"{REPLAYS}{replay.pk}/progress/"))
            return len(captured)

        assert queries(started(2)) == queries(started(40))

    def test_it_refreshes_itself_while_it_is_under_way(self, client: Client) -> None:
        replay = started()
        page = text(client.get(f"{REPLAYS}{replay.pk}/change/"))
        assert '<noscript><meta http-equiv="refresh" content="5"></noscript>' in page
        assert f'data-progress="{REPLAYS}{replay.pk}/progress/" data-every="2000" data-live="yes"' in page
        assert "messaging/replay.js" in page
        replays.cancel(replay_id=replay.pk, by="anna")
        replay_runner.advance()
        page = text(client.get(f"{REPLAYS}{replay.pk}/change/"))
        assert "http-equiv" not in page
        assert 'data-live="no"' in page
        assert "Nothing of it is under way any more." in page

    def test_the_part_that_changes_can_be_had_alone(self, client: Client) -> None:
        replay = started()
        answer = client.get(f"{REPLAYS}{replay.pk}/progress/")
        assert "<html" not in text(answer)
        assert "no-store" in answer["Cache-Control"]
        assert "csrfmiddlewaretoken" not in text(answer), "a token that changes would have every part replaced"

    def test_it_says_when_nobody_carries_it_on(self, client: Client) -> None:
        replay = started()
        path = f"{REPLAYS}{replay.pk}/change/"
        assert "No consumer is alive" in text(client.get(path))
        assert "No relay is alive" in text(client.get(path))
        alive("consume", "relay")
        assert "is alive" not in text(client.get(path))

    def test_it_can_be_paused_resumed_and_cancelled(self, client: Client) -> None:
        replay = started()
        path = f"{REPLAYS}{replay.pk}/"
        for verb, state, buttons in (
            ("pause", "paused", ["Resume", "Cancel"]),
            ("resume", "running", ["Pause", "Cancel"]),
            ("cancel", "cancelled", []),
        ):
            page = text(client.post(f"{path}{verb}/", {"reason": "because"}, follow=True))
            replay.refresh_from_db()
            assert replay.state == state
            assert re.findall(r"<button[^>]*formaction[^>]*>(\w+)</button>", page) == buttons
            assert "because" in page
        actions = (
            OperatorAction.objects.filter(replay_id=replay.pk).order_by("id").values_list("action", "by", "reason")
        )
        assert list(actions)[1:] == [(f"{verb} replay", "anna", "because") for verb in ("pause", "resume", "cancel")]

    def test_enter_in_the_reason_presses_no_button(self, client: Client) -> None:
        replay = started()
        replays.pause(replay_id=replay.pk, by="bert")
        form = text(client.get(f"{REPLAYS}{replay.pk}/change/")).partition('<form id="hold"')[2]
        # A browser submits nothing when the first button of the form is disabled.
        first, second, *_ = re.findall(r"<button[^>]*>", form)
        assert " disabled hidden>" in first
        assert "/resume/" in second

    def test_whoever_presses_second_is_told(self, client: Client) -> None:
        replay = started()
        replays.pause(replay_id=replay.pk, by="bert")
        page = text(client.post(f"{REPLAYS}{replay.pk}/pause/", follow=True))
        assert f"Replay {replay.pk} was left alone: it is Paused (Paused by bert.)." in page

    def test_a_link_holds_nothing(self, client: Client) -> None:
        replay = started()
        assert client.get(f"{REPLAYS}{replay.pk}/cancel/").status_code == 302
        replay.refresh_from_db()
        assert replay.state == "running"

    def test_holding_needs_the_token(self, client: Client) -> None:
        replay = started()
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.get())
        assert strict.post(f"{REPLAYS}{replay.pk}/cancel/").status_code == 403

    def test_who_may_only_look_has_no_buttons(self) -> None:
        replay = started()
        looker = staff_with("view_replay")
        assert "formaction" not in text(looker.get(f"{REPLAYS}{replay.pk}/change/"))
        assert looker.post(f"{REPLAYS}{replay.pk}/cancel/").status_code == 403
        replay.refresh_from_db()
        assert replay.state == "running"

    def test_it_is_not_for_everybody(self, client: Client) -> None:
        replay = started()
        for path in ("change", "progress"):
            assert staff_with("view_deadletter").get(f"{REPLAYS}{replay.pk}/{path}/").status_code == 403
            assert Client().get(f"{REPLAYS}{replay.pk}/{path}/").status_code == 302
            assert client.get(f"{REPLAYS}4711/{path}/").status_code == 404
        assert client.post(f"{REPLAYS}{replay.pk}/change/").status_code == 403

    def test_nothing_of_a_message_is_markup(self, client: Client) -> None:
        evil = "<script>alert(1)</script>"
        replay = started(reason=evil)
        replay.messages.update(detail=evil, subject=evil)
        Replay.objects.update(state_reason=evil)
        for path in (f"{REPLAYS}{replay.pk}/change/", REPLAYS):
            assert evil not in text(client.get(path))


class TestReplayList:
    def test_it_shows_the_newest_first(self, client: Client) -> None:
        first, second = started(reason="one"), started(reason="two")
        page = text(client.get(REPLAYS))
        assert page.index(f"{REPLAYS}{second.pk}/change/") < page.index(f"{REPLAYS}{first.pk}/change/")
        assert "two" in page

    def test_an_empty_one_says_what_to_do(self, client: Client) -> None:
        assert "Nothing has been replayed yet" in text(client.get(REPLAYS))


class TestEdit:
    BODY = b'{"thing":"a1","number":"seven"}'
    MENDED = '{\r\n  "thing": "a1",\r\n  "number": 7\r\n}'

    def post(self, client: Client, row: DeadLetter, step: str, **fields: Any) -> Any:
        given = {"step": step, "body": self.MENDED, "seen": editing.version_of(row), **fields}
        return client.post(f"{LETTERS}{row.pk}/edit/", given)

    def test_the_body_stands_in_a_form(self, client: Client) -> None:
        row = stored(body=self.BODY)
        page = text(client.get(f"{LETTERS}{row.pk}/edit/"))
        assert "{\n  &quot;thing&quot;: &quot;a1&quot;,\n  &quot;number&quot;: &quot;seven&quot;\n}" in page
        assert f'name="seen" value="{editing.version_of(row)}"' in page

    def test_the_difference_is_shown_before_anything_is_done(self, client: Client, recorder: Recorder) -> None:
        row = stored(body=self.BODY)
        page = text(self.post(client, row, "check"))
        assert '<span class="desk-diff-removed">-  &quot;number&quot;: &quot;seven&quot;</span>' in page
        assert '<span class="desk-diff-added">+  &quot;number&quot;: 7</span>' in page
        assert "Dry run: 1 would pass" in page
        assert recorder.batches[0][0].payload == {"thing": "a1", "number": 7}
        row.refresh_from_db()
        assert row.status == "waiting"
        assert not OutboxMessage.objects.exists()
        assert not InboxMessage.objects.exists()

    def test_then_it_is_sent(self, client: Client) -> None:
        row = stored(body=self.BODY)
        answer = self.post(client, row, "send", reason="a digit")
        assert urlsplit(answer.url).path == f"{LETTERS}{row.pk}/change/"
        row.refresh_from_db()
        assert row.status == "superseded"
        assert bytes(OutboxMessage.objects.get().body) == self.MENDED.replace("\r\n", "\n").encode()
        page = text(client.get(f"{LETTERS}{row.pk}/change/"))
        assert "a digit" in page
        assert "+  &quot;number&quot;: 7" in page
        assert "Edit and replay…" not in page

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("{", "The body does not hold"),
            ("[1]", "not an object"),
            ('{"thing": "a2"}', "edited it would be about a2"),
            ('{"thing": "a1", "number": "seven"}', "The body is as it was"),
            ("", "This field is required."),
        ],
    )  # fmt: skip
    def test_a_body_that_may_not_be_sent_comes_back(self, body: str, said: str, client: Client) -> None:
        row = stored(body=self.BODY)
        page = text(self.post(client, row, "check", body=body)).replace("&#x27;", "'")
        assert said in page
        assert "What changes" not in page
        assert not OutboxMessage.objects.exists()

    def test_it_needs_a_reason(self, client: Client) -> None:
        row = stored(body=self.BODY)
        page = text(self.post(client, row, "send", reason=" "))
        assert "This field is required." in page
        assert "What changes" in page
        assert not OutboxMessage.objects.exists()

    def test_one_can_go_back_to_the_form_with_what_one_wrote(self, client: Client) -> None:
        page = text(self.post(client, stored(body=self.BODY), "edit"))
        assert "&quot;number&quot;: 7" in page
        assert "Check it" in page

    def test_what_has_failed_again_meanwhile_is_looked_at_again(self, client: Client) -> None:
        message = failed(body=self.BODY)
        dead_letters.store([message])
        row = DeadLetter.objects.get()
        dead_letters.store([again(message, failed_at=LATER)])
        answer = self.post(client, row, "send", reason="a digit")
        page = text(client.get(answer.url))
        assert "It has failed again meanwhile" in page
        assert not OutboxMessage.objects.exists()

    def test_sending_it_twice_sends_it_once(self, client: Client) -> None:
        row = stored(body=self.BODY)
        self.post(client, row, "send", reason="a digit")
        answer = self.post(client, row, "send", reason="a digit")
        assert answer.status_code == 302
        assert OutboxMessage.objects.count() == 1

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"type": "thing.exploded"}, "Unknown type 'thing.exploded'"),
            ({"headers": {"schema-version": 99}}, "Unknown schema-version 99"),
            ({"headers": {"x-unreadable-headers": "too deep"}}, "The headers cannot be decoded"),
        ],
    )
    def test_what_no_body_mends_has_no_form(self, wrong: dict[str, Any], said: str, client: Client) -> None:
        row = stored(body=self.BODY, **wrong)
        page = text(client.get(f"{LETTERS}{row.pk}/edit/", follow=True)).replace("&#x27;", "'")
        assert said in page
        assert "No edit of the body mends that." in page
        assert "Check it" not in page
        self.post(client, row, "send", reason="a digit")
        assert not OutboxMessage.objects.exists()

    def test_what_cannot_be_edited_in_a_form_is_a_matter_for_the_command(self, client: Client) -> None:
        for body, said in ((b"\xff", "no text"), (b"x" * 300_000, "too long for a form")):
            page = text(client.get(f"{LETTERS}{stored(body=body).pk}/edit/", follow=True))
            assert said in page
            assert "manage.py dead_letters edit" in page

    def test_one_that_is_not_there_is_not_found(self, client: Client) -> None:
        assert client.get(f"{LETTERS}4711/edit/").status_code == 404

    def test_it_needs_the_token(self, client: Client) -> None:
        row = stored(body=self.BODY)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.get())
        assert self.post(strict, row, "send", reason="a digit").status_code == 403


class TestWholeGroup:
    def test_all_that_wait_in_a_group_are_replayed(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("messaging.admin.settling.ACTION_LIMIT", 2)
        for _ in range(4):
            stored()
        stored(error_type="OtherError")
        group = FailureGroup.objects.get(error_type="InvalidMessageError")
        path = f"{LETTERS}group/{group.pk}/replay/"
        question = text(client.post(path))
        assert "Replay 4 dead letters?" in question
        assert "Dry run: 4 would pass" in question
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', question))
        came_later = stored()
        page = text(client.post(path, {**fields, "rate": 5, "canary": "on"}, follow=True))
        replay = Replay.objects.get()
        assert f"Replay {replay.pk} of 4 dead letters has begun." in page
        assert not ReplayedMessage.objects.filter(dead_letter_id=came_later.pk).exists()

    def test_a_link_tries_nothing(self, client: Client, recorder: Recorder) -> None:
        group_id = stored().group_id
        page = text(client.get(f"{LETTERS}group/{group_id}/replay/"))
        assert "Replay 1 dead letter?" in page
        assert ">Dry run</button>" in page
        assert recorder.batches == []

    def test_all_that_wait_in_a_group_are_discarded(self, client: Client) -> None:
        group_id = stored().group_id
        path = f"{LETTERS}group/{group_id}/discard/"
        question = text(client.get(path))
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', question))
        assert "Discarded 1 dead letter." in text(client.post(path, {**fields, "reason": "tests"}, follow=True))

    def test_more_than_one_request_has_time_for_are_discarded_in_several(
        self, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("messaging.admin.settling.DISCARD_SECONDS", 0)
        monkeypatch.setattr("messaging.dead_letters.CHUNK_ROWS", 2)
        for _ in range(3):
            group_id = stored().group_id
        path = f"{LETTERS}group/{group_id}/discard/"
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', text(client.get(path))))
        first = text(client.post(path, {**fields, "reason": "tests"}, follow=True))
        assert "Discarded 2 dead letters." in first
        assert "1 of them waits still: discard once more for the rest." in first
        assert "left alone" not in first
        second = text(client.post(path, {**fields, "reason": "tests"}, follow=True))
        assert "Discarded 1 dead letter." in second
        assert "once more" not in second
        assert DeadLetter.objects.filter(status="discarded").count() == 3

    def test_the_way_back_leads_to_the_group_or_to_its_list_for_who_may_not_see_it(self, client: Client) -> None:
        group_id = stored().group_id
        path = f"{LETTERS}group/{group_id}/discard/"
        assert f'href="/admin/messaging/failuregroup/{group_id}/change/">No, take me back<' in text(client.get(path))
        operator = staff_with("view_deadletter", "discard_deadletter")
        assert f'href="{LETTERS}?group__id__exact={group_id}">No, take me back<' in text(operator.get(path))

    def test_an_empty_group_says_so(self, client: Client) -> None:
        assert "None of them waits any more" in text(client.post(f"{LETTERS}group/4711/replay/", follow=True))
        assert client.get(f"{LETTERS}group/4711/nonsense/").status_code == 404

    def test_the_list_shows_those_of_a_group(self, client: Client) -> None:
        row, other = stored(), stored(error_type="OtherError")
        page = text(client.get(f"{LETTERS}?group__id__exact={row.group_id}"))
        assert f"{LETTERS}{row.pk}/change/" in page
        assert f"{LETTERS}{other.pk}/change/" not in page
        assert client.get(f"{LETTERS}?group__id__exact=nonsense").status_code == 302

    def test_the_filter_tells_groups_apart_that_differ_only_in_the_type(self, client: Client) -> None:
        for type_ in ("thing.happened", "other"):
            stored(type=type_, place="things.handle" + "r" * 100)
        page = squeezed(text(client.get(LETTERS)))
        for type_ in ("thing.happened", "unknown"):
            assert f"InvalidMessageError in things.handle{'r' * 100}, {type_}" in page
        assert str(FailureGroup(error_type="KeyError")) == "KeyError in unknown place"

    def test_a_search_finds_what_a_message_is_about(self, client: Client) -> None:
        row = stored(body=b'{"thing": "a1"}')
        DeadLetter.objects.filter(pk=row.pk).update(subject="a1")
        other = stored()
        page = text(client.get(f"{LETTERS}?q=a1"))
        assert f"{LETTERS}{row.pk}/change/" in page
        assert f"{LETTERS}{other.pk}/change/" not in page


def test_the_page_of_a_dead_letter_tells_its_replays(client: Client) -> None:
    replay = started(1)
    replay_runner.advance()
    message = replay.messages.get()
    ReplayedMessage.objects.update(outcome="failed", detail="once more", settled_at=timezone.now())
    page = squeezed(text(client.get(f"{LETTERS}{message.dead_letter_id}/change/")))
    assert f"part of Replay {replay.pk} : failed again" in page
    assert "once more" in page
