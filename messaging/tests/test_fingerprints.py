import importlib
import json
import uuid
from typing import Any

import pytest

from messaging import conf, dead_letters, envelope
from messaging.envelope import Delivery
from messaging.errors import InvalidMessageError
from messaging.fingerprints import fingerprint_of, place_of
from messaging.models import DeadLetter
from messaging.tests.handlers import HANDLERS
from messaging.tests.test_envelope import delivery

SEVERAL = HANDLERS | {"thing.ended": HANDLERS["thing.happened"]}


def raised_by(function: Any) -> BaseException:
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("it did not raise")


def divide() -> None:
    _ = 1 / 0


class TestPlace:
    def test_it_is_where_our_code_raised_it(self) -> None:
        assert place_of(raised_by(divide)) == f"{__name__}.divide"

    def test_it_is_where_ours_called_the_library_that_raised_it(self) -> None:
        def parse() -> None:
            json.loads("{")

        assert place_of(raised_by(parse)) == f"{__name__}.TestPlace.{self._name('library_that_raised_it')}.parse"

    def _name(self, end: str) -> str:
        [name] = [name for name in dir(type(self)) if name.endswith(end)]
        return name

    def test_it_is_where_ours_imported_what_is_not_there(self) -> None:
        def import_it() -> None:
            importlib.import_module("messaging.no_such_module")

        assert place_of(raised_by(import_it)).endswith(".import_it")

    def test_an_installed_package_is_not_ours(self) -> None:
        def ask() -> None:
            DeadLetter.objects.filter(**{"nothing": 1})

        assert place_of(raised_by(ask)).endswith(".ask")

    def test_it_has_no_line_numbers(self) -> None:
        def first() -> None:
            raise ValueError("a")

        def both(number: int) -> None:
            if number:
                raise ValueError("one")
            raise ValueError("the other")

        assert (
            place_of(raised_by(lambda: both(0))) == place_of(raised_by(lambda: both(1))) != place_of(raised_by(first))
        )

    def test_an_error_raised_because_of_another_has_its_own_place(self) -> None:
        error = raised_by(lambda: envelope.read(delivery(b"{", type="thing.happened"), HANDLERS))
        assert isinstance(error, InvalidMessageError)
        assert error.__cause__ is not None
        assert place_of(error) == "messaging.envelope.read"

    def test_an_error_without_a_traceback_has_the_place_of_its_cause(self) -> None:
        error = ValueError("made elsewhere")
        error.__cause__ = raised_by(divide)
        assert place_of(error) == f"{__name__}.divide"

    def test_an_error_that_is_its_own_cause_does_no_harm(self) -> None:
        error = ValueError("round")
        error.__cause__ = error
        assert place_of(error) == ""


class TestFingerprint:
    def test_it_is_the_same_for_the_same(self) -> None:
        assert fingerprint_of("E", "a.b", "thing.happened") == fingerprint_of("E", "a.b", "thing.happened")

    @pytest.mark.parametrize("other", [("F", "a.b", "thing.happened"), ("E", "a.c", "thing.happened")])
    def test_another_error_or_place_is_another(self, other: tuple[str, str, str]) -> None:
        assert fingerprint_of(*other) != fingerprint_of("E", "a.b", "thing.happened")

    def test_all_unknown_types_are_one(self) -> None:
        unknown = {fingerprint_of("E", "a.b", str(uuid.uuid4())) for _ in range(5)}
        assert len(unknown) == 1
        assert fingerprint_of("E", "a.b", "thing.happened") not in unknown

    def test_no_type_is_the_only_one_that_the_service_takes(self) -> None:
        assert fingerprint_of("E", "", "") == fingerprint_of("E", "", "thing.happened")

    def test_no_type_is_unknown_where_the_service_takes_several(self, settings: Any) -> None:
        settings.MESSAGING = settings.MESSAGING | {"HANDLERS": f"{__name__}.SEVERAL"}
        assert fingerprint_of("E", "", "") == fingerprint_of("E", "", "unknown")


class TestTravelling:
    """The place and the release reach the dead letters, and do not go with the message when it is sent again."""

    def there_and_kept(self, error: BaseException, **headers: Any) -> tuple[Any, dead_letters.FailedMessage]:
        config = conf.config()
        dead = envelope.dead_letter(delivery(b'{"thing": "t-1"}', headers=headers), error, config)
        arrived = Delivery(1, False, dead.routing_key, dead.properties, dead.body)
        return dead.properties.headers, envelope.failed(arrived, config)

    def test_they_are_kept(self, settings: Any) -> None:
        settings.MESSAGING = settings.MESSAGING | {"RELEASE": "2.1"}
        _, kept = self.there_and_kept(raised_by(divide))
        assert (kept.place, kept.release, kept.subject) == (f"{__name__}.divide", "2.1", "t-1")
        assert kept.headers == {}

    def test_a_sender_cannot_set_them(self) -> None:
        headers, kept = self.there_and_kept(raised_by(divide), **{"x-error-place": "a.b", "x-release": "forged"})
        assert (headers["x-error-place"], headers["x-release"]) == (f"{__name__}.divide", "")
        assert (kept.place, kept.release) == (f"{__name__}.divide", "")

    def test_what_the_broker_has_dead_lettered_says_nothing_of_an_earlier_error(self) -> None:
        headers = {"x-death": [{"reason": "delivery_limit"}], "x-error-type": "Forged", "x-error-place": "a.b"}
        kept = envelope.failed(delivery(headers=headers), conf.config())
        assert (kept.error_type, kept.place) == ("DeliveryLimitExceeded", "")

    def test_a_subject_of_an_unknown_type_is_not_read(self) -> None:
        assert envelope.failed(delivery(b'{"thing": "t-1"}', type="else"), conf.config()).subject == ""
