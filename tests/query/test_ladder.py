"""Every rung of the ladder: labelled, counted, and taken at once while a breaker is open."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from query_room import CountingReranker, Room, ask

from deployments.contracts.jobs import Snapshot
from deployments.errors import (
    EmbeddingUnavailable,
    GenerationUnavailable,
    Overloaded,
    RagserveError,
    RerankUnavailable,
    StoreUnavailable,
)
from deployments.generation.memory import ScriptedGenerator
from deployments.metrics import DEGRADED, MemoryMetrics
from deployments.query.pipeline import QueryPipeline
from deployments.resilience.breakers import Breaker, BreakerPolicy
from deployments.resilience.guarded import (
    GuardedEmbedder,
    GuardedGenerator,
    GuardedReranker,
    Patience,
    guarded,
)
from deployments.resilience.retries import Retry
from deployments.state.memory.cache import MemoryCache

ANSWER = "Full-time employees have 29 days of paid holiday."
AT_ONCE_S = 0.3
POLICY = BreakerPolicy(min_calls=3)
FEW = POLICY.min_calls
NO_WAIT = Retry(attempts=3, min_wait_s=0.001, max_wait_s=0.002)


class Guarded:
    """A room whose parts stand behind breakers, as on an ingress replica."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self.metrics = MemoryMetrics()
        self.breakers = {
            "embedding": Breaker("embedding", EmbeddingUnavailable, POLICY),
            "generation": Breaker("generation", GenerationUnavailable, POLICY),
            "reranker": Breaker("reranker", RerankUnavailable, POLICY),
            "milvus": Breaker("milvus", StoreUnavailable, POLICY),
        }
        reranker = room.reranker
        self.pipeline = QueryPipeline(
            GuardedEmbedder(room.embedder, self.breakers["embedding"], Patience()),
            guarded(room.store, self.breakers["milvus"]),
            room.visibility,
            GuardedGenerator(room.generator, self.breakers["generation"], Patience()),
            reranker=None
            if reranker is None
            else GuardedReranker(reranker, self.breakers["reranker"], Patience()),
            cache=room.cache,
            settings=room.settings,
            retry=NO_WAIT,
            metrics=self.metrics,
        )

    def break_off(self, part: str) -> None:
        match part:
            case "embedding":
                self.room.embedder.error = EmbeddingUnavailable("out")
            case "generation":
                self.room.generator.fail_with(GenerationUnavailable("out"))
            case "reranker":
                assert self.room.reranker is not None
                self.room.reranker.error = RerankUnavailable("out")
            case _:
                self.room.store.error = StoreUnavailable("out")


@pytest.fixture
def made(room: Room) -> Guarded:
    room.generator = ScriptedGenerator(answers=[ANSWER])
    room.reranker = CountingReranker()
    return Guarded(room)


RUNGS = [
    ("embedding", "lexical_only"),
    ("reranker", "rerank_skipped"),
    ("generation", "extractive"),
]


@pytest.mark.parametrize(("part", "rung"), RUNGS)
async def test_a_part_that_is_out_costs_one_rung_and_soon_no_time(
    made: Guarded, part: str, rung: str
) -> None:
    made.break_off(part)
    answers = [await made.pipeline.answer(ask()) for _ in range(FEW)]
    assert made.breakers[part].state == "open"
    started = time.perf_counter()
    answers.append(await made.pipeline.answer(ask()))
    assert time.perf_counter() - started < AT_ONCE_S
    assert {answer.degraded for answer in answers} == {(rung,)}
    assert all("29 days" in answer.text for answer in answers)
    assert made.metrics.value(DEGRADED, rung=rung) == len(answers)


@pytest.mark.parametrize(("part", "rung"), RUNGS)
async def test_who_takes_no_lesser_answer_gets_the_open_breakers_error(
    made: Guarded, part: str, rung: str
) -> None:
    made.break_off(part)
    for _ in range(FEW):
        with pytest.raises(RagserveError):
            await made.pipeline.answer(ask(on_degraded="fail"))
    with pytest.raises(RagserveError) as refused:
        await made.pipeline.answer(ask(on_degraded="fail"))
    assert refused.value.details["breaker"] == "open"
    assert refused.value.details["retry_after_s"] > 25
    assert made.metrics.value(DEGRADED, rung=rung) == 0


async def test_a_reranker_without_room_is_done_without(made: Guarded) -> None:
    assert made.room.reranker is not None
    made.room.reranker.error = Overloaded("full", retry_after_s=1)
    assert (await made.pipeline.answer(ask())).degraded == ("rerank_skipped",)


async def test_a_search_is_sent_again_because_nothing_is_below_the_store(made: Guarded) -> None:
    failures = iter([StoreUnavailable("restarting")])
    search = made.room.store.search

    async def once_out(request: Any) -> Any:
        if error := next(failures, None):
            raise error
        return await search(request)

    made.room.store.search = once_out  # type: ignore[method-assign]
    answer = await made.pipeline.answer(ask())
    assert answer.answered
    assert answer.degraded == ()


async def test_without_the_store_a_kept_answer_is_served_and_others_are_refused_at_once(
    room: Room,
) -> None:
    room.generator = ScriptedGenerator(answers=[ANSWER])
    room.cache = MemoryCache()
    made = Guarded(room)
    await made.pipeline.answer(ask())
    made.break_off("milvus")
    for _ in range(FEW):
        with pytest.raises(StoreUnavailable):
            await made.pipeline.answer(ask("Who may carry over unused days?"))
    kept = await made.pipeline.answer(ask())
    assert kept.cached
    started = time.perf_counter()
    with pytest.raises(StoreUnavailable) as refused:
        await made.pipeline.answer(ask("Who may carry over unused days?"))
    assert time.perf_counter() - started < AT_ONCE_S
    assert refused.value.details["retry_after_s"] > 25


async def test_a_kept_answer_outlives_the_description_of_a_model_that_is_out(room: Room) -> None:
    room.cache = MemoryCache()
    room.settings = replace(room.settings, description_ttl_s=0.0)
    room.generator = ScriptedGenerator(answers=[ANSWER])
    made = Guarded(room)
    await made.pipeline.answer(ask())
    breaker = made.breakers["generation"]
    while breaker.state == "closed":
        breaker.failed(breaker.enter())
    kept = await made.pipeline.answer(ask())
    assert kept.cached
    assert kept.text == ANSWER


@pytest.mark.parametrize("wish", ["serve", "fail"])
async def test_without_the_cache_the_answer_says_so_and_nobody_minds(room: Room, wish: Any) -> None:
    room.cache = MemoryCache()
    room.cache.out = True
    room.generator = ScriptedGenerator(answers=[ANSWER])
    made = Guarded(room)
    answer = await made.pipeline.answer(ask(on_degraded=wish))
    assert answer.degraded == ("uncached",)
    assert answer.text == ANSWER
    assert made.metrics.value(DEGRADED, rung="uncached") == 1


async def test_without_fresh_state_the_rung_is_counted(made: Guarded) -> None:
    made.room.visibility.now = Snapshot(1, frozenset(), stale=True)
    assert (await made.pipeline.answer(ask())).degraded == ("state_stale",)
    assert made.metrics.value(DEGRADED, rung="state_stale") == 1
