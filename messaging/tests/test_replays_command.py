import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from messaging import dead_letters, replay_runner, replays
from messaging.management import replay_output
from messaging.models import DeadLetter, FailureGroup, InboxMessage, OperatorAction, OutboxMessage, Process, Replay
from messaging.tests.handlers import Recorder
from messaging.tests.letters import LATER, failed, stored

pytestmark = pytest.mark.django_db(transaction=True)


def run(command: str, *args: Any) -> str:
    out = StringIO()
    call_command(command, *map(str, args), stdout=out, stderr=StringIO())
    return out.getvalue()


def fails(command: str, *args: Any) -> tuple[str, CommandError]:
    out = StringIO()
    with pytest.raises(CommandError) as caught:
        call_command(command, *map(str, args), stdout=out, stderr=StringIO())
    return out.getvalue(), caught.value


def take_effect() -> None:
    for message in OutboxMessage.objects.all():
        InboxMessage.objects.get_or_create(message_id=message.message_id, type="t")
    OutboxMessage.objects.all().delete()


@pytest.fixture
def consumer(monkeypatch: pytest.MonkeyPatch) -> Any:
    """While the command waits, a consumer does what the test says with what was sent."""

    def consume(act: Any) -> None:
        def pause(seconds: float) -> None:
            Replay.objects.update(last_sent_at=None)
            replay_runner.advance()
            act()

        monkeypatch.setattr(replay_output, "sleep", pause)

    return consume


class TestCanary:
    def test_it_waits_until_all_took_effect(self, consumer: Any) -> None:
        consumer(take_effect)
        for _ in range(8):
            stored()
        out = run("dead_letters", "replay", "--all", "--yes", "--canary", "--reason", "repaired", "--by", "anna")
        replay = Replay.objects.get()
        assert (replay.canary, replay.rate, replay.reason, replay.created_by) == (True, 50, "repaired", "anna")
        assert "8 handled." in out
        assert [line.split() for line in out.splitlines() if line.startswith("handled")] == [["handled", "8"]]

    def test_it_ends_with_an_error_when_it_stopped(self, consumer: Any) -> None:
        def fail() -> None:
            for message in OutboxMessage.objects.all():
                letter = failed(
                    message_id=message.message_id,
                    body=bytes(message.body),
                    failed_at=LATER,
                    error_message="still broken",
                )
                dead_letters.store([letter])
            OutboxMessage.objects.all().delete()

        consumer(fail)
        rows = [stored(), stored()]
        out, error = fails("dead_letters", "replay", rows[0].pk, rows[1].pk, "--canary")
        assert error.returncode == 1
        assert "stopped by itself" in str(error)
        assert "still broken" in out
        assert "failed again" in out

    def test_json_is_one_object(self, consumer: Any) -> None:
        consumer(take_effect)
        row = stored()
        content = json.loads(run("dead_letters", "replay", row.pk, "--canary", "--rate", 7, "--json"))
        assert (content["state"], content["rate"], content["outcomes"]["handled"]) == ("finished", 7, 1)
        assert content["messages"][0]["dead_letter"] == row.pk

    def test_a_rate_alone_is_a_replay_without_a_canary(self, consumer: Any) -> None:
        consumer(take_effect)
        run("dead_letters", "replay", stored().pk, "--rate", 7)
        assert (Replay.objects.get().canary, Replay.objects.get().rate) == (False, 7)

    def test_it_need_not_be_waited_for(self) -> None:
        row = stored()
        out = run("dead_letters", "replay", row.pk, "--canary", "--no-wait")
        assert out == f"Replay {Replay.objects.get().pk} has begun.\n"
        assert DeadLetter.objects.get().status == "waiting"

    def test_what_is_being_replayed_is_said_to_be(self) -> None:
        row = stored()
        run("dead_letters", "replay", row.pk, "--canary", "--no-wait", "--by", "anna")
        _, error = fails("dead_letters", "replay", row.pk, "--canary", "--no-wait")
        assert "being replayed already" in str(error)
        assert Replay.objects.count() == 1

    def test_a_rate_that_is_none_is_refused(self) -> None:
        _, error = fails("dead_letters", "replay", stored().pk, "--rate", 0)
        assert "rate" in str(error)

    def test_ctrl_c_ends_the_waiting_and_not_the_replay(self, consumer: Any) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        consumer(interrupt)
        _, error = fails("dead_letters", "replay", stored().pk, "--canary")
        assert error.returncode == 130
        assert Replay.objects.get().state == "running"

    def test_all_of_a_group_are_replayed(self) -> None:
        stored(error_type="Other")
        row = stored()
        run("dead_letters", "replay", "--all", "--group", row.group_id, "--yes", "--canary", "--no-wait")
        assert [message.dead_letter_id for message in Replay.objects.get().messages.all()] == [row.pk]


class TestDryRun:
    def test_it_says_what_would_happen_and_changes_nothing(self, recorder: Recorder) -> None:
        good, bad = stored(), stored(body=b"[1]")
        out, error = fails("dead_letters", "dry-run", "--all")
        assert error.returncode == 1
        assert "1 of 2 would fail" in str(error)
        first, second = out.splitlines()[1:]
        assert first.split()[0] == str(good.pk)
        assert "would pass" in first
        assert second.split()[0] == str(bad.pk)
        assert "not an object" in second
        assert DeadLetter.objects.filter(status="waiting").count() == 2
        assert not OutboxMessage.objects.exists()
        assert not InboxMessage.objects.exists()

    def test_all_that_would_pass_is_no_error(self, recorder: Recorder) -> None:
        assert "would pass" in run("dead_letters", "dry-run", stored().pk)

    def test_json_is_one_object_a_line(self, recorder: Recorder) -> None:
        rows = [stored(), stored()]
        lines = [json.loads(line) for line in run("dead_letters", "dry-run", "--all", "--json").splitlines()]
        assert [(line["id"], line["outcome"]) for line in lines] == [(row.pk, "would pass") for row in rows]

    def test_it_must_be_said_which(self) -> None:
        _, error = fails("dead_letters", "dry-run")
        assert error.returncode == 2


class TestEdit:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "body.json"
        path.write_bytes(b'{"number": 7}')
        return path

    def test_it_shows_the_difference_and_sends_it(self, file: Path) -> None:
        row = stored()
        out = run("dead_letters", "edit", row.pk, "--file", file, "--reason", "a digit", "--by", "anna", "--yes")
        assert '-  "number": 1' in out.splitlines()
        assert '+  "number": 7' in out.splitlines()
        assert bytes(OutboxMessage.objects.get().body) == b'{"number": 7}'
        row.refresh_from_db()
        assert (row.status, row.settled_by) == ("superseded", "anna")
        assert OperatorAction.objects.get().reason == "a digit"

    def test_it_is_not_done_unasked(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        row = stored()
        monkeypatch.setattr("sys.stdin", StringIO())
        _, error = fails("dead_letters", "edit", row.pk, "--file", file, "--reason", "a digit")
        assert "add --yes" in str(error)
        assert not OutboxMessage.objects.exists()

    def test_what_may_not_be_sent_is_refused(self, file: Path, tmp_path: Path) -> None:
        row = stored()
        file.write_bytes(b"[1]")
        for args, part, code in (
            ([row.pk, "--file", file, "--reason", "r"], "not an object", 1),
            ([row.pk, "--file", file], "Say why", 2),
            ([row.pk, "--file", tmp_path / "none", "--reason", "r"], "cannot be read", 2),
            ([4711, "--file", file, "--reason", "r"], "no dead letter 4711", 1),
        ):
            _, error = fails("dead_letters", "edit", *args, "--yes")
            assert part in str(error)
            assert error.returncode == code
        assert not OutboxMessage.objects.exists()


def test_what_is_replayed_or_discarded_at_once_is_written_down_too() -> None:
    first, second = stored(), stored()
    run("dead_letters", "replay", first.pk, "--by", "anna", "--reason", "repaired")
    run("dead_letters", "discard", second.pk, "--by", "bert", "--reason", "a test")
    actions = OperatorAction.objects.order_by("id").values_list("action", "by", "reason", "dead_letter_id")
    assert list(actions) == [("replay", "anna", "repaired", first.pk), ("discard", "bert", "a test", second.pk)]


class TestReplays:
    def test_the_list_shows_the_newest_first(self) -> None:
        assert run("replays", "list") == "Nothing has been replayed yet.\n"
        for _ in range(2):
            stored()
            replays.start(dead_letters=DeadLetter.objects.all(), by="anna", reason="repaired")
        first, second = Replay.objects.order_by("-pk")
        header, *lines = run("replays", "list").splitlines()
        assert header.split()[:3] == ["ID", "STATE", "MESSAGES"]
        assert [line.split()[:2] for line in lines] == [[str(first.pk), "running"], [str(second.pk), "running"]]
        assert len(run("replays", "list", "--limit", 1).splitlines()) == 2
        assert run("replays", "list", "--state", "paused") == "No such replay.\n"
        assert [json.loads(line)["id"] for line in run("replays", "list", "--json").splitlines()] == [
            first.pk,
            second.pk,
        ]

    def test_the_list_counts_what_became_of_the_messages(self) -> None:
        for _ in range(2):
            stored()
        replay = replays.start(dead_letters=DeadLetter.objects.all(), by="anna")
        Replay.objects.update(state="stopped", state_reason="The same failure came back.")
        replay.messages.filter(position=0).update(outcome="failed")
        assert "1 failed again, 1 not sent. The same failure came back." in run("replays", "list")
        assert json.loads(run("replays", "list", "--json"))["outcomes"]["failed"] == 1

    def test_one_is_shown_with_its_messages(self) -> None:
        row = stored(body=b'{"thing": "a1"}')
        replay = replays.start(dead_letters=DeadLetter.objects.all(), by="anna", reason="repaired")
        out = run("replays", "show", replay.pk)
        for part in ("Running", "by anna", "repaired", "not sent yet", str(row.pk)):
            assert part in out
        assert json.loads(run("replays", "show", replay.pk, "--json"))["messages"][0]["outcome"] == "waiting"

    def test_escape_sequences_do_not_reach_the_terminal(self) -> None:
        stored()
        replay = replays.start(dead_letters=DeadLetter.objects.all(), by="\x1b[2J", reason="\x1b[2J")
        replay.messages.update(detail="\x1b[2J", subject="\x1b[2J")
        Replay.objects.update(state_reason="\x1b[2J")
        assert "\x1b" not in run("replays", "show", replay.pk) + run("replays", "list")

    def test_they_can_be_held(self) -> None:
        stored()
        replay = replays.start(dead_letters=DeadLetter.objects.all(), by="anna")
        for verb, done, state in (
            ("pause", "paused", "paused"), ("resume", "resumed", "running"), ("cancel", "cancelled", "cancelled"),
        ):  # fmt: skip
            out = run("replays", verb, replay.pk, "--by", "bert", "--reason", "because")
            assert out == f"Replay {replay.pk} {done}.\n"
            replay.refresh_from_db()
            assert replay.state == state
        _, error = fails("replays", "pause", replay.pk)
        assert "was left alone" in str(error)
        assert OperatorAction.objects.filter(by="bert", reason="because").count() == 3

    def test_one_that_is_not_there_is_named(self) -> None:
        for what in ("show", "pause"):
            _, error = fails("replays", what, 4711)
            assert str(error) == "There is no replay 4711."

    def test_one_can_be_waited_for(self, consumer: Any) -> None:
        consumer(take_effect)
        stored()
        replay = replays.start(dead_letters=DeadLetter.objects.all(), by="anna")
        assert "Finished" in run("replays", "show", replay.pk, "--watch")

    def test_it_says_when_nobody_carries_it_on(self, consumer: Any) -> None:
        consumer(take_effect)
        Process.objects.create(name="relay a:1", role="relay")
        stored()
        replay = replays.start(dead_letters=DeadLetter.objects.all(), by="anna")
        err = StringIO()
        call_command("replays", "show", str(replay.pk), "--watch", stdout=StringIO(), stderr=err)
        assert "No consume was seen within 60 seconds" in err.getvalue()
        assert "No relay" not in err.getvalue()


def test_a_group_can_be_listed() -> None:
    stored(error_type="Other")
    row = stored()
    group = FailureGroup.objects.get(error_type="InvalidMessageError")
    lines = run("dead_letters", "list", "--group", group.pk).splitlines()
    assert [line.split()[0] for line in lines] == ["ID", str(row.pk)]
    assert json.loads(run("dead_letters", "show", row.pk, "--json"))["group"] == group.pk
