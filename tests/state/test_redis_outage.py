"""Redis killed, hung and lost: what survives, and how long anybody waits."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from deployments.contracts.jobs import JobState
from deployments.contracts.limits import RateLimit
from deployments.errors import StateUnavailable
from deployments.state.api_keys import ApiKeyStore
from deployments.state.cache import RedisCache
from deployments.state.connection import connect
from deployments.state.keys import Keys, Lifetimes
from deployments.state.limits import RedisRateLimiter
from tests.services import ValkeyServer
from tests.state.conftest import Room, files_of, redis_room


@pytest.fixture
async def mortal(mortal_valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = connect(mortal_valkey.url, mortal_valkey.password)
    yield client
    await client.aclose()


async def test_a_killed_redis_comes_back_with_everything(
    mortal_valkey: ValkeyServer, mortal: Redis
) -> None:
    room = redis_room(mortal)
    lease = await room.started(10, 20)
    kept = await room.jobs.begin_file("job", 0, lease)
    await room.jobs.commit_file("job", 0, lease, version=kept, chunks=3, replaces=[7])
    await room.jobs.begin_file("job", 1, lease)
    await room.jobs.submit("next", room.collection, "alice", files_of(1), "key")
    claim = await room.queue.claim("supervisor", wait_s=0)
    assert claim is not None
    before = (
        await room.jobs.get("job"),
        await room.jobs.files("job"),
        await room.visibility.snapshot(room.collection),
        await room.visibility.due(time.time() + 60),
        await room.queue.depth(),
    )

    await asyncio.to_thread(mortal_valkey.restart)

    assert before == (
        await room.jobs.get("job"),
        await room.jobs.files("job"),
        await room.visibility.snapshot(room.collection),
        await room.visibility.due(time.time() + 60),
        await room.queue.depth(),
    )
    await room.lock.renew(lease)
    assert await room.queue.heartbeat(claim, "supervisor")
    assert (await room.jobs.submit("x", room.collection, "alice", files_of(1), "key")).id == "next"
    version = await room.jobs.begin_file("job", 1, lease)
    await room.jobs.commit_file("job", 1, lease, version=version, chunks=4)
    assert (await room.jobs.finish("job", lease)).state is JobState.COMPLETED


async def test_nothing_that_was_answered_is_lost_whenever_redis_is_killed(
    mortal_valkey: ValkeyServer, mortal: Redis
) -> None:
    room = redis_room(mortal)
    lease = await room.started(*([1] * 300))
    answered: list[int] = []
    under_way = asyncio.Event()

    async def work() -> None:
        for number in range(300):
            version = await room.jobs.begin_file("job", number, lease)
            await room.jobs.commit_file("job", number, lease, version=version, chunks=2)
            answered.append(number)
            if number == 50:
                under_way.set()

    worker = asyncio.create_task(work())
    await under_way.wait()
    await asyncio.to_thread(mortal_valkey.kill)
    with pytest.raises(StateUnavailable):
        await worker
    await asyncio.to_thread(mortal_valkey.start)

    job = await room.jobs.get("job")
    done = [file.spec.number for file in await room.jobs.files("job") if file.state == "DONE"]
    assert set(answered) <= set(done)
    assert len(done) - len(answered) <= 1  # done, but the answer was lost
    assert (job.files_done, job.chunks_done, job.bytes_done) == (
        len(done),
        2 * len(done),
        len(done),
    )
    hidden = await room.hidden()
    assert len(hidden) <= 1


async def test_a_queue_whose_state_was_lost_goes_on(
    mortal_valkey: ValkeyServer, mortal: Redis
) -> None:
    room = redis_room(mortal)
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    claim = await room.queue.claim("one", wait_s=0)
    assert claim is not None
    waiting = asyncio.create_task(room.queue.claim("two", wait_s=1))
    await asyncio.sleep(0.1)
    await mortal.flushall()

    assert await waiting is None
    assert not await room.queue.heartbeat(claim, "one")
    await room.queue.acknowledge(claim)
    await room.jobs.submit("job", room.collection, "alice", files_of(1))
    assert await room.queue.claim("one", wait_s=0) is not None


async def test_numbers_keep_growing_where_redis_came_back_empty(mortal: Redis) -> None:
    room = redis_room(mortal)
    lease = await room.started(1)
    version = await room.jobs.begin_file("job", 0, lease)
    await mortal.flushall()
    again = await room.started(1)
    assert again.fence > version
    assert await room.jobs.begin_file("job", 0, again) > version


async def test_with_redis_down_jobs_say_so(mortal_valkey: ValkeyServer, mortal: Redis) -> None:
    room = redis_room(mortal)
    lease = await room.started(1)
    mortal_valkey.kill()

    for call in (
        room.jobs.submit("x", room.collection, "alice", files_of(1)),
        room.jobs.get("job"),
        room.jobs.begin_file("job", 0, lease),
        room.jobs.page(),
        anext(room.jobs.events("job")),
        room.queue.claim("one"),
        room.queue.depth(),
        room.lock.acquire("c", "x"),
        room.lock.renew(lease),
        room.visibility.hide("c", [1]),
        room.visibility.due(0),
    ):
        with pytest.raises(StateUnavailable):
            await call


@pytest.mark.parametrize("failure", ["dead", "hung"])
async def test_queries_go_on_without_redis_and_soon(
    mortal_valkey: ValkeyServer, mortal: Redis, failure: str
) -> None:
    keys = Keys("t")
    room = redis_room(mortal)
    lease = await room.started(1)
    await room.jobs.begin_file("job", 0, lease)
    known = await room.visibility.snapshot(room.collection)
    store = ApiKeyStore(mortal, b"pepper", keys)
    text, _ = await store.create("dev", ["query"], ["*"])
    principal = await store.verify(text)
    cache = RedisCache(connect(mortal_valkey.url, mortal_valkey.password, decode=False), keys)
    await cache.set("k", b"v", 60)
    limiter = RedisRateLimiter(mortal, {"query": RateLimit(2, 60)}, keys)
    await limiter.hit("query", "alice")

    if failure == "dead":
        mortal_valkey.kill()
    else:
        os.kill(mortal_valkey.pid, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        for _ in range(20):
            snapshot = await room.visibility.snapshot(room.collection)
            assert snapshot.stale
            assert (snapshot.epoch, snapshot.hidden_versions) == (
                known.epoch,
                known.hidden_versions,
            )
            assert await cache.get("k") is None
            assert not await cache.set("k", b"v", 60)
            async with cache.flight("k", lease_s=5, wait_s=5) as value:
                assert value is None
            assert await store.verify(text) == principal
        # One timeout each, not one a query.
        assert time.monotonic() - began_s < 2.5
        assert [(await limiter.hit("query", "alice")).allowed for _ in range(3)] == [
            True,
            True,
            False,
        ]
    finally:
        if failure == "hung":
            os.kill(mortal_valkey.pid, signal.SIGCONT)
        else:
            mortal_valkey.start()
    await asyncio.sleep(1.1)
    assert not (await room.visibility.snapshot(room.collection)).stale
    assert await cache.get("k") == b"v"
    await cache._client.aclose()


async def test_a_search_with_nothing_known_and_redis_down_gets_an_answer_too(
    mortal_valkey: ValkeyServer, mortal: Redis
) -> None:
    room = redis_room(mortal)
    mortal_valkey.kill()
    assert (await room.visibility.snapshot("never_seen")).stale


async def test_a_wrong_password_is_an_unavailable_state(valkey: ValkeyServer) -> None:
    client = connect(valkey.url, "wrong")
    with pytest.raises(StateUnavailable):
        await redis_room(client).queue.depth()
    await client.aclose()


async def test_a_long_wait_for_a_job_does_not_trip_the_timeout(client: Redis) -> None:
    room = redis_room(client)
    began_s = time.monotonic()
    assert await room.queue.claim("one", wait_s=5.5) is None
    assert 5 < time.monotonic() - began_s < 8


async def test_a_full_redis_refuses_and_changes_nothing(client: Redis) -> None:
    room = redis_room(client)
    lease = await room.started(1)
    before = await room.jobs.get("job")
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(StateUnavailable):
            await room.jobs.begin_file("job", 0, lease)
        with pytest.raises(StateUnavailable):
            await room.jobs.submit("x", room.collection, "alice", files_of(1))
    finally:
        await client.config_set("maxmemory", "0")
    assert await room.jobs.get("job") == before
    assert await room.hidden() == frozenset()
    assert (await room.jobs.page(owner="alice"))[0] == [before]


async def test_expired_jobs_leave_no_key_behind(client: Redis) -> None:
    lifetimes = Lifetimes(job_s=0.05, idempotency_s=0.05)
    room: Room = redis_room(client, lifetimes)
    prefix = room.jobs._keys.prefix  # type: ignore[attr-defined]
    for n in range(5):
        owner = f"owner-{uuid.uuid4().hex}"
        await room.jobs.submit(f"job-{n}", f"c{n}", owner, files_of(1), "key")
        await room.jobs.cancel(f"job-{n}")
        claim = await room.queue.claim("one", wait_s=0)
        assert claim is not None
        await room.queue.acknowledge(claim)
    await asyncio.sleep(0.1)
    await room.jobs.submit("last", "last", "last", files_of(1))

    left = {key.removeprefix(prefix) async for key in client.scan_iter(f"{prefix}:*")}
    assert left == {
        ":sequence",
        ":job:last",
        ":job:last:specs",
        ":job:last:files",
        ":job:last:events",
        ":jobs",
        ":jobs:owner:last",
        ":jobs:collection:last",
        ":jobs:pending",
        ":jobs:active",
        ":queue",
    }


async def test_with_the_cache_down_a_process_still_computes_once_and_waits_not_for_nothing(
    mortal_valkey: ValkeyServer,
) -> None:
    client = connect(mortal_valkey.url, mortal_valkey.password, decode=False)
    cache = RedisCache(client)
    computed = 0
    mortal_valkey.kill()

    async def ask() -> bytes:
        nonlocal computed
        async with cache.flight("q", lease_s=30, wait_s=30) as value:
            if value is not None:
                return value
            computed += 1
            await asyncio.sleep(0.2)
            assert not await cache.set("q", b"answer", 60)
            return b"answer"

    async def ask_and_keep_nothing() -> None:
        async with cache.flight("other", lease_s=30, wait_s=30) as value:
            assert value is None
            await asyncio.sleep(0.1)

    async with asyncio.timeout(5):
        assert set(await asyncio.gather(*(ask() for _ in range(50)))) == {b"answer"}
        await asyncio.gather(*(ask_and_keep_nothing() for _ in range(50)))
    assert computed == 1
    await client.aclose()


async def test_two_replicas_make_one_computation_between_them(valkey: ValkeyServer) -> None:
    keys = Keys(f"t{uuid.uuid4().hex}")
    clients = [connect(valkey.url, valkey.password, decode=False) for _ in range(2)]
    replicas = [RedisCache(client, keys) for client in clients]
    computed = 0

    async def ask(cache: RedisCache) -> bytes:
        nonlocal computed
        async with cache.flight("q", lease_s=5, wait_s=5) as value:
            if value is not None:
                return value
            computed += 1
            await asyncio.sleep(0.2)
            await cache.set("q", b"answer", 60)
            return b"answer"

    async with asyncio.timeout(10):
        answers = await asyncio.gather(*(ask(replicas[n % 2]) for n in range(60)))
    assert set(answers) == {b"answer"}
    assert computed == 1
    for client in clients:
        await client.aclose()


async def test_a_leader_cancelled_before_it_computes_gives_the_lead_back(
    valkey: ValkeyServer,
) -> None:
    client = connect(valkey.url, valkey.password, decode=False)
    keys = Keys(f"t{uuid.uuid4().hex}")
    for pause_s in (0.0, 0.0005, 0.001, 0.002, 0.003):
        key = f"q{pause_s}"

        async def ask(key: str) -> None:
            async with RedisCache(client, keys).flight(key, lease_s=60, wait_s=60):
                await asyncio.sleep(60)

        leader = asyncio.create_task(ask(key))
        await asyncio.sleep(pause_s)
        leader.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leader
        cache = RedisCache(client, keys)
        async with asyncio.timeout(2), cache.flight(key, lease_s=1, wait_s=60) as value:
            assert value is None
    await client.aclose()


async def test_a_cancelled_caller_is_cancelled_wherever_it_is(valkey: ValkeyServer) -> None:
    for steps in range(40):
        client = connect(valkey.url, valkey.password)
        room = redis_room(client)
        caller = asyncio.create_task(room.queue.claim("one", wait_s=5))
        for _ in range(steps):
            await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            async with asyncio.timeout(2):
                await caller
        await client.aclose()
