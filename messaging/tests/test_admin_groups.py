import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from messaging import dead_letters, failure_groups
from messaging.admin.groups import sparkline
from messaging.models import DeadLetter, FailureGroup, OperatorAction
from messaging.tests.desk import staff_with, text
from messaging.tests.letters import LATER, stored

pytestmark = pytest.mark.django_db

GROUPS = "/admin/messaging/failuregroup/"
ACTIONS = "/admin/messaging/operatoraction/"
EVIL = "<script>alert(1)</script>"


def page_of(group: FailureGroup) -> str:
    return f"{GROUPS}{group.pk}/change/"


def group_of(row: DeadLetter) -> FailureGroup:
    assert row.group is not None
    return row.group


def listed(client: Client, path: str = GROUPS) -> list[int]:
    return [
        int(pk)
        for pk in re.findall(r'field-failure[^>]*><a href="/admin/messaging/failuregroup/(\d+)/', text(client, path))
    ]


def decide(client: Client, group: FailureGroup, verb: str, *, seen: str, **more: str) -> str:
    answer = client.post(f"{GROUPS}{group.pk}/{verb}/", {"expected": seen, **more}, follow=True)
    assert answer.status_code == 200
    return answer.content.decode()


class TestList:
    def test_it_shows_what_is_not_resolved_newest_first(self, client: Client) -> None:
        old, new = group_of(stored()), group_of(stored(error_type="KeyError", failed_at=LATER))
        taken = group_of(stored(error_type="TypeError", failed_at=LATER + timedelta(hours=1)))
        resolved = group_of(stored(error_type="OSError"))
        failure_groups.take(group_id=taken.pk, by="bert")
        failure_groups.resolve(group_id=resolved.pk, by="bert")
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(group=resolved), by="bert")
        assert listed(client) == [taken.pk, new.pk, old.pk]
        assert listed(client, f"{GROUPS}?state=resolved") == [resolved.pk]
        assert len(listed(client, f"{GROUPS}?state=all")) == 4
        assert "bert" in text(client, GROUPS)

    def test_a_resolved_one_stays_until_none_of_its_dead_letters_waits(self, client: Client) -> None:
        resolved = group_of(stored())
        failure_groups.resolve(group_id=resolved.pk, by="bert")
        assert listed(client) == [resolved.pk]
        dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="bert")
        assert listed(client) == []

    def test_an_empty_list_is_good_news(self, client: Client) -> None:
        assert "No failure is open" in text(client, GROUPS)

    def test_it_links_to_what_waits_now(self, client: Client) -> None:
        rows = [stored() for _ in range(3)]
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(pk=rows[0].pk), by="anna")
        page = text(client, GROUPS)
        assert re.search(rf'href="/admin/messaging/deadletter/\?group__id__exact={rows[0].group_id}"[^>]*>2</a>', page)
        assert client.get(f"/admin/messaging/deadletter/?group__id__exact={rows[0].group_id}").status_code == 200

    def test_it_asks_no_more_the_more_groups_there_are(self, client: Client) -> None:
        counts = []
        for number in (1, 12):
            for error in range(number):
                stored(error_type=f"E{number}{error}")
            with CaptureQueriesContext(connection) as queries:
                text(client, GROUPS)
            counts.append(len(queries))
        assert counts[0] == counts[1]

    def test_it_finds_by_a_part_of_the_error_the_place_or_the_text(self, client: Client) -> None:
        group = group_of(stored(error_type="StockError", place="shop.stock.take", error_message="no such shelf"))
        stored()
        failure_groups.resolve(group_id=group.pk, by="bert")
        for term in ("stocke", "shop.stock", "SHELF", group.fingerprint):
            assert listed(client, f"{GROUPS}?q={term}") == [group.pk]
        assert listed(client, f"{GROUPS}?q=nothing") == []

    def test_its_trend_is_drawn(self) -> None:
        drawn = sparkline([0, 1, 100])
        assert drawn.count("<rect") == 2
        assert "101 in 3 hours, at most 100 in one" in drawn
        assert "<rect" not in sparkline([0, 0])


class TestPage:
    def test_it_tells_what_is_known(self, client: Client) -> None:
        row = stored(
            place="shop.stock.take", release="1.4", failed_at=timezone.now(), error_message="no such shelf",
            traceback="Traceback: line 7", subject="order-7",
        )  # fmt: skip
        page = text(client, page_of(group_of(row)))
        for known in ("shop.stock.take", "release 1.4", "no such shelf", "Traceback: line 7", "order-7", "<rect"):
            assert known in page
        assert f"?group__id__exact={row.group_id}" in page
        assert f"/admin/messaging/deadletter/{row.pk}/change/" in page

    def test_it_tells_the_type_that_its_newest_letter_has(self, client: Client) -> None:
        unknown = group_of(stored(type="thing.exploded"))
        words = "thing.exploded, not taken by this service"
        assert words in text(client, page_of(unknown))
        assert words in text(client, GROUPS)
        stored(type="", failed_at=LATER, error_type="InvalidMessageError")
        assert "untyped" in text(client, GROUPS)
        dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")
        assert words in text(client, GROUPS), "also of those that are settled"

    def test_it_tells_when_nothing_waits(self, client: Client) -> None:
        row = stored()
        dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")
        page = text(client, page_of(group_of(row)))
        assert "None of them waits: all are settled." in page
        assert "It did not happen in the last 7 days." in page
        DeadLetter.objects.all().delete()
        assert "none is kept any more" in text(client, page_of(group_of(row)))

    def test_nothing_of_it_is_markup(self, client: Client) -> None:
        group = group_of(
            stored(error_type=EVIL, place=EVIL, error_message=EVIL, traceback=EVIL, release=EVIL, subject=EVIL)
        )
        failure_groups.take(group_id=group.pk, by=EVIL, reason=EVIL)
        failure_groups.note(group_id=group.pk, by=EVIL, text=f"{EVIL}\n</textarea>")
        for path in (GROUPS, page_of(group), ACTIONS, f"{ACTIONS}{OperatorAction.objects.latest('pk').pk}/change/"):
            page = text(client, path)
            assert EVIL not in page
            assert "&lt;script&gt;" in page

    def test_one_that_is_not_there_is_not_found(self, client: Client) -> None:
        assert client.get(f"{GROUPS}1/take/").status_code == 404
        assert client.get(f"{GROUPS}no-number/change/").status_code == 404


class TestDeciding:
    def test_take_resolve_and_open_again(self, client: Client) -> None:
        group = group_of(stored())
        assert "You look at it now." in decide(client, group, "take", seen="open:", reason="mine")
        page = decide(client, group, "resolve", seen="taken:anna")
        assert "Resolved by anna" in page
        assert "Nobody looks at it yet" in decide(client, group, "reopen", seen="resolved:anna")
        done = OperatorAction.objects.order_by("id").values_list("action", "by", "reason")
        assert list(done) == [("take", "anna", "mine"), ("resolve", "anna", ""), ("reopen", "anna", "")]

    def test_the_second_of_two_is_told_what_the_first_did(self, client: Client) -> None:
        group = group_of(stored())
        failure_groups.take(group_id=group.pk, by="bert")
        page = decide(client, group, "resolve", seen="open:")
        assert "bert has begun to look at it" in page
        assert "Nothing was changed" in page
        group.refresh_from_db()
        assert (group.state, group.owner) == ("taken", "bert")

    def test_the_form_says_what_was_seen(self, client: Client) -> None:
        group = group_of(stored())
        failure_groups.take(group_id=group.pk, by="bert")
        assert 'name="expected" value="taken:bert"' in text(client, page_of(group))

    def test_enter_in_the_reason_presses_no_button(self, client: Client) -> None:
        form = text(client, page_of(group_of(stored()))).partition('name="expected"')[0].rpartition("<form")[2]
        # A browser submits nothing when the first button of the form is disabled.
        assert re.findall(r"<button[^>]*>", form) == ['<button type="submit" disabled hidden>']

    def test_without_what_was_seen_nothing_is_done(self, client: Client) -> None:
        group = group_of(stored())
        client.post(f"{GROUPS}{group.pk}/resolve/")
        group.refresh_from_db()
        assert group.state == "open"

    def test_a_note_is_kept(self, client: Client) -> None:
        group = group_of(stored())
        decide(client, group, "note", seen="", note="ask the warehouse\r\nfirst\x00")
        group.refresh_from_db()
        assert group.note == "ask the warehouse\nfirst"
        assert "ask the warehouse" in text(client, page_of(group))

    def test_a_note_that_another_has_changed_is_shown_beside_what_was_typed(self, client: Client) -> None:
        group = group_of(stored())
        failure_groups.note(group_id=group.pk, by="bert", text="of bert")
        page = decide(client, group, "note", seen="", note="of anna")
        assert "bert has changed the note" in page
        assert "<p>of bert</p>" in page
        assert ">of anna</textarea>" in page
        decide(client, group, "note", seen="of bert", note="of both")
        group.refresh_from_db()
        assert group.note == "of both"

    @pytest.mark.parametrize("verb", ["take", "resolve", "reopen", "note"])
    def test_looking_changes_nothing(self, client: Client, verb: str) -> None:
        group = group_of(stored())
        before = FailureGroup.objects.values().get()
        assert client.get(f"{GROUPS}{group.pk}/{verb}/").status_code == 302
        assert FailureGroup.objects.values().get() == before

    @pytest.mark.parametrize("verb", ["take", "resolve", "reopen", "note"])
    def test_it_needs_a_permission_of_its_own(self, verb: str) -> None:
        group = group_of(stored())
        before = FailureGroup.objects.values().get()
        viewer = staff_with("view_failuregroup")
        page = text(viewer, page_of(group))
        assert "<button" not in page[page.index("desk-stack") :].partition("</main>")[0]
        data = {"expected": "" if verb == "note" else "open:", "note": "x"}
        assert viewer.post(f"{GROUPS}{group.pk}/{verb}/", data).status_code == 403
        assert staff_with("change_deadletter").post(f"{GROUPS}{group.pk}/{verb}/", data).status_code == 403
        assert FailureGroup.objects.values().get() == before
        may = staff_with("view_failuregroup", "change_failuregroup")
        assert may.post(f"{GROUPS}{group.pk}/{verb}/", data).status_code == 302

    def test_a_form_of_another_site_changes_nothing(self, client: Client) -> None:
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(User.objects.get())
        group = group_of(stored())
        assert strict.post(f"{GROUPS}{group.pk}/take/", {"expected": "open:"}).status_code == 403

    def test_dead_letters_are_shown_only_to_who_may_see_them(self) -> None:
        row = stored(traceback="Traceback: line 7", subject="order-7")
        page = text(staff_with("view_failuregroup"), page_of(group_of(row)))
        assert "line 7" not in page
        assert "order-7" not in page


class TestActions:
    def test_it_lists_what_was_done_with_links(self, client: Client) -> None:
        row = stored(subject="order-7")
        failure_groups.take(group_id=group_of(row).pk, by="bert", reason="mine")
        OperatorAction.objects.create(
            by="carl", action="edit", dead_letter_id=row.pk, message_id=row.message_id, subject="order-7",
            detail={"diff": ["-a", "+b"]},
        )  # fmt: skip
        page = text(client, ACTIONS)
        assert page_of(group_of(row)) in page
        assert f"/admin/messaging/deadletter/{row.pk}/change/" in page
        for term in ("order-7", row.message_id):
            found = text(client, f"{ACTIONS}?q={term}")
            assert "carl" in found
            assert "mine" not in found
        assert "Nothing matches" in text(client, f"{ACTIONS}?q=order")
        assert "-a\n+b" in text(client, f"{ACTIONS}{OperatorAction.objects.get(by='carl').pk}/change/")

    def test_it_filters_by_action_and_person(self, client: Client) -> None:
        for by, action in (("anna", "edit"), ("bert", "discard")):
            OperatorAction.objects.create(by=by, action=action, message_id=uuid4(), subject=f"of-{by}")
        for query in ("action=edit", "by=anna"):
            page = text(client, f"{ACTIONS}?{query}")
            assert "of-anna" in page
            assert "of-bert" not in page

    def test_an_empty_list_says_what_it_means(self, client: Client) -> None:
        assert "Nobody has done anything yet" in text(client, ACTIONS)

    def test_nobody_can_change_it(self, client: Client) -> None:
        row = OperatorAction.objects.create(by="bert", action="discard")
        before: Any = OperatorAction.objects.values().get()
        client.post(f"{ACTIONS}{row.pk}/change/", {"by": "anna"})
        client.post(f"{ACTIONS}{row.pk}/delete/", {"post": "yes"})
        assert OperatorAction.objects.values().get() == before
