"""The OpenAPI document: what FastAPI finds out by itself, and what it gets wrong put right."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema

from serve_app.auth.authenticator import INTERNAL
from serve_app.auth.peers import PEER_HEADER
from serve_app.problems import MEDIA_TYPE
from serve_app.schemas import SourceDocuments, TextDocuments

ABOUT = """
Answers questions from your team's own documents.

Send an API key or a token as `Authorization: Bearer <key>`; other services send their secret as
`X-Internal-Auth` to the paths below `/internal/`. Errors are RFC 9457 problem documents with a
stable `code`. Limits are announced in `RateLimit` headers; `X-Request-ID` names every request.
"""

COMPONENT = "#/components/schemas/{model}"
PROBLEM = {"$ref": COMPONENT.format(model="ProblemDocument")}
PEERS = {
    "service": {
        "type": "apiKey",
        "in": "header",
        "name": PEER_HEADER,
        "description": "The secret that services share; `X-On-Behalf-Of` names their caller.",
    }
}
# Bodies that a route reads by itself, as their content type decides.
READ_BY_HAND = (TextDocuments, SourceDocuments)


def of(app: FastAPI) -> dict[str, Any]:
    """The document of an application; made once, as its routes do not change."""
    if app.openapi_schema is None:
        document = app.openapi()
        _, models = models_json_schema(
            [(model, "validation") for model in READ_BY_HAND], ref_template=COMPONENT
        )
        document["components"]["schemas"] |= models["$defs"]
        document["components"]["securitySchemes"] |= PEERS
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path.startswith(INTERNAL):
                    operation["security"] = [{name: [] for name in PEERS}]
                _say_how_problems_travel(operation["responses"])
    return app.openapi()


def _say_how_problems_travel(responses: dict[str, Any]) -> None:
    """FastAPI files every model under a route's own media type; problems have one of theirs."""
    for response in responses.values():
        schema = response.get("content", {}).get("application/json", {}).get("schema")
        if schema == PROBLEM:
            response["content"] = {MEDIA_TYPE: {"schema": PROBLEM}}
