"""How much a caller may ask for, and how it is told."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest
from api.desk import QUESTION, Desk, problem
from api.exchange import Exchange

from serve_app.settings import LimitArgs, RagArgs

QUERY = {"collection": "handbook", "question": QUESTION}


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    limits = LimitArgs(generation_per_minute=3, search_per_minute=2, ingestion_per_minute=2)
    made = Desk(tmp_path, RagArgs(limits=limits))
    await made.furnish()
    return made


async def test_the_limit_is_announced_used_up_and_given_back(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    left = []
    for _ in range(3):
        answer = await root.post("/v1/query", json=QUERY)
        assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"generation";q=3;w=60'
        left.append(remaining(answer))
    assert left == [2, 1, 0]

    refused = await root.post("/v1/query", json=QUERY)
    found = problem(refused, 429, "rate_limited")
    wait_s = int(refused.headers["retry-after"])
    assert found["limit"] == 3
    assert 0 < wait_s <= 120
    assert refused.headers["ratelimit"] == f'"generation";r=0;t={wait_s}'
    assert refused.headers["ratelimit-policy"] == '"generation";q=3;w=60'

    desk.clock.now_s += wait_s
    assert (await root.post("/v1/query", json=QUERY)).status_code == 200


async def test_a_callers_requests_are_nobody_elses(desk: Desk, root: httpx.AsyncClient) -> None:
    for _ in range(3):
        await root.post("/v1/query", json=QUERY)
    problem(await root.post("/v1/query", json=QUERY), 429, "rate_limited")
    async with desk.client("alice") as alice:
        assert remaining(await alice.post("/v1/query", json=QUERY)) == 2


async def test_asking_searching_and_ingesting_are_counted_apart(root: httpx.AsyncClient) -> None:
    search = {"collection": "handbook", "query": QUESTION}
    documents = "/v1/collections/handbook/documents"
    for _ in range(2):
        assert (await root.post("/v1/search", json=search)).status_code == 200
        body = {"documents": [{"title": "t", "text": "x"}]}
        assert (await root.post(documents, json=body)).status_code == 202
    problem(await root.post("/v1/search", json=search), 429, "rate_limited")
    problem(await root.post(documents, json=body), 429, "rate_limited")
    assert (await root.post("/v1/query", json=QUERY)).status_code == 200


async def test_an_error_costs_as_much_and_says_what_is_left(root: httpx.AsyncClient) -> None:
    answer = await root.post("/v1/query", json={**QUERY, "collection": "absent"})
    problem(answer, 404, "collection_not_found")
    assert remaining(answer) == 2


async def test_a_stream_says_what_is_left(desk: Desk) -> None:
    asked = Exchange(desk.app, "POST", "/v1/query", body={**QUERY, "stream": True})
    async with asked as exchange:
        assert exchange.status == 200
        assert exchange.headers["ratelimit"].startswith('"generation";r=2;')


async def test_a_caller_without_the_scope_uses_nothing_up(desk: Desk) -> None:
    async with desk.client("writer") as writer:
        for _ in range(5):
            problem(await writer.post("/v1/query", json=QUERY), 403, "forbidden")


def remaining(answer: httpx.Response) -> int:
    found = re.fullmatch(r'"\w+";r=(\d+);t=\d+', answer.headers["ratelimit"])
    assert found is not None
    return int(found[1])
