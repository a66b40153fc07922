"""Ports behind breakers: bounded in time, refused at once while the breaker is open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors
from deployments.contracts.generation import GenerationRequest, Message, Token
from deployments.contracts.jobs import FileSpec
from deployments.contracts.retrieval import SearchMode, SearchRequest
from deployments.errors import (
    CollectionNotFound,
    EmbeddingUnavailable,
    GenerationUnavailable,
    JobNotFound,
    RerankUnavailable,
    StateUnavailable,
    StoreUnavailable,
)
from deployments.generation.memory import ScriptedGenerator
from deployments.resilience.breakers import Breaker, BreakerPolicy
from deployments.resilience.guarded import (
    GuardedEmbedder,
    GuardedGenerator,
    GuardedReranker,
    Patience,
    guarded,
)
from deployments.retrieval.memory import MemoryStore
from deployments.state.memory.jobs import MemoryJobStore
from deployments.state.memory.world import World

POLICY = BreakerPolicy()
SHORT = Patience(
    describe_s=0.05,
    embed_s=0.05,
    embed_text_s=0,
    rerank_s=0.05,
    first_token_s=0.05,
    token_gap_s=0.05,
)
REQUEST = GenerationRequest((Message("user", "one two three four"),))


class SlowEmbedder:
    """Takes its time, where it is told to."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.calls = 0

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel("slow", 2, 256)

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        self.calls += 1
        await asyncio.sleep(self.delay_s)
        return np.ones((len(texts), 2), np.float32)


class SlowReranker:
    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        await asyncio.sleep(60)
        return [0.0]


async def test_an_embedder_that_hangs_is_given_up_on_and_then_not_asked() -> None:
    embedder = SlowEmbedder()
    breaker = Breaker("embedding", EmbeddingUnavailable, POLICY)
    port = GuardedEmbedder(embedder, breaker, SHORT)
    assert (await port.embed(["a", "b"])).shape == (2, 2)
    embedder.delay_s = 60
    for _ in range(POLICY.min_calls):
        with pytest.raises(EmbeddingUnavailable):
            await port.embed(["a"])
    asked = embedder.calls
    started = time.perf_counter()
    with pytest.raises(EmbeddingUnavailable) as refused:
        await port.embed(["a"])
    assert time.perf_counter() - started < 0.01
    assert refused.value.details["retry_after_s"] > 25
    assert embedder.calls == asked


async def test_callers_whose_own_deadline_passes_do_not_open_it() -> None:
    embedder = SlowEmbedder()
    embedder.delay_s = 60
    breaker = Breaker("embedding", EmbeddingUnavailable, POLICY)
    port = GuardedEmbedder(embedder, breaker, Patience())
    for _ in range(3 * POLICY.min_calls):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.002):
                await port.embed(["a"])
    assert breaker.state == "closed"


async def test_a_reranker_that_hangs_is_given_up_on() -> None:
    port = GuardedReranker(SlowReranker(), Breaker("reranker", RerankUnavailable, POLICY), SHORT)
    with pytest.raises(RerankUnavailable):
        await port.rerank("q", ["p"])


async def whole(port: GuardedGenerator) -> str:
    async with aclosing(port.stream(REQUEST)) as tokens:
        return "".join([token.text async for token in tokens])


async def test_a_stream_passes_as_it_is() -> None:
    port = GuardedGenerator(
        ScriptedGenerator(), Breaker("generation", GenerationUnavailable, POLICY), SHORT
    )
    assert await whole(port) == "one two three four"
    assert (await port.model()).name == "scripted"
    assert await port.count_tokens(["a b"]) == [2]


async def test_a_model_that_falls_silent_in_mid_answer_has_failed() -> None:
    generator = ScriptedGenerator(token_ms=200)
    breaker = Breaker("generation", GenerationUnavailable, BreakerPolicy(min_calls=1))
    with pytest.raises(GenerationUnavailable, match="silent"):
        await whole(GuardedGenerator(generator, breaker, SHORT))
    assert breaker.state == "open"


async def test_a_model_that_fails_in_mid_answer_counts() -> None:
    generator = ScriptedGenerator()
    generator.fail_with(GenerationUnavailable("cut"), after_tokens=2)
    breaker = Breaker("generation", GenerationUnavailable, BreakerPolicy(min_calls=1))
    with pytest.raises(GenerationUnavailable, match="cut"):
        await whole(GuardedGenerator(generator, breaker, SHORT))
    assert breaker.state == "open"


async def test_a_reader_that_takes_its_time_is_not_the_models_silence() -> None:
    port = GuardedGenerator(
        ScriptedGenerator(), Breaker("generation", GenerationUnavailable, POLICY), SHORT
    )
    seen: list[Token] = []
    async with aclosing(port.stream(REQUEST)) as tokens:
        async for token in tokens:
            seen.append(token)
            await asyncio.sleep(0.06)
    assert seen[-1].usage is not None


async def test_who_leaves_a_stream_stops_the_model_and_counts_as_neither() -> None:
    generator = ScriptedGenerator(token_ms=5)
    breaker = Breaker("generation", GenerationUnavailable, BreakerPolicy(min_calls=1))
    port = GuardedGenerator(generator, breaker, Patience())
    async with aclosing(port.stream(REQUEST)) as tokens:
        async for _ in tokens:
            break
    computed = await generator.tokens_computed()
    await asyncio.sleep(0.03)
    assert await generator.tokens_computed() == computed
    assert breaker.state == "closed"


class BrokenStore(MemoryStore):
    async def search(self, request: SearchRequest) -> Any:
        raise StoreUnavailable("out")


async def test_a_store_that_is_out_is_not_asked_but_can_be_pinged() -> None:
    breaker = Breaker("milvus", StoreUnavailable, POLICY)
    store = guarded(BrokenStore(), breaker)
    request = SearchRequest("c", "text", None, SearchMode.LEXICAL)
    for _ in range(POLICY.min_calls):
        with pytest.raises(StoreUnavailable, match="out"):
            await store.search(request)
    with pytest.raises(StoreUnavailable, match="has been failing"):
        await store.list_collections()
    await store.ping()
    await store.close()


async def test_what_is_not_there_does_not_count_against_a_store() -> None:
    breaker = Breaker("milvus", StoreUnavailable, POLICY)
    store = guarded(MemoryStore(), breaker)
    for _ in range(3 * POLICY.min_calls):
        with pytest.raises(CollectionNotFound):
            await store.get_collection("nowhere")
    assert breaker.state == "closed"


async def test_watching_a_job_does_not_hold_the_probe() -> None:
    now_s = 0.0
    breaker = Breaker("redis", StateUnavailable, POLICY, clock_s=lambda: now_s)
    jobs = guarded(MemoryJobStore(World()), breaker)
    spec = FileSpec(0, "d", "n", "s", "u", "text/plain", "h", 1)
    await jobs.submit("job", "c", "o", [spec])
    for _ in range(POLICY.min_calls + 1):
        breaker.failed(breaker.enter())
        if breaker.state == "open":
            break
    now_s = POLICY.open_s
    events: AsyncGenerator[Any, None] = jobs.events("job")
    async with aclosing(events):
        assert (await anext(events)).job.id == "job"
        with pytest.raises(JobNotFound):
            await jobs.get("another")
    assert breaker.state == "closed"
