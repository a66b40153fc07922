"""Identical questions on several replicas, which share a cache and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from query_room import Room, ask, eventually
from services import ValkeyServer

from deployments.generation.memory import ScriptedGenerator
from deployments.query import pipeline as pipeline_module
from deployments.query.pipeline import QueryPipeline
from deployments.state.cache import RedisCache
from deployments.state.connection import connect
from deployments.state.memory.cache import MemoryCache


def replicas(room: Room, generator: ScriptedGenerator, *caches: Any) -> list[QueryPipeline]:
    return [replace(room, generator=generator, cache=cache).pipeline() for cache in caches]


@pytest.fixture(params=["memory", "redis"])
async def caches(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Any, Any]]:
    """The cache as two replicas see it."""
    if request.param == "memory":
        shared = MemoryCache()
        yield shared, shared
        return
    server = ValkeyServer(tmp_path).start()
    url = server.url.replace("redis://", f"redis://:{server.password}@")
    clients = [connect(url, decode=False) for _ in range(2)]
    yield RedisCache(clients[0]), RedisCache(clients[1])
    for client in clients:
        await client.aclose()
    server.stop()


async def test_a_hundred_identical_questions_make_one_generation(
    room: Room, caches: tuple[Any, Any]
) -> None:
    generator = ScriptedGenerator(answers=["29 days."], token_ms=20)
    one, other = replicas(room, generator, *caches)
    answers = await asyncio.gather(
        *(pipeline.answer(ask(scope="all")) for _ in range(50) for pipeline in (one, other))
    )
    assert len(generator.requests) == 1
    assert {answer.text for answer in answers} == {answers[0].text}


async def test_another_scope_shares_no_generation(room: Room, caches: tuple[Any, Any]) -> None:
    generator = ScriptedGenerator(answers=["29 days."], token_ms=20)
    one, other = replicas(room, generator, *caches)
    await asyncio.gather(one.answer(ask(scope="a")), other.answer(ask(scope="b")))
    assert len(generator.requests) == 2


async def test_a_caller_who_leaves_lets_the_other_replica_answer(
    room: Room, caches: tuple[Any, Any]
) -> None:
    generator = ScriptedGenerator(answers=["29 days. " * 10], token_ms=20)
    one, other = replicas(room, generator, *caches)
    leader = asyncio.create_task(one.answer(ask(scope="left")))
    await eventually(lambda: len(generator.requests) == 1)
    follower = asyncio.create_task(other.answer(ask(scope="left")))
    await asyncio.sleep(0.1)
    leader.cancel()
    assert (await asyncio.wait_for(follower, 10)).answered
    assert len(generator.requests) == 2


async def test_a_dead_replica_is_waited_for_no_longer_than_its_lease(
    room: Room, caches: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline_module, "FLIGHT_LEASE_S", 0.3)
    hung, quick = (
        ScriptedGenerator(answers=["29 days."], token_ms=60_000),
        ScriptedGenerator(answers=["29."]),
    )
    (dead,), (alive,) = replicas(room, hung, caches[0]), replicas(room, quick, caches[1])
    leader = asyncio.create_task(dead.answer(ask(scope="dead")))
    await eventually(lambda: len(hung.requests) == 1)
    assert (await asyncio.wait_for(alive.answer(ask(scope="dead")), 5)).answered
    assert len(quick.requests) == 1
    leader.cancel()
    await asyncio.gather(leader, return_exceptions=True)
