import pytest

from messaging.batching import Pacer


class Process:
    """A process that takes batches by a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("messaging.batching.time.monotonic", lambda: self.now)
        self.pacer = Pacer()

    def batch(self, messages: int, seconds: float, *, waits: float = 0.0, others: int = 0) -> float:
        """Waits so long, takes a batch, rests, and returns how long it has rested."""
        self.now += waits + seconds
        rest = self.pacer.rest_after(messages, seconds, others=others)
        self.now += rest
        return rest


@pytest.fixture
def process(monkeypatch):
    return Process(monkeypatch)


def test_nobody_waits_while_it_is_quiet(process):
    assert all(process.batch(5, 0.004, waits=0.016) == 0 for _ in range(500))


def test_one_message_is_followed_by_no_rest(process):
    assert all(process.batch(1, 0.01) == 0 for _ in range(500))


def test_who_finds_work_whenever_he_looks_rests_until_he_finds_none(process):
    rests = [process.batch(5, 0.01) for _ in range(500)]
    assert rests[0] == 0
    assert set(rests[100:]) == {0.025}
    assert process.batch(5, 0.01, waits=0.6) == 0


def test_a_rest_is_no_time_in_which_there_was_nothing_to_do(process):
    assert {process.batch(100, 0.01) for _ in range(100)} == {0, 0.05}
    assert {process.batch(100, 0.01) for _ in range(500)} == {0.05}


def test_after_hours_of_silence_who_finds_work_whenever_he_looks_soon_rests_again(process):
    for waits in [0.0] * 100 + [36000.0] + [0.0] * 100:
        process.batch(5, 0.01, waits=waits)
    assert {process.batch(5, 0.01) for _ in range(100)} == {0.025}


def test_after_a_backlog_taken_without_any_rest_nobody_waits_as_soon_as_it_is_quiet(process):
    for _ in range(2000):
        process.now += 0.05
        process.pacer.rest_after(500, 0.05, others=0)
    for _ in range(100):
        process.batch(5, 0.004, waits=0.016)
    assert process.batch(5, 0.004, waits=0.016) == 0


def test_a_rest_grows_with_what_was_found_and_with_how_long_it_took_up_to_a_tenth_of_a_second(process):
    for _ in range(500):
        process.batch(5, 0.01)
    rests = [process.batch(*batch) for batch in ((2, 0.01), (5, 0.01), (15, 0.01), (15, 0.015), (200, 10.0))]
    assert rests == sorted(set(rests))
    assert rests[0] > 0
    assert rests[-1] == 0.1


def test_with_others_beside_it_each_rests_as_many_times_longer(process):
    for _ in range(500):
        process.batch(5, 0.01)
    assert process.batch(5, 0.01, others=2) == 3 * process.batch(5, 0.01)
    assert process.batch(200, 10.0, others=99) == 0.2


def test_together_they_are_busy_when_none_is_alone(process):
    alone = [process.batch(5, 0.01, waits=0.05) for _ in range(500)]
    assert set(alone) == {0}
    assert process.batch(5, 0.01, waits=0.05, others=2) > 0
