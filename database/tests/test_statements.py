from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import psycopg
import pytest
from django.db import (
    DataError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    connection,
    connections,
    transaction,
)
from django.db.transaction import TransactionManagementError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from database.statements import array, execute_alone, execute_prepared

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


@pytest.mark.django_db
class TestExecutePrepared:
    def test_rows_come_as_python_values(self) -> None:
        an_id = UUID("01a20614-dd06-71e5-b9cf-30e8b9e75421")
        statement = "SELECT %s::uuid, %s::bytea, %s::numeric, %s::text, 5 %% 3 FROM generate_series(1, 2)"
        rows = execute_prepared(statement, [an_id, b"\0\\", Decimal("1.50"), None])
        assert rows == [(an_id, b"\0\\", Decimal("1.50"), None, 2)] * 2

    def test_a_name_may_stand_in_several_places(self) -> None:
        statement = "SELECT %(a)s::text || %(b)s::text || %(a)s::text"
        assert execute_prepared(statement, {"b": "-", "a": "x", "unused": 1}) == [("x-x",)]

    def test_a_statement_without_rows_gives_none(self) -> None:
        assert execute_prepared("UPDATE django_content_type SET model = '' WHERE id = %s::int", [-1]) == []

    def test_the_server_plans_it_once(self) -> None:
        for number in range(3):
            assert execute_prepared("SELECT 'planned once', %s::int", [number]) == [("planned once", number)]
        kept = execute_prepared("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s::text", ["%once%"])
        assert kept == [(1,)]

    def test_behind_a_pooler_nothing_is_prepared(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(connection.connection, "prepare_threshold", None)
        assert execute_prepared("SELECT 'never planned', %s::int, %s::text", [7, None]) == [("never planned", 7, None)]
        kept = execute_prepared(
            "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE %s::text", ["%never%"]
        )
        assert kept == [(0,)]

    def test_one_that_fails_raises_what_django_raises(self) -> None:
        execute_prepared("CREATE TEMPORARY TABLE once (id int UNIQUE)", [])
        execute_prepared("INSERT INTO once VALUES (%s::int)", [1])
        with pytest.raises(IntegrityError, match="duplicate key") as caught, transaction.atomic():
            execute_prepared("INSERT INTO once VALUES (%s::int)", [1])
        assert isinstance(caught.value.__cause__, psycopg.errors.UniqueViolation)
        assert caught.value.__cause__.diag.constraint_name == "once_id_key"
        assert execute_prepared("SELECT id FROM once", []) == [(1,)]

    def test_one_that_cannot_be_planned_raises_too(self) -> None:
        with pytest.raises(ProgrammingError, match="nowhere"), transaction.atomic():
            execute_prepared("SELECT * FROM nowhere", [])

    def test_a_text_with_a_nul_is_refused(self) -> None:
        with pytest.raises(DataError, match="NUL"):
            execute_prepared("SELECT %s::text", ["a\0b"])


def _another_connection() -> psycopg.Connection:
    parameters = connection.get_connection_params()
    for django_only in ("cursor_factory", "context"):
        parameters.pop(django_only, None)
    return psycopg.connect(**parameters, autocommit=True)


@pytest.mark.django_db(transaction=True)
class TestExecutePreparedByItself:
    @pytest.mark.parametrize("threshold", [5, None], ids=["alone", "behind a pooler"])
    def test_it_begins_the_transaction_that_django_wants(
        self, threshold: int | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connection.ensure_connection()
        monkeypatch.setattr(connection.connection, "prepare_threshold", threshold)
        execute_prepared("CREATE TABLE scratch ()", [])
        try:
            with transaction.atomic():
                execute_prepared("INSERT INTO scratch DEFAULT VALUES", [])
                transaction.set_rollback(True)
            assert execute_prepared("SELECT count(*) FROM scratch", []) == [(0,)]
            with transaction.atomic():
                execute_prepared("INSERT INTO scratch DEFAULT VALUES", [])
            assert execute_prepared("SELECT count(*) FROM scratch", []) == [(1,)]
        finally:
            execute_alone("DROP TABLE scratch")

    @pytest.mark.parametrize("text", ["", "it's", "C:\\new", "\\'; DROP TABLE x; --", "%s $1", "\n", "ein Ei 🥚", None])
    def test_what_begins_a_transaction_takes_the_same_values(self, text: str | None) -> None:
        asked = ("SELECT %s::text, %s::integer, (%s::text[])[1]", [text, -7, array("text", [text])])
        with transaction.atomic():
            assert execute_prepared(*asked) == [(text, -7, text)]
            assert execute_prepared(*asked) == [(text, -7, text)]

    def test_one_that_begins_a_transaction_and_fails_leaves_none(self) -> None:
        with pytest.raises(DataError), transaction.atomic():
            execute_prepared("SELECT 1 / %s::integer", [0])
        assert execute_prepared("SELECT 1 / %s::integer", [1]) == [(1,)]

    def test_it_does_nothing_in_a_transaction_that_will_be_rolled_back(self) -> None:
        with transaction.atomic():
            transaction.set_rollback(True)
            with pytest.raises(TransactionManagementError):
                execute_prepared("SELECT 1", [])

    def test_a_migration_may_alter_what_it_gives(self) -> None:
        execute_prepared("CREATE TABLE scratch (name varchar(5) DEFAULT 'ann')", [])
        try:
            execute_prepared("INSERT INTO scratch DEFAULT VALUES", [])
            for kind in ("varchar(10)", "text"):
                assert execute_prepared("SELECT name FROM scratch", []) == [("ann",)]
                execute_alone(f"ALTER TABLE scratch ALTER name TYPE {kind}")
            assert execute_prepared("SELECT name FROM scratch", []) == [("ann",)]
            execute_alone("ALTER TABLE scratch ALTER name TYPE varchar(20)")
            with pytest.raises(NotSupportedError, match="cached plan must not change"), transaction.atomic():
                execute_prepared("SELECT name FROM scratch", [])
        finally:
            execute_alone("DROP TABLE scratch")

    def test_what_cannot_be_committed_raises_what_django_raises(self) -> None:
        execute_prepared("CREATE TABLE scratch (id int UNIQUE DEFERRABLE INITIALLY DEFERRED)", [])
        try:
            with pytest.raises(IntegrityError), transaction.atomic():
                execute_prepared("INSERT INTO scratch VALUES (1), (1)", [])
            assert execute_prepared("SELECT count(*) FROM scratch", []) == [(0,)]
        finally:
            execute_alone("DROP TABLE scratch")

    def test_a_standing_connection_that_the_server_has_ended_is_no_error_for_the_next_request(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        [(pid,)] = execute_prepared("SELECT pg_backend_pid()", [])
        with _another_connection() as other:
            other.execute("SELECT pg_terminate_backend(%s, 10000)", [pid])
        monkeypatch.setattr(connections["default"], "health_check_enabled", True)  # CONN_HEALTH_CHECKS
        connection.close_if_unusable_or_obsolete()  # as Django does before each request
        assert execute_prepared("SELECT 1", []) == [(1,)]

    def test_a_lost_connection_is_an_operational_error_and_the_next_one_prepares_anew(self) -> None:
        [(pid,)] = execute_prepared("SELECT pg_backend_pid()", [])
        with _another_connection() as other:
            other.execute("SELECT pg_terminate_backend(%s)", [pid])
        with pytest.raises(OperationalError):
            execute_prepared("SELECT 1", [])
        connection.close()
        assert execute_prepared("SELECT 1", []) == [(1,)]
