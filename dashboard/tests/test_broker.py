"""Asking the broker without waiting for it."""

import threading
import time

import pytest

from dashboard import broker
from dashboard.broker import Asker, Depths
from messaging import topology_diff
from messaging.amqp import open_blocking
from messaging.conf import config
from messaging.depth import QueueDepth
from messaging.errors import BrokerUnavailableError

DEPTHS = [QueueDepth("things.events.v1", 3, 1)]


def depths() -> Asker[Depths]:
    """An asker like the page's own, with no answer so far."""
    return Asker(broker._depths, otherwise=Depths(error="has not answered"), max_age=5.0)


@pytest.fixture
def asked(monkeypatch):
    """One item for each time that the broker was asked; it answers at once."""
    calls = []

    def queue_depths(config, *, timeout):
        calls.append(timeout)
        return DEPTHS

    monkeypatch.setattr(broker, "queue_depths", queue_depths)
    return calls


def test_it_says_what_the_broker_says(asked):
    assert depths().answer() == Depths(queues=tuple(DEPTHS))


def test_within_five_seconds_nobody_asks_again(asked):
    asker = depths()

    answers = {asker.answer() for _ in range(5)}

    assert len(answers) == 1
    assert len(asked) == 1


def test_an_old_answer_is_asked_for_again(asked, monkeypatch):
    asker = depths()
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

    monkeypatch.setattr(broker, "queue_depths", queue_depths)
    asker = depths()

    assert asker.answer().error == "RabbitMQ cannot be reached: Connection refused"
    assert asker.answer().queues == ()
    assert len(calls) == 1


def test_a_broker_that_hangs_holds_nobody_and_is_asked_by_one_thread_only(monkeypatch):
    calls, go_on = [], threading.Event()

    def queue_depths(config, *, timeout):
        calls.append(timeout)
        go_on.wait(30)
        return DEPTHS

    monkeypatch.setattr(broker, "queue_depths", queue_depths)
    monkeypatch.setattr(broker, "PATIENCE", 0.05)
    asker = depths()

    assert "has not answered" in asker.answer().error
    assert "has not answered" in asker.answer().error
    assert len(calls) == 1

    go_on.set()
    monkeypatch.setattr(broker, "PATIENCE", 30)
    assert asker.answer().queues == tuple(DEPTHS)
    assert len(calls) == 1


def test_an_exchange_that_sends_elsewhere_what_no_queue_takes_is_a_danger(settings):
    settings.MESSAGING = settings.MESSAGING | {"EXCHANGE": "endangered"}
    with open_blocking(config(), name="test") as connection:
        channel = connection.channel()
        channel.exchange_declare("endangered", "topic", durable=True, arguments={"alternate-exchange": "elsewhere"})

        dangers = broker._dangers()

        channel.exchange_delete("endangered")
    assert [danger.text for danger in dangers] == [
        "exchange 'endangered': alternate-exchange is elsewhere, wanted is not set"
    ]


def test_what_is_only_missing_is_no_danger(settings):
    settings.MESSAGING = settings.MESSAGING | {"QUEUE": "of.nobody.v1"}

    assert any("is missing" in difference.text for difference in topology_diff.compare(config()).differences)
    assert broker._dangers() == ()


@pytest.mark.parametrize("url", ["", "http://127.0.0.1:1/", "no URL"])
def test_without_the_management_api_no_danger_is_known(settings, url):
    settings.MESSAGING = settings.MESSAGING | {"MANAGEMENT_URL": url}

    assert broker._dangers() == ()
