"""The OpenAPI document: whole, and true."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from api.desk import Desk

from serve_app import description


@pytest.fixture
def document(desk: Desk) -> dict[str, Any]:
    # As a client gets it.
    found: dict[str, Any] = json.loads(json.dumps(description.of(desk.app)))
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", operation


def nodes(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from nodes(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from nodes(inner)


def test_every_operation_says_what_it_does_and_how_it_fails(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        if "/health" in name:
            assert "security" not in operation
            continue
        scheme = "service" if " /internal/" in name else "api_key"
        assert operation["security"] == [{scheme: []}], name
        failures = {code for code in operation["responses"] if code[0] in "45"}
        assert failures >= {"401"}, name
        for code in failures:
            (kind,) = operation["responses"][code]["content"]
            openai = "openai" in operation["tags"]
            assert openai or kind == "application/problem+json", (name, code)


def test_what_takes_a_path_or_a_limit_says_what_comes_of_it(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        if "openai" in operation["tags"]:
            continue
        if "{" in name:
            assert "404" in operation["responses"], name
        if "text/event-stream" in json.dumps(operation["responses"].get("200", {})):
            assert name.replace("/internal", "") in (
                "POST /v1/query",
                "GET /v1/jobs/{job_id}/events",
            )


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    references = {node["$ref"] for node in nodes(document) if isinstance(node.get("$ref"), str)}
    assert len(references) > 15
    for reference in references:
        found: Any = document
        for part in reference.removeprefix("#/").split("/"):
            assert part in found, reference
            found = found[part]


def test_every_example_is_valid(document: dict[str, Any]) -> None:
    checked = 0
    for schema in nodes(document["components"]["schemas"]):
        examples = schema.get("examples")
        if not isinstance(examples, list):
            continue
        whole = {**schema, "components": document["components"]}
        for example in examples:
            jsonschema.Draft202012Validator(whole).validate(example)
            checked += 1
    assert checked > 30


def test_what_callers_send_has_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name, field in [
        ("QueryIn", "question"),
        ("QueryIn", "filter"),
        ("SearchIn", "query"),
        ("CollectionCreate", "name"),
        ("TextDocument", "title"),
        ("TextDocument", "text"),
        ("TextDocument", "metadata"),
    ]:
        assert schemas[name]["properties"][field]["examples"], (name, field)
    assert schemas["ProblemDocument"]["examples"]


def test_documents_can_be_sent_in_every_way_that_is_described(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/collections/{collection}/documents"]["post"]["requestBody"]
    assert set(body["content"]) == {"multipart/form-data", "application/json"}
