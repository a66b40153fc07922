"""No tenant reaches another's things through any route, nor learns that they are there.

The routes come from the OpenAPI document: one that is added tomorrow is attacked here, or fails
this test until it is said what it can be asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.desk import GENEROUS, PEER_SECRET, Desk, shape

from deployments.contracts.identity import Principal
from deployments.generation.memory import ScriptedGenerator
from serve_app import description
from serve_app.auth.peers import on_behalf_of
from serve_app.settings import RagArgs

CANARY = "xylophone-zebra-canary"
VAULT = "alices_vault"
BOB = Principal("key:bob", "bob", frozenset({"query", "ingest", "admin"}), ("bobs_*",))

# What cannot belong to anybody: asking is no attack, but the answers must not hold the canary.
NOBODYS = {
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /v1/me",
    "GET /v1/collections",
    "GET /v1/jobs",
    "GET /v1/keys",
    "GET /v1/models",
    "POST /v1/embeddings",
    "GET /internal/v1/collections",
    "GET /internal/v1/jobs",
}
# Where the answer to something of another's is not "not found", and why.
OTHERWISE = {
    # A key for collections that its maker cannot reach: it says so, whether they exist or not.
    "POST /v1/keys": 403,
}
PARAMETERS = {
    "collection": (VAULT, "bobless_nothing"),
    "document_id": ("doc_1", "doc_none"),
    "model": (f"rag:{VAULT}", "rag:bobless_nothing"),
}
BODIES: dict[str, Any] = {
    "POST /v1/collections": {"name": "{collection}"},
    "POST /v1/collections/{collection}/documents": {"documents": [{"title": "t", "text": "x"}]},
    "POST /v1/search": {"collection": "{collection}", "query": CANARY},
    "POST /v1/query": {"collection": "{collection}", "question": f"What is {CANARY}?"},
    "POST /v1/chat/completions": {
        "model": "{model}",
        "messages": [{"role": "user", "content": f"What is {CANARY}?"}],
    },
    "POST /v1/embeddings": {"model": "any", "input": "x"},
    "POST /v1/keys": {"name": "n", "collections": ["{collection}"]},
    "POST /v1/keys/{prefix}/rotate": {},
}


@dataclass
class Vault:
    """What alice has: a collection, a document, a job, a key, and an answer in the cache."""

    desk: Desk
    job_id: str
    prefix: str

    def asked(self, text: str, *, absent: bool) -> str:
        names = PARAMETERS | {
            "job_id": (self.job_id, "job_none"),
            "prefix": (self.prefix, "nobody00"),
        }
        for name, (there, nowhere) in names.items():
            text = text.replace(f"{{{name}}}", nowhere if absent else there)
        assert "{" not in text, f"say in PARAMETERS what {text} may be asked for"
        return text

    def body(self, operation: str, *, absent: bool) -> Any:
        return self._filled(BODIES.get(operation.replace(" /internal/", " /")), absent=absent)

    def _filled(self, value: Any, *, absent: bool) -> Any:
        if isinstance(value, str):
            return self.asked(value, absent=absent)
        if isinstance(value, list):
            return [self._filled(item, absent=absent) for item in value]
        if isinstance(value, dict):
            return {key: self._filled(item, absent=absent) for key, item in value.items()}
        return value


@pytest.fixture
async def vault(tmp_path: Path) -> AsyncIterator[Vault]:
    generator = ScriptedGenerator(answers=[f"The secret is {CANARY} [1]."])
    desk = Desk(tmp_path, RagArgs(limits=GENEROUS), generator=generator)
    desk.keys.give("boss", {"query", "ingest", "admin"}, "bobs_*")
    desk.keys.give("owner", {"query", "ingest", "admin"}, "alices_*")
    await desk.furnish(VAULT)
    await desk.furnish("bobs_papers")
    async with desk.client("owner") as owner:
        documents = f"/v1/collections/{VAULT}/documents"
        text = {"documents": [{"title": f"note {CANARY}", "text": f"The secret is {CANARY}."}]}
        job_id = (await owner.post(documents, json=text)).json()["id"]
        asked = {"collection": VAULT, "question": f"What is {CANARY}?"}
        assert (await owner.post("/v1/query", json=asked)).status_code == 200
        made = await owner.post("/v1/keys", json={"name": CANARY, "collections": ["alices_*"]})
        yield Vault(desk, job_id, made.json()["prefix"])


def operations(desk: Desk) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    for path, item in description.of(desk.app)["paths"].items():
        for method, operation in item.items():
            yield f"{method.upper()} {path}", method.upper(), path, operation


def intruder(desk: Desk, path: str) -> httpx.AsyncClient:
    """Bob, an admin of his own tenant, by whichever door the path has."""
    client = desk.client("boss")
    if path.startswith("/internal/"):
        client.headers = httpx.Headers(
            {"X-Internal-Auth": PEER_SECRET, "X-On-Behalf-Of": on_behalf_of(BOB, PEER_SECRET)}
        )
    return client


async def test_another_tenants_things_are_not_there_through_any_route(vault: Vault) -> None:
    attacked = 0
    for name, method, path, operation in operations(vault.desk):
        if "requestBody" in operation:
            assert vault.body(name, absent=False) is not None, f"say in BODIES what {name} takes"
        async with intruder(vault.desk, path) as bob:
            answers = [
                await bob.request(
                    method,
                    vault.asked(path, absent=absent),
                    json=vault.body(name, absent=absent),
                )
                for absent in (False, True)
            ]
        hidden, absent = answers
        assert CANARY not in _without_echo(hidden, vault), name
        if name in NOBODYS:
            assert hidden.status_code < 500, name
            continue
        attacked += 1
        assert hidden.status_code == OTHERWISE.get(name, 404), (name, hidden.text)
        names = [VAULT, "doc_1", vault.job_id, vault.prefix]
        nothings = ["bobless_nothing", "doc_none", "job_none", "nobody00"]
        assert shape(hidden.json(), *names) == shape(absent.json(), *nothings), name
    assert attacked >= 25


async def test_no_others_collection_is_read_in_the_company_of_ones_own(vault: Vault) -> None:
    several = ["bobs_papers", VAULT]
    models = {"model": f"rag:bobs_papers,{VAULT}"}
    for path, body in [
        ("/v1/search", {"collections": several, "query": CANARY}),
        ("/v1/query", {"collections": several, "question": CANARY}),
        ("/v1/chat/completions", models | {"messages": [{"role": "user", "content": CANARY}]}),
    ]:
        async with intruder(vault.desk, path) as bob:
            answer = await bob.post(path, json=body)
        assert answer.status_code == 404, answer.text
        assert answer.json().get("passages") is None


async def test_and_afterwards_everything_of_theirs_is_as_it_was(vault: Vault) -> None:
    await test_another_tenants_things_are_not_there_through_any_route(vault)
    async with vault.desk.client("owner") as owner:
        assert (await owner.get(f"/v1/collections/{VAULT}")).json()["documents"] == 2
        assert (await owner.get(f"/v1/jobs/{vault.job_id}")).json()["state"] == "PENDING"
        assert vault.prefix in (await owner.get("/v1/keys")).text


async def test_no_route_answers_a_stranger(vault: Vault) -> None:
    for name, method, path, _ in operations(vault.desk):
        if path.startswith("/health"):
            continue
        async with vault.desk.client(None) as stranger:
            answer = await stranger.request(
                method, vault.asked(path, absent=False), json=vault.body(name, absent=False)
            )
        assert answer.status_code == 401, (name, answer.text)
        assert CANARY not in answer.text


async def test_no_route_does_for_a_scope_what_is_anothers(vault: Vault) -> None:
    vault.desk.keys.give("idle", set(), "*")
    for name, method, path, _ in operations(vault.desk):
        if path.startswith(("/health", "/v1/me", "/internal/")):
            continue
        async with vault.desk.client("idle") as idle:
            answer = await idle.request(
                method, vault.asked(path, absent=False), json=vault.body(name, absent=False)
            )
        assert answer.status_code == 403, (name, answer.text)


async def test_a_colleague_with_the_same_rights_does_not_see_ones_jobs(vault: Vault) -> None:
    vault.desk.keys.give("colleague", {"query", "ingest"}, "alices_*")
    async with vault.desk.client("colleague") as colleague:
        assert (await colleague.get("/v1/jobs")).json()["jobs"] == []
        assert (await colleague.get(f"/v1/jobs/{vault.job_id}")).status_code == 404


async def test_one_idempotency_key_in_two_hands_is_two_jobs(vault: Vault) -> None:
    vault.desk.keys.give("colleague", {"query", "ingest"}, "alices_*")
    documents = f"/v1/collections/{VAULT}/documents"
    body = {"documents": [{"title": "t", "text": "x"}]}
    ids = set()
    for key in ("owner", "colleague"):
        async with vault.desk.client(key) as client:
            answer = await client.post(documents, json=body, headers={"Idempotency-Key": "same"})
            ids.add(answer.json()["id"])
    assert len(ids) == 2


def _without_echo(answer: httpx.Response, vault: Vault) -> str:
    """The answer without what the question itself said: embeddings and 422s may repeat it."""
    return answer.text if answer.status_code != 422 else ""
