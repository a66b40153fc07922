"""Daily budgets of the language model's tokens, a caller's own, with or without Redis."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from api.desk import PEER_SECRET, QUESTION, Desk, problem
from api.exchange import Exchange

from deployments.state.connection import connect
from deployments.state.limits import RedisRateLimiter
from serve_app.settings import LimitArgs, RagArgs
from tests.services import ValkeyServer

ASKED = {"collection": "handbook", "question": QUESTION, "cache": False}
DAY_S = 24 * 3600


async def furnished(folder: Path, **limits: int) -> Desk:
    generous = {"generation_per_minute": 10_000, "search_per_minute": 10_000}
    desk = Desk(folder, RagArgs(limits=LimitArgs(**{**generous, **limits})))
    await desk.furnish()
    return desk


async def left(desk: Desk, principal: str = "key:root") -> int:
    limiter = desk.app.state.services.limiter
    verdict = await limiter.hit("tokens", principal, 0)
    return int(verdict.remaining)


async def test_an_answer_costs_what_it_took(tmp_path: Path) -> None:
    desk = await furnished(tmp_path)
    async with desk.client() as root:
        usage = (await root.post("/v1/query", json=ASKED)).json()["usage"]
        spent = usage["prompt_tokens"] + usage["completion_tokens"]
        assert spent > 1
        # One more, taken before the answer began.
        assert await left(desk) == 1_000_000 - spent - 1
        chat = {"model": "rag:handbook", "messages": [{"role": "user", "content": QUESTION}]}
        assert (await root.post("/v1/chat/completions", json=chat)).status_code == 200
        assert await left(desk) < 1_000_000 - spent - 2


async def test_a_kept_answer_and_a_quotation_cost_nothing_more(tmp_path: Path) -> None:
    desk = await furnished(tmp_path)
    async with desk.client() as root:
        first = await root.post("/v1/query", json={**ASKED, "cache": True})
        assert not first.json()["cached"]
        before = await left(desk)
        again = await root.post("/v1/query", json={**ASKED, "cache": True})
        assert again.json()["cached"]
        assert await left(desk) == before - 1
        await root.post("/v1/query", json={**ASKED, "answer": "extract"})
        assert await left(desk) == before - 1


async def test_who_has_spent_it_waits_and_others_do_not(tmp_path: Path) -> None:
    desk = await furnished(tmp_path, tokens_per_day=5)
    async with desk.client() as root, desk.client("alice") as alice:
        assert (await root.post("/v1/query", json=ASKED)).status_code == 200
        refused = await root.post("/v1/query", json=ASKED)
        assert "tokens a day" in problem(refused, 429, "rate_limited")["detail"]
        assert int(refused.headers["retry-after"]) > 3600
        chat = {"model": "rag:handbook", "messages": [{"role": "user", "content": QUESTION}]}
        assert (await root.post("/v1/chat/completions", json=chat)).status_code == 429
        # Searching and quoting need no language model.
        search = {"collection": "handbook", "query": QUESTION}
        assert (await root.post("/v1/search", json=search)).status_code == 200
        quoted = await root.post("/v1/query", json={**ASKED, "answer": "extract"})
        assert quoted.status_code == 200
        assert (await alice.post("/v1/query", json=ASKED)).status_code == 200
        desk.clock.now_s += 2 * DAY_S
        assert (await root.post("/v1/query", json=ASKED)).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_early_is_not_free(tmp_path: Path, stream: bool) -> None:
    desk = await furnished(tmp_path)
    desk.generator._token_s = 0.05
    desk.generator._answers = ("word " * 200,)
    body = {**ASKED, "stream": stream}
    exchange = Exchange(desk.app, "POST", "/v1/query", body=body)
    asking = asyncio.create_task(exchange.__aenter__())
    async with asyncio.timeout(10):
        while not desk.generator.requests:  # noqa: ASYNC110 - the twin has no event to wait for
            await asyncio.sleep(0.01)
    await exchange.leave()
    await asyncio.wait({asking}, timeout=5)
    # One was taken at the door, and then the longest that the answer might have become.
    assert await left(desk) == 1_000_000 - 1 - 256


async def test_a_service_that_names_no_caller_has_no_persons_budget(tmp_path: Path) -> None:
    desk = await furnished(tmp_path, tokens_per_day=1, generation_per_minute=1)
    async with desk.client(None) as service:
        headers = {"X-Internal-Auth": PEER_SECRET}
        for _ in range(3):
            answer = await service.post("/internal/v1/query", json=ASKED, headers=headers)
            assert answer.status_code == 200
        assert answer.headers["ratelimit-policy"] == '"service";q=6000;w=60'


async def test_with_redis_away_each_replica_still_counts(tmp_path: Path) -> None:
    valkey = ValkeyServer(tmp_path / "valkey").start()
    client = connect(valkey.url, valkey.password)
    limits = LimitArgs(generation_per_minute=3, search_per_minute=4, tokens_per_day=10)
    limiter = RedisRateLimiter(client, limits.rates())
    assert (await limiter.hit("tokens", "alice", 4)).remaining == 6
    valkey.kill()
    try:
        for bucket, amount in [("generation", 3), ("search", 4), ("tokens", 10)]:
            allowed = [(await limiter.hit(bucket, "alice")).allowed for _ in range(amount + 2)]
            assert allowed == [True] * amount + [False] * 2, bucket
    finally:
        await client.aclose()
