"""How the steps of the setting decide an order."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from contracts.events import MAX_ERROR_MESSAGE, OrderCreated, OrderProcessed
from messaging.errors import PermanentError, TransientError
from processing import pipeline
from processing.pipeline import BusinessRuleViolation, load_steps
from processing.tests.factories import make_order

seen: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    seen.clear()


def first(order: OrderCreated) -> None:
    seen.append("first")


def second(order: OrderCreated) -> None:
    seen.append("second")


def no_tobacco(order: OrderCreated) -> None:
    seen.append("no_tobacco")
    raise BusinessRuleViolation("We do not sell tobacco.")


def warehouse_is_away(order: OrderCreated) -> None:
    raise TransientError("The warehouse is away")


def never_works(order: OrderCreated) -> None:
    raise PermanentError("This cannot work")


def has_a_bug(order: OrderCreated) -> None:
    raise ZeroDivisionError


def has_no_words(order: OrderCreated) -> None:
    raise BusinessRuleViolation(" ")


def talks_too_much(order: OrderCreated) -> None:
    raise BusinessRuleViolation("No.\0 \ud800" + "x" * 5_000)


not_a_function = "a text"


def decide(order: OrderCreated) -> str:
    return pipeline.decide(order, pipeline.configured_steps())


def path_of(step: Any) -> str:
    return f"{__name__}.{step.__name__}"


def test_an_order_that_passes_all_steps_is_completed(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(first), path_of(second)]

    assert decide(make_order()) == ""
    assert seen == ["first", "second"]


def test_the_first_broken_rule_decides_and_the_steps_after_it_do_not_run(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(first), path_of(no_tobacco), path_of(second)]

    assert decide(make_order()) == "We do not sell tobacco."
    assert seen == ["first", "no_tobacco"]


@pytest.mark.parametrize(
    ("step", "error"),
    [(warehouse_is_away, TransientError), (never_works, PermanentError), (has_a_bug, ZeroDivisionError)],
)
def test_any_other_error_decides_nothing_and_is_passed_on(
    settings: Settings, step: Any, error: type[Exception]
) -> None:
    settings.PROCESSING_STEPS = [path_of(step), path_of(second)]

    with pytest.raises(error):
        decide(make_order())

    assert seen == []


def test_a_rule_without_words_is_named_instead(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(has_no_words)]

    assert decide(make_order()) == f"Refused by {path_of(has_no_words)}."


def test_a_reason_is_made_to_fit_the_database_and_the_wire(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(talks_too_much)]
    order = make_order()

    reason = decide(order)

    assert reason.startswith("No. ?xxx")
    assert len(reason) == MAX_ERROR_MESSAGE
    event = OrderProcessed(order_id=order.order_id, status="failed", error_message=reason)
    assert OrderProcessed.from_json(event.to_json()) == event


def test_a_changed_setting_takes_effect(settings: Settings) -> None:
    settings.PROCESSING_STEPS = [path_of(no_tobacco)]
    assert decide(make_order()) != ""

    settings.PROCESSING_STEPS = []
    assert decide(make_order()) == ""


def test_the_steps_are_imported_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PROCESSING_STEPS = [path_of(first), path_of(second)]
    decide(make_order())

    def must_not_import(path: str) -> None:
        raise AssertionError(f"{path} was imported again")

    monkeypatch.setattr(pipeline, "import_string", must_not_import)

    assert decide(make_order()) == ""


@pytest.mark.parametrize(
    "path", ["nowhere.at.all", "processing.steps.no_such_step", "nodots", "", f"{__name__}.not_a_function"]
)
def test_a_path_that_leads_to_no_function_is_named(path: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        load_steps((path,))

    assert f"PROCESSING_STEPS names {path!r}" in str(caught.value)


def test_the_shipped_steps_decide_by_default() -> None:
    assert decide(make_order()) == ""
    assert decide(make_order(items=[])) == "The order has no items."
