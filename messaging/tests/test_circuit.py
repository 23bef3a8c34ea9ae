import logging

import pytest
from prometheus_client import REGISTRY

from messaging.circuit import Circuit
from messaging.stopping import Stop


def test_it_logs_one_line_for_each_change_of_state_however_many_attempts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="messaging.circuit")
    circuit = Circuit("database", Stop())
    circuit.worked()
    assert caplog.messages == []
    for _ in range(5):
        circuit.failed(OSError("refused"))
    assert circuit.is_open
    assert REGISTRY.get_sample_value("messaging_circuit_open", {"dependency": "database"}) == 1
    circuit.worked()
    assert REGISTRY.get_sample_value("messaging_circuit_open", {"dependency": "database"}) == 0
    circuit.worked()
    assert [circuit.is_open] == [False]
    assert caplog.messages == ["circuit open: the database is away", "circuit closed: the database is back"]
    assert caplog.records[0].__dict__["reason"] == "refused"


def test_it_says_once_why_it_stays_open_where_that_is_another_reason(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stop, "wait", lambda stop, seconds: False)
    circuit = Circuit("broker", Stop())
    for _ in range(2):
        for reason in ("hung up", *["refused"] * 30):
            circuit.failed(OSError(reason))
            circuit.pause()
        circuit.worked()
    for _ in range(30):
        circuit.failed(OSError("hung up"))
        circuit.pause()
    said = [record.__dict__["reason"] for record in caplog.records if record.levelno == logging.WARNING]
    assert said == ["hung up", "refused", "hung up", "refused", "hung up"]


def test_once_it_has_worked_the_pauses_begin_short_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Stop, "wait", lambda stop, seconds: pauses.append(seconds))
    circuit = Circuit("broker", Stop())
    for _ in range(10):
        circuit.failed(OSError("refused"))
        circuit.pause()
    circuit.worked()
    circuit.failed(OSError("refused"))
    circuit.pause()
    assert pauses[-1] < pauses[1] < pauses[-2]


def test_the_pauses_grow_to_a_longest_one_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(Stop, "wait", lambda stop, seconds: pauses.append(seconds))
    circuit = Circuit("broker", Stop())
    for _ in range(2_000):
        circuit.pause()
    assert pauses[0] <= 0.25
    assert 7.5 <= min(pauses[10:]) <= max(pauses) <= 15.0


def test_processes_that_fail_together_do_not_try_again_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: set[float] = set()
    monkeypatch.setattr(Stop, "wait", lambda stop, seconds: pauses.add(seconds))
    for _ in range(20):
        Circuit("broker", Stop()).pause()
    assert len(pauses) > 1
    assert 0.125 <= min(pauses) <= max(pauses) <= 0.25


def test_a_pause_ends_at_once_when_the_process_is_asked_to_stop() -> None:
    stop = Stop()
    circuit = Circuit("broker", stop)
    circuit.failed(OSError("refused"))
    assert circuit.pause()
    stop.request()
    assert not circuit.pause()
