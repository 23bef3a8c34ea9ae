import re

import pytest
from drf_spectacular.validation import validate_schema

from httpapi.openapi import problem_responses


@pytest.fixture
def schema(client):
    response = client.get("/schema", headers={"Accept": "application/vnd.oai.openapi+json"})
    assert response.status_code == 200
    return response.json()


@pytest.fixture
def request_of(schema):
    return lambda name: schema["components"]["schemas"][f"{name}Request"]["properties"]


@pytest.mark.parametrize("version", ["%00", "%0a", "2", "%E2%82%AC"])
def test_it_has_one_version_whatever_is_asked_for(client, version):
    usual, answer = client.get("/schema"), client.get(f"/schema?version={version}")
    assert (answer.status_code, answer.content) == (200, usual.content)
    assert answer.headers["Content-Disposition"] == usual.headers["Content-Disposition"]


def test_it_is_valid_openapi_3_1(schema):
    assert schema["openapi"] == "3.1.0"
    assert schema["info"]["title"] == "Things"
    validate_schema(schema)  # type: ignore[no-untyped-call]


def test_money_is_a_number_with_its_limits(schema, request_of):
    assert request_of("Part")["price"] == {
        "type": "number",
        "multipleOf": 0.01,
        "exclusiveMinimum": 0,
        "exclusiveMaximum": 10**10,
    }
    assert request_of("Thing")["discount"]["exclusiveMinimum"] == -(10**10)
    # Many amounts, divided by 0.01 as a float, are not whole: checking our answers by the schema would fail.
    assert schema["components"]["schemas"]["Part"]["properties"]["price"] == {"type": "number"}


def test_integers_and_strings_have_their_limits(request_of):
    assert request_of("Part")["count"] == {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}
    name = request_of("Part")["name"]
    assert (name["type"], name["minLength"], name["maxLength"]) == ("string", 1, 10)
    for text, taken in {"ann": True, " ann b": True, " \x1c": False, "a\0": False}.items():
        assert bool(re.search(name["pattern"], text)) is taken


def test_a_list_says_how_long_it_may_be(request_of):
    parts = request_of("Thing")["parts"]
    assert (parts["type"], parts["minItems"], parts["maxItems"]) == ("array", 1, 3)


def test_problems_are_one_component_with_an_example_each(schema):
    responses = schema["paths"]["/things"]["post"]["responses"]
    for status in ("400", "422"):
        (media_type,) = responses[status]["content"]
        assert media_type == "application/problem+json"
        content = responses[status]["content"][media_type]
        assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
        (example,) = content["examples"].values()
        assert example["value"]["status"] == int(status)
        assert example["value"].keys() == schema["components"]["schemas"]["Problem"]["properties"].keys()


def test_a_list_says_how_it_is_paged(schema):
    operation = schema["paths"]["/users"]["get"]
    parameters = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert parameters["page_size"] == {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}
    assert parameters["cursor"] == {"type": "string"}
    page = schema["components"]["schemas"]["PaginatedUserList"]
    assert page["required"] == ["next", "previous", "results"]
    assert page["properties"]["next"]["type"] == ["string", "null"]


def test_a_view_may_say_its_problem_in_its_own_words():
    responses = problem_responses(404, details={404: "Order not found"})
    (response,) = responses.values()
    assert response.examples[0].value["detail"] == "Order not found"


def test_a_status_without_an_example_is_an_error_at_once():
    with pytest.raises(KeyError):
        problem_responses(418)
