"""The generated documents are what the types say."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError

import contracts
from contracts.documents import asyncapi, documents, json_schema
from contracts.events import EVENTS, Event
from contracts.examples import EXAMPLES, ORDER_CREATED

FOLDER = Path(contracts.__file__).parent


def test_the_committed_documents_are_up_to_date() -> None:
    committed = {
        str(path.relative_to(FOLDER)): path.read_text()
        for path in [*FOLDER.glob("schemas/*"), FOLDER / "asyncapi.yaml"]
    }

    assert committed == documents(), "run `python -m contracts` and commit what it writes"


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_every_example_holds_by_the_json_schema(event: type[Event]) -> None:
    schema = json_schema(event)
    Draft202012Validator.check_schema(schema)

    assert len(schema["examples"]) == len(EXAMPLES[event.TYPE])
    for body in schema["examples"]:
        Draft202012Validator(schema).validate(body)


@pytest.mark.parametrize(
    "change",
    [
        {"order_id": 1},
        {"customer_id": "a" * 256},
        {"customer_id": "a\0"},
        {"total_amount": "46.00"},
        {"total_amount": 1e10},
        {"items": [{"product_id": "p", "quantity": 1.5, "price": 1}]},
        {"items": None},
    ],
    ids=str,
)
def test_the_json_schema_refuses_what_the_type_refuses(change: dict[str, Any]) -> None:
    schema = json_schema(type(ORDER_CREATED))
    body = schema["examples"][0] | change

    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate(body)


def test_the_asyncapi_document_tells_where_every_event_goes_and_who_takes_part() -> None:
    document = yaml.safe_load(documents()["asyncapi.yaml"])

    assert document == asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == EVENTS.keys()
    for event_type in EVENTS:
        takers = [o["action"] for o in document["operations"].values() if o["channel"]["$ref"].endswith(event_type)]
        assert sorted(takers) == ["receive", "send"]


def test_every_reference_in_the_asyncapi_document_leads_somewhere() -> None:
    document = asyncapi()
    references = list(_references(document))

    assert references
    for reference in references:
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)
