"""The Cache's contract."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from deployments.state.cache import RedisCache
from deployments.state.connection import connect
from deployments.state.keys import Keys
from deployments.state.memory.cache import MemoryCache
from tests.services import ValkeyServer


@pytest.fixture(params=["memory", "valkey"])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[RedisCache | MemoryCache]:
    if request.param == "memory":
        yield MemoryCache(max_value_bytes=100)
        return
    valkey: ValkeyServer = request.getfixturevalue("valkey")
    client = connect(valkey.url, valkey.password, decode=False)
    yield RedisCache(client, Keys(f"t{uuid.uuid4().hex}"), max_value_bytes=100)
    await client.aclose()


async def test_bytes_come_back_as_they_went_in(cache: RedisCache | MemoryCache) -> None:
    assert await cache.get("k") is None
    assert await cache.set("k", b"\xff\x00 \xc3", 60)
    assert await cache.get("k") == b"\xff\x00 \xc3"
    assert (cache.counts.hits, cache.counts.misses) == (1, 1)


async def test_a_value_is_forgotten_after_its_time(cache: RedisCache | MemoryCache) -> None:
    await cache.set("k", b"v", 0.05)
    await asyncio.sleep(0.1)
    assert await cache.get("k") is None


async def test_a_value_too_large_is_not_kept(cache: RedisCache | MemoryCache) -> None:
    assert not await cache.set("k", b"x" * 101, 60)
    assert await cache.get("k") is None
    assert cache.counts.oversized == 1


async def test_a_hundred_identical_questions_make_one_computation(
    cache: RedisCache | MemoryCache,
) -> None:
    computed = 0

    async def ask() -> bytes:
        nonlocal computed
        async with cache.flight("q", lease_s=5, wait_s=5) as value:
            if value is not None:
                return value
            computed += 1
            await asyncio.sleep(0.1)
            await cache.set("q", b"answer", 60)
            return b"answer"

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(ask() for _ in range(100)))
    assert set(answers) == {b"answer"}
    assert computed == 1


async def test_when_the_leader_fails_another_takes_the_lead(
    cache: RedisCache | MemoryCache,
) -> None:
    async def fail() -> None:
        async with cache.flight("q", lease_s=5, wait_s=5):
            await asyncio.sleep(0.05)
            raise ValueError

    leader = asyncio.create_task(fail())
    await asyncio.sleep(0.02)
    async with asyncio.timeout(2), cache.flight("q", lease_s=5, wait_s=5) as value:
        assert value is None
    with pytest.raises(ValueError):  # noqa: PT011
        await leader


async def test_a_silent_leader_is_given_up_on(cache: RedisCache | MemoryCache) -> None:
    async with (
        asyncio.timeout(2),
        cache.flight("q", lease_s=0.1, wait_s=5),
        cache.flight("q", lease_s=5, wait_s=5) as value,
    ):
        assert value is None


async def test_nobody_waits_longer_than_it_wants(cache: RedisCache | MemoryCache) -> None:
    async with (
        asyncio.timeout(2),
        cache.flight("q", lease_s=60, wait_s=5),
        cache.flight("q", lease_s=60, wait_s=0.1) as value,
    ):
        assert value is None


async def test_one_that_only_waited_leaves_the_lead_to_the_leader(
    cache: RedisCache | MemoryCache,
) -> None:
    async with asyncio.timeout(2), cache.flight("q", lease_s=60, wait_s=5):
        async with cache.flight("q", lease_s=60, wait_s=0.1):
            pass
        other = asyncio.create_task(_enter(cache))
        await asyncio.sleep(0.15)
        assert not other.done()
        other.cancel()


async def _enter(cache: RedisCache | MemoryCache) -> None:
    async with cache.flight("q", lease_s=60, wait_s=60):
        pass
