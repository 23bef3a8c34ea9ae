import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from messaging import dead_letters, failure_groups
from messaging.models import DeadLetter, FailureGroup, OperatorAction
from messaging.tests.letters import LATER, stored

pytestmark = pytest.mark.django_db


def run(*args: Any) -> str:
    out = StringIO()
    call_command("failure_groups", *map(str, args), stdout=out)
    return out.getvalue()


def group(**changes: Any) -> FailureGroup:
    found = stored(**changes).group
    assert found is not None
    return found


class TestList:
    def test_it_shows_what_is_not_resolved_newest_first(self) -> None:
        old = group(place="shop.stock.take", release="1.4")
        new = group(error_type="KeyError", failed_at=LATER)
        stored(error_type="KeyError", failed_at=LATER)
        run("take", new.pk, "--by", "anna")
        resolved = group(error_type="OSError")
        run("resolve", resolved.pk)
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(group=resolved), by="anna")
        header, first, second = run("list").splitlines()
        assert "LAST SEEN (UTC)  " in header
        assert header.split()[:4] == ["ID", "STATE", "WAITING", "SEEN"]
        assert first.split()[:6] == [str(new.pk), "taken", "by", "anna", "2", "2"]
        assert second.split()[:4] == [str(old.pk), "open", "1", "1"]
        assert "1.4" in second
        assert "InvalidMessageError in shop.stock.take: number is missing" in second

    def test_it_shows_the_type_that_its_newest_letter_has(self) -> None:
        stored(type="thing.happened")
        untyped = group(type="", failed_at=LATER)
        unknown = group(type="thing.exploded")
        first, second = run("list").splitlines()[1:]
        assert first.split()[0] == str(untyped.pk)
        assert " untyped " in first
        assert second.split()[0] == str(unknown.pk)
        assert " thing.exploded, not taken by this service " in second
        assert "untyped" in run("show", untyped.pk)
        assert "thing.exploded, not taken by this service" in run("show", unknown.pk)

    def test_it_shows_one_state_or_all(self) -> None:
        group()
        resolved = group(error_type="OSError")
        run("resolve", resolved.pk)
        assert [line.split()[0] for line in run("list", "--state", "resolved").splitlines()] == ["ID", str(resolved.pk)]
        assert len(run("list", "--state", "all").splitlines()) == 3

    def test_a_resolved_one_is_shown_until_none_of_its_dead_letters_waits(self) -> None:
        one = group()
        run("resolve", one.pk)
        assert [line.split()[0] for line in run("list").splitlines()] == ["ID", str(one.pk)]
        dead_letters.discard(dead_letters=DeadLetter.objects.all(), by="anna")
        assert run("list") == "No failure is open.\n"

    def test_an_empty_list_says_so(self) -> None:
        assert run("list") == "No failure is open.\n"
        assert run("list", "--state", "taken") == "No such failure group.\n"

    def test_it_says_when_there_are_more(self) -> None:
        for number in range(3):
            group(error_type=f"E{number}")
        lines = run("list", "--limit", 2).splitlines()
        assert len(lines) == 4
        assert lines[-1].startswith("There are more than 2")
        assert len(run("list", "--limit", 0).splitlines()) == 4

    def test_json_is_one_object_a_line(self) -> None:
        one = group()
        group(error_type="KeyError")
        dead_letters.discard(dead_letters=DeadLetter.objects.filter(group=one), by="anna")
        lines = [json.loads(line) for line in run("list", "--json").splitlines()]
        assert {line["id"]: line["waiting"] for line in lines} == {one.pk: 0, one.pk + 1: 1}


class TestShow:
    def test_it_shows_everything(self) -> None:
        one = group(place="shop.stock.take", traceback="Traceback: line 7")
        run("take", one.pk, "--by", "anna", "--reason", "mine")
        run("note", one.pk, "ask the warehouse", "--by", "anna")
        shown = run("show", one.pk)
        for part in ("being looked at by anna", "shop.stock.take", "ask the warehouse", "line 7", "take by anna mine"):
            assert part in shown

    def test_escape_sequences_do_not_reach_the_terminal(self) -> None:
        one = group(
            error_type="\x1b[2J", place="\x1b", error_message="\x1b]0;x\x07", traceback="\x1b[2J", release="\x1b"
        )
        failure_groups.take(group_id=one.pk, by="\x1b")
        failure_groups.note(group_id=one.pk, by="\x1b", text="\x1b")
        assert "\x1b" not in run("show", one.pk) + run("list")

    def test_json_has_what_was_done_too(self) -> None:
        one = group()
        run("take", one.pk, "--by", "anna")
        shown = json.loads(run("show", one.pk, "--json"))
        assert (shown["state"], shown["owner"], len(shown["last_24_hours"])) == ("taken", "anna", 24)
        assert [action["action"] for action in shown["actions"]] == ["take"]


class TestDeciding:
    def test_take_resolve_and_open_again(self) -> None:
        one = group()
        assert run("take", one.pk, "--by", "anna") == f"Failure group {one.pk} is being looked at by anna.\n"
        assert run("resolve", one.pk, "--by", "bert") == f"Failure group {one.pk} is resolved by bert.\n"
        assert run("reopen", one.pk, "--by", "bert", "--reason", "not yet") == f"Failure group {one.pk} is open.\n"
        done = OperatorAction.objects.order_by("id").values_list("action", "by", "reason")
        assert list(done) == [("take", "anna", ""), ("resolve", "bert", ""), ("reopen", "bert", "not yet")]

    def test_a_note_is_kept_and_removed(self) -> None:
        one = group()
        assert run("note", one.pk, "ask the warehouse") == f"The note of failure group {one.pk} is kept.\n"
        assert FailureGroup.objects.get().note == "ask the warehouse"
        run("note", one.pk, "")
        assert FailureGroup.objects.get().note == ""

    @pytest.mark.parametrize("command", [["show"], ["take"], ["resolve"], ["reopen"], ["note", "text"]])
    def test_one_that_is_not_there_is_said_to_be_so(self, command: list[str]) -> None:
        verb, *text = command
        with pytest.raises(CommandError, match="There is no failure group 7") as error:
            run(verb, 7, *text)
        assert error.value.returncode == 1
