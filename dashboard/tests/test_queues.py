"""Asking the broker without waiting for it."""

import threading
import time

import pytest

from dashboard import queues
from dashboard.queues import Asker
from messaging.depth import QueueDepth
from messaging.errors import BrokerUnavailableError

DEPTHS = [QueueDepth("things.events.v1", 3, 1)]


@pytest.fixture
def asked(monkeypatch):
    """How often the broker was asked; it answers at once."""
    calls = []

    def queue_depths(config, *, timeout):
        calls.append(timeout)
        return DEPTHS

    monkeypatch.setattr(queues, "queue_depths", queue_depths)
    return calls


def test_it_says_what_the_broker_says(asked):
    assert Asker().answer() == queues.Answer(queues=tuple(DEPTHS))


def test_within_five_seconds_nobody_asks_again(asked):
    asker = Asker()

    answers = {asker.answer() for _ in range(5)}

    assert len(answers) == 1
    assert len(asked) == 1


def test_an_old_answer_is_asked_for_again(asked, monkeypatch):
    asker = Asker()
    asker.answer()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 6)

    asker.answer()

    assert len(asked) == 2


def test_a_broker_that_is_away_is_an_answer_and_is_asked_no_more_often(monkeypatch):
    calls = []

    def queue_depths(config, *, timeout):
        calls.append(timeout)
        raise BrokerUnavailableError("RabbitMQ cannot be reached: Connection refused")

    monkeypatch.setattr(queues, "queue_depths", queue_depths)
    asker = Asker()

    assert asker.answer().error == "RabbitMQ cannot be reached: Connection refused"
    assert asker.answer().queues == ()
    assert len(calls) == 1


def test_a_broker_that_hangs_holds_nobody_and_is_asked_by_one_thread_only(monkeypatch):
    calls, go_on = [], threading.Event()

    def queue_depths(config, *, timeout):
        calls.append(timeout)
        go_on.wait(30)
        return DEPTHS

    monkeypatch.setattr(queues, "queue_depths", queue_depths)
    monkeypatch.setattr(queues, "PATIENCE", 0.05)
    asker = Asker()

    assert "has not answered" in asker.answer().error
    assert "has not answered" in asker.answer().error
    assert len(calls) == 1

    go_on.set()
    monkeypatch.setattr(queues, "PATIENCE", 30)
    assert asker.answer().queues == tuple(DEPTHS)
    assert len(calls) == 1
