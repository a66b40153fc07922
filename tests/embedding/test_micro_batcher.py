"""Batches across callers, seen through an engine that records them."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from deployments.contracts.embedding import Lane
from deployments.embedding.batcher import (
    INGESTION_NICENESS,
    RUN_TOKENS,
    BatchLimits,
    MicroBatcher,
)
from deployments.errors import EmbeddingUnavailable, Overloaded


class Engine:
    """Upper-cases texts, one batch each time it is let go; an item's size is its length."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.started = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def compute(self, batch: list[str]) -> list[str]:
        self.batches.append(batch)
        self.started.release()
        assert self.may_end.acquire(timeout=10)
        if "bad" in batch:
            raise ValueError("a bad text")
        return [text.upper() for text in batch]

    def let_go(self, batches: int = 100) -> None:
        self.may_end.release(batches)

    async def busy(self) -> None:
        """Wait until it has begun another batch."""
        assert await asyncio.to_thread(self.started.acquire, timeout=10)


Batcher = MicroBatcher[str, str]


@asynccontextmanager
async def batching(
    tokens: int = 100, waiting: int = 100, workers: int = 1
) -> AsyncIterator[tuple[Batcher, Engine]]:
    engine = Engine()
    limits = BatchLimits(tokens=tokens, waiting=waiting)
    batcher: Batcher = MicroBatcher(engine.compute, len, limits, workers)
    yield batcher, engine
    engine.let_go()
    await batcher.aclose()


async def submitted(
    batcher: Batcher, *texts: str, lane: Lane = Lane.QUERY
) -> asyncio.Task[list[str]]:
    """A call that is already in the queue."""
    task = asyncio.create_task(batcher.submit(texts, lane))
    await asyncio.sleep(0)
    return task


async def test_an_idle_engine_gets_a_text_at_once() -> None:
    async with batching() as (batcher, engine):
        call = await submitted(batcher, "one")
        await engine.busy()
        engine.let_go()
        assert await call == ["ONE"]


async def test_calls_that_come_while_the_engine_is_busy_share_its_next_batch() -> None:
    async with batching() as (batcher, engine):
        calls = [await submitted(batcher, "first")]
        await engine.busy()
        calls += [await submitted(batcher, text) for text in ("a", "b", "c")]
        engine.let_go()

        assert [await call for call in calls] == [["FIRST"], ["A"], ["B"], ["C"]]
        assert [sorted(batch) for batch in engine.batches] == [["first"], ["a", "b", "c"]]


async def test_order_is_kept_across_batches_of_similar_lengths() -> None:
    texts = ["x" * length for length in (9, 1, 5, 2, 8, 1, 9, 3)]
    async with batching(tokens=18) as (batcher, engine):
        engine.let_go()
        assert await batcher.submit(texts, Lane.QUERY) == [text.upper() for text in texts]
        assert len(engine.batches) > 2


async def test_no_batch_costs_more_padded_tokens_than_allowed() -> None:
    async with batching(tokens=20) as (batcher, engine):
        engine.let_go()
        await batcher.submit(["x" * (n % 10 + 1) for n in range(60)], Lane.QUERY)
        assert max(max(map(len, batch)) * len(batch) for batch in engine.batches) <= 20


async def test_a_text_longer_than_a_batch_goes_alone() -> None:
    async with batching(tokens=3) as (batcher, engine):
        engine.let_go()
        assert await batcher.submit(["longer", "a"], Lane.QUERY) == ["LONGER", "A"]
        assert engine.batches == [["longer"], ["a"]]


@pytest.mark.parametrize(("longer", "batches"), [(RUN_TOKENS, 1), (RUN_TOKENS + 1, 2)])
async def test_a_text_joins_a_batch_where_padding_costs_less_than_another_run(
    longer: int, batches: int
) -> None:
    async with batching(tokens=1000) as (batcher, engine):
        engine.let_go()
        await batcher.submit(["x" * 10, "y" * (10 + longer)], Lane.QUERY)
        assert len(engine.batches) == batches


async def test_similar_lengths_share_a_batch() -> None:
    async with batching(tokens=40) as (batcher, engine):
        engine.let_go()
        await batcher.submit(["x" * 10, "y", "x" * 10, "y", "x" * 10, "y", "x" * 10], Lane.QUERY)
        assert [{len(text) for text in batch} for batch in engine.batches] == [{10}, {1}]


async def test_a_question_does_not_wait_for_a_batch_of_chunks() -> None:
    async with batching(tokens=2) as (batcher, engine):
        chunks = await submitted(batcher, "c1", "c2", "c3", lane=Lane.INGESTION)
        await engine.busy()
        question = await submitted(batcher, "q")
        await engine.busy()
        assert engine.batches == [["c1"], ["q"]], "both are under way"
        engine.let_go()
        await asyncio.gather(chunks, question)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives threads a niceness")
async def test_the_kernel_prefers_questions_to_chunks() -> None:
    def niceness(batch: list[str]) -> list[str]:
        return [str(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))] * len(batch)

    batcher: Batcher = MicroBatcher(niceness, len)
    [chunk] = await batcher.submit(["chunk"], Lane.INGESTION)
    [question] = await batcher.submit(["question"], Lane.QUERY)
    await batcher.aclose()
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert (int(question), int(chunk)) == (own, INGESTION_NICENESS)


async def test_as_many_batches_are_under_way_as_there_are_workers() -> None:
    async with batching(tokens=1, workers=3) as (batcher, engine):
        call = await submitted(batcher, *"abcde", lane=Lane.INGESTION)
        for _ in range(3):
            await engine.busy()
        assert sorted(engine.batches) == [["a"], ["b"], ["c"]]
        engine.let_go()
        assert await call == list("ABCDE")


async def test_the_oldest_text_is_in_the_next_batch_however_odd_its_length() -> None:
    async with batching(tokens=10) as (batcher, engine):
        calls = [await submitted(batcher, "x")]
        await engine.busy()
        calls += [await submitted(batcher, text) for text in ("longlong", "a", "b", "c")]
        engine.let_go()
        await asyncio.gather(*calls)
        assert engine.batches[1] == ["longlong"]


async def test_what_a_cancelled_caller_still_waits_for_is_not_computed() -> None:
    async with batching(tokens=1) as (batcher, engine):
        left = await submitted(batcher, *"abcd")
        await engine.busy()
        stays = await submitted(batcher, "z")
        left.cancel()
        await asyncio.wait({left})
        engine.let_go()
        assert await stays == ["Z"]
        assert engine.batches == [["a"], ["z"]]


async def test_an_engines_error_reaches_only_the_callers_of_its_batch() -> None:
    async with batching(tokens=3) as (batcher, engine):
        engine.let_go()
        bad, fine = await asyncio.gather(
            batcher.submit(["bad", "never"], Lane.QUERY),
            batcher.submit(["fin"], Lane.QUERY),
            return_exceptions=True,
        )
        assert isinstance(bad, ValueError)
        assert fine == ["FIN"]
        assert ["never"] not in engine.batches
        assert await batcher.submit(["on"], Lane.QUERY) == ["ON"]


async def test_an_engine_that_loses_a_text_is_an_error_and_not_a_caller_who_waits_forever() -> None:
    batcher: Batcher = MicroBatcher(lambda batch: batch[1:], len)
    with pytest.raises(ValueError, match="shorter"):
        await batcher.submit(["a", "b"], Lane.QUERY)
    await batcher.aclose()


async def test_a_full_lane_refuses_and_the_other_lane_does_not() -> None:
    async with batching(tokens=1, waiting=2) as (batcher, engine):
        calls = [await submitted(batcher, "a", "b", "c", lane=Lane.INGESTION)]
        await engine.busy()
        with pytest.raises(Overloaded) as refusal:
            await batcher.submit(["d"], Lane.INGESTION)
        assert refusal.value.details["retry_after_s"] > 0
        calls.append(await submitted(batcher, "q"))
        engine.let_go()
        await asyncio.gather(*calls)


async def test_closing_fails_who_waits_and_lets_the_batch_under_way_end() -> None:
    async with batching(tokens=1) as (batcher, engine):
        calls = [await submitted(batcher, text) for text in ("a", "b")]
        await engine.busy()
        closing = asyncio.create_task(batcher.aclose())
        await asyncio.sleep(0)
        engine.let_go()
        await closing
        assert await calls[0] == ["A"]
        with pytest.raises(EmbeddingUnavailable):
            await calls[1]
        with pytest.raises(EmbeddingUnavailable):
            await batcher.submit(["c"], Lane.QUERY)


async def test_no_texts_need_no_engine() -> None:
    async with batching() as (batcher, engine):
        assert await batcher.submit([], Lane.QUERY) == []
        assert engine.batches == []
