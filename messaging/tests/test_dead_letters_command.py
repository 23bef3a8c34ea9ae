import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from messaging.models import DeadLetter, OutboxMessage
from messaging.tests.letters import LATER, stored

pytestmark = pytest.mark.django_db(transaction=True)


def run(*args: Any) -> str:
    out = StringIO()
    call_command("dead_letters", *map(str, args), stdout=out)
    return out.getvalue()


class TestList:
    def test_it_shows_what_waits_newest_first(self) -> None:
        old = stored(error_message="number\nis missing", body=b"1")
        new = stored(failed_at=LATER, type="", body=b"2")
        settled = stored(body=b"3")
        run("discard", settled.pk)
        header, first, second = run("list").splitlines()
        assert "LAST FAILURE (UTC)" in header
        assert header.split()[:3] == ["ID", "STATUS", "TYPE"]
        assert first.split()[:3] == [str(new.pk), "waiting", "untyped"]
        assert second.split()[:3] == [str(old.pk), "waiting", "thing.happened"]
        assert second.endswith("InvalidMessageError: number is missing")

    def test_an_empty_list_says_so(self) -> None:
        assert run("list") == "No dead letter waits.\n"
        assert run("list", "--status", "replayed") == "No such dead letter.\n"

    def test_a_filter_that_nothing_matches_does_not_hide_what_waits(self) -> None:
        rows = [stored(), stored()]
        for what in (["list"], ["dry-run", "--all"]):
            assert run(*what, "--type", "other") == "None matches; 2 dead letters wait.\n"
        run("discard", rows[0].pk)
        assert run("list", "--error", "Other") == "None matches; 1 dead letter waits.\n"
        run("discard", rows[1].pk)
        assert run("list", "--type", "other") == run("dry-run", "--all") == "No dead letter waits.\n"

    def test_it_filters(self) -> None:
        wanted = stored(type="a", error_type="E", queue="q")
        for other in ({"type": "b"}, {"type": "a", "error_type": "F"}, {"type": "a", "error_type": "E", "queue": "p"}):
            stored(**other)
        lines = run("list", "--type", "a", "--error", "E", "--queue", "q").splitlines()
        assert [line.split()[0] for line in lines] == ["ID", str(wanted.pk)]

    def test_it_says_when_there_are_more(self) -> None:
        for _ in range(3):
            stored()
        lines = run("list", "--limit", 2).splitlines()
        assert len(lines) == 4
        assert lines[-1].startswith("There are more than 2")
        assert len(run("list", "--limit", 3).splitlines()) == 4
        assert len(run("list", "--limit", 0).splitlines()) == 4

    def test_json_is_one_object_a_line(self) -> None:
        row = stored()
        stored()
        lines = [json.loads(line) for line in run("list", "--json").splitlines()]
        assert len(lines) == 2
        assert str(row.message_id) in {line["message_id"] for line in lines}
        assert lines[0]["status"] == "waiting"

    def test_a_list_of_all_comes_in_blocks_with_one_header(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("messaging.management.commands.dead_letters._BLOCK", 2)
        ids = [str(stored(failed_at=LATER - timedelta(hours=hour)).pk) for hour in range(5)]
        lines = run("list", "--limit", 0).splitlines()
        assert [line.split()[0] for line in lines] == ["ID", *ids]


class TestShow:
    def test_it_shows_everything(self) -> None:
        row = stored(headers={"tenant": "x"}, traceback="Traceback (most recent call last)")
        shown = run("show", row.pk)
        for part in (
            str(row.message_id),
            "request-1",
            "number is missing",
            "header tenant",
            '"number": 1',
            "Traceback (",
        ):
            assert part in shown

    def test_escape_sequences_do_not_reach_the_terminal(self) -> None:
        row = stored(body=b"\x1b[2J", error_message="\x1b]0;title\x07", traceback="\x1b[2J", headers={"\x1b": "\x1b"})
        assert "\x1b" not in run("show", row.pk) + run("list")

    def test_json_has_the_body_too(self) -> None:
        assert json.loads(run("show", stored().pk, "--json"))["body"] == '{"number": 1}'
        assert json.loads(run("show", stored(body=b"\xff").pk, "--json"))["body_base64"] == "/w=="

    def test_an_unknown_id_is_named(self) -> None:
        with pytest.raises(CommandError, match=r"no dead letter 4711") as caught:
            run("show", 4711)
        assert caught.value.returncode == 1


class TestReplayAndDiscard:
    def test_it_replays_those_named(self) -> None:
        chosen, other = stored(), stored()
        assert run("replay", chosen.pk, "--by", "anna") == "1 dead letter replayed.\n"
        assert OutboxMessage.objects.get().message_id == chosen.message_id
        assert DeadLetter.objects.get(settled_by="anna").pk == chosen.pk
        assert DeadLetter.objects.get(status="waiting").pk == other.pk

    def test_it_discards_those_named(self) -> None:
        chosen = stored()
        assert run("discard", chosen.pk, "--by", "anna") == "1 dead letter discarded.\n"
        assert DeadLetter.objects.get().status == "discarded"
        assert not OutboxMessage.objects.exists()

    def test_an_unknown_id_is_named_and_nothing_is_done(self) -> None:
        row = stored()
        with pytest.raises(CommandError, match=r"no dead letter 4711, 4712\. Nothing was replayed"):
            run("replay", row.pk, 4712, 4711)
        assert DeadLetter.objects.get().status == "waiting"
        assert not OutboxMessage.objects.exists()

    def test_what_is_settled_is_named_and_the_rest_is_done(self) -> None:
        settled, waiting = stored(), stored()
        run("discard", settled.pk, "--by", "anna")
        with pytest.raises(CommandError, match=f"Left alone: {settled.pk} was discarded by anna"):
            run("replay", settled.pk, waiting.pk)
        assert OutboxMessage.objects.get().message_id == waiting.message_id

    def test_all_are_those_the_filters_choose(self) -> None:
        for type_ in ("a", "a", "b"):
            stored(type=type_)
        assert run("replay", "--all", "--type", "a", "--yes") == "2 dead letters replayed.\n"
        assert DeadLetter.objects.get(status="waiting").type == "b"

    def test_all_of_none_is_fine(self) -> None:
        assert run("replay", "--all") == "0 dead letters replayed.\n"

    @pytest.mark.parametrize("stdin", ["", "y\n"])
    def test_all_is_not_done_unasked(self, stdin: str, monkeypatch: pytest.MonkeyPatch) -> None:
        stored()
        monkeypatch.setattr("sys.stdin", StringIO(stdin))
        with pytest.raises(CommandError, match=r"1 dead letters would be discarded: add --yes"):
            run("discard", "--all")
        assert DeadLetter.objects.get().status == "waiting"

    @pytest.mark.parametrize("args", [[], ["1", "--all"], ["1", "--type", "a"]])
    def test_it_must_be_said_which(self, args: list[str]) -> None:
        with pytest.raises(CommandError, match="Say which") as caught:
            run("replay", *args)
        assert caught.value.returncode == 2
