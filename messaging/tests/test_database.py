from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messaging.database import array, execute_prepared

# PostgreSQL has no text with a NUL in it, and UTF-8 no half of a surrogate pair.
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
KINDS = {
    "text": TEXTS,
    "bytea": st.binary(),
    "uuid": st.uuids(),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12, places=2),
    "timestamptz": st.datetimes(
        min_value=datetime(1900, 1, 1), timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=45))])
    ),
}


def read_back(kind: str, values: Sequence[object]) -> list[object]:
    [(read,)] = execute_prepared(f"SELECT %s::{kind}[]", [array(kind, values)])
    return list(read)


@pytest.mark.django_db
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_postgresql_reads_the_array_that_was_given(kind: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | KINDS[kind], max_size=5))
    assert read_back(kind, values) == values


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["", "null", "NULL", "{a,b}", 'say "no"', "C:\\new", "\n\t", "ein Ei 🥚"])
def test_no_text_is_taken_for_anything_else(text: str) -> None:
    assert read_back("text", [text, None, text]) == [text, None, text]


@pytest.mark.django_db
def test_an_array_of_json_holds_json() -> None:
    [(read,)] = execute_prepared("SELECT (%s::jsonb[])[1]->>'a'", [array("jsonb", ['{"a": "\\"b\\\\c\\n"}'])])
    assert read == '"b\\c\n'


@pytest.mark.django_db
def test_a_subclass_of_what_it_takes_is_taken() -> None:
    class Id(UUID):
        pass

    an_id = "01a20614-dd06-71e5-b9cf-30e8b9e75421"
    assert read_back("uuid", [Id(an_id)]) == [UUID(an_id)]
    assert read_back("numeric", [Decimal("1E+3")]) == [1000]
