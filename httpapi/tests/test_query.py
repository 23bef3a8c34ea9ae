import pytest


def test_valid_parameters_are_taken(client):
    response = client.get("/search?colour=red&since=2026-01-02T03:04:05Z&name=ann")
    assert response.json() == {"colour": "red", "since": "2026-01-02T03:04:05Z", "name": "ann"}


def test_no_parameters_are_no_filters_and_unknown_ones_are_let_through(client):
    assert client.get("/search?unknown=1&cursor=x").json() == {}


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("colour=green", "?colour"),
        ("colour=", "?colour"),
        ("colour=%00", "?colour"),
        ("since=yesterday", "?since"),
        ("since=2026-13-01", "?since"),
        ("name=a%00b", "?name"),
        ("name=" + "a" * 256, "?name"),
    ],
)
def test_a_parameter_that_does_not_hold_is_a_problem_that_names_it(client, problem, query, pointer):
    (error,) = problem(client.get(f"/search?{query}"), 422)["errors"]
    assert error["pointer"] == pointer


def test_all_wrong_parameters_are_named_at_once(client, problem):
    errors = problem(client.get("/search?colour=green&since=x"), 422)["errors"]
    assert {error["pointer"] for error in errors} == {"?colour", "?since"}
