from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from query_room import Room, ask

from deployments.contracts.generation import Message
from deployments.contracts.jobs import Snapshot
from deployments.contracts.query import SearchOptions
from deployments.contracts.retrieval import SearchMode
from deployments.errors import EmbeddingUnavailable, StoreUnavailable
from deployments.query.answer_cache import answer_key, pack, unpack
from deployments.state.memory.cache import MemoryCache


@pytest.fixture
async def cached(room: Room) -> Room:
    room.cache = MemoryCache()
    return room


async def test_the_same_question_again_is_answered_without_any_engine(cached: Room) -> None:
    pipeline = cached.pipeline()
    first = await pipeline.answer(ask())
    cached.embedder.calls.clear()
    second = await pipeline.answer(ask())
    assert (first.cached, second.cached) == (False, True)
    assert replace(second, cached=False, timings_ms={}) == replace(first, timings_ms={})
    assert len(cached.generator.requests) == 1
    assert cached.embedder.calls == []
    assert set(second.timings_ms) == {"queue", "total"}


async def test_a_kept_answer_outlives_the_store(cached: Room) -> None:
    pipeline = cached.pipeline()
    await pipeline.answer(ask())
    cached.store.error = StoreUnavailable("out")
    assert (await pipeline.answer(ask())).cached


async def test_a_commit_to_the_collection_makes_kept_answers_unreachable(cached: Room) -> None:
    pipeline = cached.pipeline()
    await pipeline.answer(ask())
    cached.visibility.now = Snapshot(2, frozenset())
    assert not (await pipeline.answer(ask())).cached


async def test_another_scope_never_sees_a_kept_answer(cached: Room) -> None:
    pipeline = cached.pipeline()
    await pipeline.answer(ask(scope="tenant-a"))
    assert not (await pipeline.answer(ask(scope="tenant-b"))).cached


async def test_a_stale_view_neither_reads_nor_writes(cached: Room) -> None:
    pipeline = cached.pipeline()
    cached.visibility.now = Snapshot(1, frozenset(), stale=True)
    await pipeline.answer(ask())
    cached.visibility.now = Snapshot(1, frozenset())
    assert not (await pipeline.answer(ask())).cached
    cached.visibility.now = Snapshot(1, frozenset(), stale=True)
    assert not (await pipeline.answer(ask())).cached


async def test_a_degraded_answer_is_not_kept(cached: Room) -> None:
    pipeline = cached.pipeline()
    cached.embedder.error = EmbeddingUnavailable("out")
    assert (await pipeline.answer(ask())).degraded
    cached.embedder.error = None
    answer = await pipeline.answer(ask())
    assert not answer.cached
    assert not answer.degraded


async def test_the_caller_may_do_without(cached: Room) -> None:
    pipeline = cached.pipeline()
    for _ in range(2):
        assert not (await pipeline.answer(ask(cache=False))).cached


async def test_bytes_of_another_shape_are_a_miss(cached: Room) -> None:
    answer = await cached.pipeline().answer(ask())
    assert unpack(pack(answer)) == replace(answer, cached=True)
    for data in (b"", b"{}", b"[1]", b'{"text": 1}', b"\xff", pack(answer)[:-9]):
        assert unpack(data) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"collection": "other"},
        {"question": "Another?"},
        {"history": (Message("user", "Before"),)},
        {"options": SearchOptions(top_k=3)},
        {"options": SearchOptions(mode=SearchMode.DENSE)},
        {"options": SearchOptions(filter={"field": "year", "eq": 2024})},
        {"answer": "extract"},
        {"max_tokens": 7},
        {"temperature": 0.5},
        {"scope": "tenant-b"},
    ],
)
def test_everything_that_decides_an_answer_is_in_its_key(changes: dict[str, Any]) -> None:
    key = answer_key(ask(), [1], "model", "settings")
    assert key == answer_key(ask(), [1], "model", "settings")
    assert answer_key(ask(**changes), [1], "model", "settings") != key


def test_epoch_model_and_settings_are_in_the_key() -> None:
    keys = {
        answer_key(ask(), [1], "model", "settings"),
        answer_key(ask(), [2], "model", "settings"),
        answer_key(ask(), [1], "other", "settings"),
        answer_key(ask(), [1], "model", "others"),
    }
    assert len(keys) == 4
