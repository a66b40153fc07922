"""Several collections asked at once, over HTTP."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api.desk import QUESTION, Desk, problem

from deployments.contracts.retrieval import Chunk, Collection, Document

LEAVE = "Part-time employees have 15 days of paid holiday a year."
BOTH = ["handbook", "bobs_notes"]


@pytest.fixture
async def two(desk: Desk) -> Desk:
    """The handbook, and another collection with a document of the same id."""
    await desk.store.create_collection(Collection("bobs_notes", await desk.embedder.model()))
    document = Document("doc_1", "Notes", "notes.md", "text/markdown", "h", 1, 1, 0.0, 900)
    chunk = Chunk("bobs-0", 0, LEAVE, document)
    await desk.store.upsert("bobs_notes", [chunk], await desk.embedder.embed([LEAVE]))
    return desk


def search(**changes: Any) -> dict[str, Any]:
    return {"query": "days of paid holiday a year", "top_k": 5, **changes}


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
async def test_the_best_passages_of_both_come_back_as_from_one(
    two: Desk, mode: str, fusion: str
) -> None:
    async with two.client() as root:
        body = search(collections=BOTH, mode=mode, fusion=fusion)
        found = (await root.post("/v1/search", json=body)).json()["passages"]
    # Both hold a document doc_1: neither is taken for an older version of the other.
    assert {p["collection"] for p in found if p["document_id"] == "doc_1"} == set(BOTH)
    assert [p["number"] for p in found] == list(range(1, len(found) + 1))
    assert [p["score"] for p in found] == sorted((p["score"] for p in found), reverse=True)


async def test_an_answer_may_rest_on_any_of_them(two: Desk) -> None:
    async with two.client() as root:
        body = {"collections": BOTH, "question": QUESTION, "neighbours": 1, "answer": "extract"}
        answer = (await root.post("/v1/query", json=body)).json()
    assert answer["answered"]
    assert {passage["collection"] for passage in answer["passages"]} == set(BOTH)


async def test_one_collection_out_of_sight_hides_them_all(two: Desk) -> None:
    async with two.client("bob") as bob:
        for path, asked in (("search", search()), ("query", {"question": QUESTION})):
            refused = await bob.post(f"/v1/{path}", json={**asked, "collections": BOTH})
            assert problem(refused, 404, "collection_not_found")["collection"] == "handbook"
        own = await bob.post("/v1/search", json=search(collections=["bobs_notes"]))
    assert own.status_code == httpx.codes.OK


async def test_a_missing_one_is_an_error_and_not_a_lesser_answer(two: Desk) -> None:
    async with two.client() as root:
        body = search(collections=["handbook", "nowhere"])
        refused = await root.post("/v1/search", json=body)
    assert problem(refused, 404, "collection_not_found")["collection"] == "nowhere"


@pytest.mark.parametrize(
    "named",
    [
        {},
        {"collection": "handbook", "collections": ["bobs_notes"]},
        {"collections": []},
        {"collections": ["handbook", "handbook"]},
        {"collections": [f"c{number}" for number in range(17)]},
    ],
)
async def test_a_request_names_its_collections_in_one_way(two: Desk, named: dict[str, Any]) -> None:
    async with two.client() as root:
        refused = await root.post("/v1/search", json={"query": "holiday", **named})
    problem(refused, 422, "invalid_request")


async def test_a_commit_to_either_makes_a_kept_answer_stale(two: Desk) -> None:
    body = {"collections": BOTH, "question": QUESTION}
    async with two.client() as root:
        assert not (await root.post("/v1/query", json=body)).json()["cached"]
        assert (await root.post("/v1/query", json=body)).json()["cached"]
        await two.visibility.hide("bobs_notes", [900])
        fresh = (await root.post("/v1/query", json=body)).json()
    assert not fresh["cached"]
    assert {passage["collection"] for passage in fresh["passages"]} == {"handbook"}


async def test_the_openai_model_names_several(two: Desk) -> None:
    body = {
        "model": "rag:handbook,bobs_notes",
        "messages": [{"role": "user", "content": QUESTION}],
    }
    async with two.client() as root:
        reply = await root.post("/v1/chat/completions", json=body)
        model = await root.get("/v1/models/rag:handbook,bobs_notes")
    assert reply.status_code == httpx.codes.OK, reply.text
    assert model.json()["id"] == "rag:handbook,bobs_notes"
    async with two.client("bob") as bob:
        refused = await bob.post("/v1/chat/completions", json=body)
    assert refused.status_code == httpx.codes.NOT_FOUND
    assert refused.json()["error"]["code"] == "model_not_found"
