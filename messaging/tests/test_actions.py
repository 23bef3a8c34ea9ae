from typing import Any

import pytest
from django.db import transaction

from messaging import actions, dead_letters
from messaging.models import DeadLetter, OperatorAction, Replay
from messaging.tests.letters import stored

pytestmark = pytest.mark.django_db(transaction=True)


def test_it_writes_one_row_for_each_dead_letter_and_one_statement(django_assert_num_queries: Any) -> None:
    letters = [stored() for _ in range(3)]
    with transaction.atomic(), django_assert_num_queries(1):
        actions.record(action="replay", by="anna", reason="repaired", dead_letters=letters, detail={"canary": True})
    rows = OperatorAction.objects.order_by("id")
    assert [(row.dead_letter_id, row.message_id) for row in rows] == [(row.pk, row.message_id) for row in letters]
    assert {(row.action, row.by, row.reason, row.detail["canary"]) for row in rows} == {
        ("replay", "anna", "repaired", True)
    }


def test_it_writes_one_row_for_a_replay() -> None:
    replay = Replay.objects.create(created_by="anna", total=1)
    with transaction.atomic():
        actions.record(action="pause", by="anna", replay=replay)
    row = OperatorAction.objects.get()
    assert (row.replay_id, row.dead_letter_id, row.group_id, row.detail) == (replay.pk, None, None, {})


def test_it_writes_nothing_about_nothing() -> None:
    with transaction.atomic():
        actions.record(action="replay", by="anna", dead_letters=[])
    assert not OperatorAction.objects.exists()


def test_it_refuses_to_work_outside_a_transaction() -> None:
    with pytest.raises(RuntimeError, match="transaction"):
        actions.record(action="discard", by="anna", dead_letters=[stored()])
    assert not OperatorAction.objects.exists()


def test_an_action_that_is_undone_leaves_no_trace() -> None:
    letter = stored()
    with transaction.atomic():
        actions.record(action="discard", by="anna", dead_letters=[letter])
        transaction.set_rollback(True)
    assert not OperatorAction.objects.exists()


@pytest.mark.parametrize("settle", [dead_letters.replay, dead_letters.discard])
def test_what_settles_dead_letters_records_each_whoever_calls_it(
    settle: Any, django_assert_max_num_queries: Any
) -> None:
    letters = [stored() for _ in range(20)]
    with django_assert_max_num_queries(10):
        assert settle(dead_letters=DeadLetter.objects.all(), by="anna\0", reason="repaired") == 20
    assert settle(dead_letters=DeadLetter.objects.all(), by="bert") == 0
    rows = OperatorAction.objects.order_by("dead_letter_id")
    assert [(row.dead_letter_id, row.message_id) for row in rows] == [(row.pk, row.message_id) for row in letters]
    assert {(row.action, row.by, row.reason) for row in rows} == {(settle.__name__, "anna?", "repaired")}


@pytest.mark.parametrize("settle", [dead_letters.replay, dead_letters.discard])
def test_what_is_not_settled_is_not_recorded(settle: Any) -> None:
    stored()

    def fail(chunk: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        settle(dead_letters=DeadLetter.objects.all(), by="anna", on_settled=fail)
    assert not OperatorAction.objects.exists()
    assert DeadLetter.objects.get().status == "waiting"
