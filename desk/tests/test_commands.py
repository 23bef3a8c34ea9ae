"""What a command says when its database is away, and what it does when nobody reads its output."""

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def no_database(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", 1)
    yield
    connection.close()


@pytest.mark.parametrize(
    "command",
    [
        ("dead_letters", "list"),
        ("dead_letters", "replay", "--all", "--yes"),
        ("failure_groups", "list"),
        ("replays", "list"),
        ("purge",),
        ("reconcile", "--json"),
    ],
    ids=" ".join,
)
def test_without_a_database_a_command_ends_with_a_sentence(no_database: None, command: tuple[str, ...]) -> None:
    with pytest.raises(CommandError) as caught:
        call_command(*command)

    assert str(caught.value).startswith("This service's database cannot be asked: ")
    assert "\n" not in str(caught.value)
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    "command",
    [
        ("dead_letters", "list"),
        ("dead_letters", "discard", "--all", "--yes"),
        ("failure_groups", "list"),
        ("replays", "list"),
        ("purge",),
        ("reconcile",),
    ],
    ids=" ".join,
)
def test_a_command_that_is_stopped_ends_with_a_sentence(command: tuple[str, ...]) -> None:
    def press_ctrl_c(execute: Any, *query: Any) -> Any:
        signal.raise_signal(signal.SIGINT)
        return execute(*query)

    with connection.execute_wrapper(press_ctrl_c), pytest.raises(CommandError) as caught:
        call_command(*command)

    assert str(caught.value) == "Stopped. What was done until then is kept."
    assert caught.value.returncode == 130


def test_the_overview_shows_that_it_could_not_ask(no_database: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        call_command("overview")

    assert caught.value.code == 1
    assert "The database did not answer all that was asked" in capsys.readouterr().out


@pytest.mark.parametrize("command", [("dead_letters", "list"), ("overview",), ("topology", "show")], ids=" ".join)
def test_a_command_that_nobody_reads_any_more_ends_without_a_traceback(
    command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as broken:
        monkeypatch.setattr(sys, "stdout", broken)
        with pytest.raises(SystemExit) as caught:
            call_command(*command)

    assert caught.value.code == 1
