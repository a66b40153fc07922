"""The state room twice: in memory and over a real Valkey."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deployments.contracts.jobs import (
    CollectionLock,
    FileSpec,
    JobQueue,
    JobStore,
    Lease,
    Visibility,
)
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.keys import Keys, Lifetimes
from deployments.state.locks import RedisCollectionLock
from deployments.state.memory.jobs import MemoryJobStore
from deployments.state.memory.locks import MemoryCollectionLock
from deployments.state.memory.queue import MemoryJobQueue
from deployments.state.memory.visibility import MemoryVisibility
from deployments.state.memory.world import World
from deployments.state.policies import JobLimits
from deployments.state.queue import RedisJobQueue
from deployments.state.visibility import RedisVisibility
from tests.services import ValkeyServer

QUICK = JobLimits(event_poll_s=0.02)


@dataclass
class Room:
    """The ports of the state room over one state."""

    jobs: JobStore
    queue: JobQueue
    lock: CollectionLock
    visibility: Visibility
    collection: str = field(default_factory=lambda: f"c{uuid.uuid4().hex[:8]}")

    async def lease(self, owner: str = "supervisor") -> Lease:
        lease = await self.lock.acquire(self.collection, owner)
        assert lease is not None
        return lease

    async def started(self, *sizes: int, job_id: str = "job") -> Lease:
        """Submit a job with files of these sizes and start it."""
        await self.jobs.submit(job_id, self.collection, "alice", files_of(*sizes))
        lease = await self.lease()
        await self.jobs.start(job_id, lease)
        return lease

    async def hidden(self) -> frozenset[int]:
        return (await self.visibility.snapshot(self.collection)).hidden_versions


MakeRoom = Callable[..., Room]


def files_of(*sizes: int) -> list[FileSpec]:
    return [
        FileSpec(
            number=number,
            document_id=f"doc-{number}",
            name=f"file {number}.md",
            source=f"upload:{number}",
            blob_url=f"file:///blobs/{number}",
            content_type="text/markdown",
            content_hash=f"hash-{number}",
            size_bytes=size,
            metadata={"year": 2024, "tags": ["a", "b"]},
        )
        for number, size in enumerate(sizes)
    ]


def redis_room(
    client: Redis, lifetimes: Lifetimes | None = None, limits: JobLimits = QUICK
) -> Room:
    keys = Keys(prefix=f"t{uuid.uuid4().hex[:8]}")
    return Room(
        jobs=RedisJobStore(client, keys, lifetimes, limits),
        queue=RedisJobQueue(client, keys, lifetimes),
        lock=RedisCollectionLock(client, keys, lifetimes),
        visibility=RedisVisibility(client, keys, lifetimes),
    )


def memory_room(lifetimes: Lifetimes | None = None, limits: JobLimits = QUICK) -> Room:
    world = World(lifetimes=lifetimes or Lifetimes())
    return Room(
        jobs=MemoryJobStore(world, limits),
        queue=MemoryJobQueue(world),
        lock=MemoryCollectionLock(world),
        visibility=MemoryVisibility(world),
    )


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path_factory.mktemp("valkey")).start()
    yield server
    server.stop()


@pytest.fixture
def mortal_valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    """One of the test's own, to be killed."""
    server = ValkeyServer(tmp_path / "valkey").start()
    yield server
    server.kill()


@pytest.fixture
async def client(valkey: ValkeyServer) -> AsyncIterator[Redis]:
    client = connect(valkey.url, valkey.password)
    yield client
    await client.aclose()


@pytest.fixture(params=["memory", "valkey"])
def make_room(request: pytest.FixtureRequest) -> MakeRoom:
    """Make a room of its own state, with the lifetimes and limits the test wants."""
    if request.param == "memory":
        return memory_room
    client: Redis = request.getfixturevalue("client")
    return lambda lifetimes=None, limits=QUICK: redis_room(client, lifetimes, limits)


@pytest.fixture
def room(make_room: MakeRoom) -> Room:
    return make_room()
