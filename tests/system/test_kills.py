"""Processes of the real system are killed in mid-job: the job completes by itself, whole."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from deployments.retrieval.milvus import MilvusStore
from deployments.state.connection import connect
from deployments.state.visibility import RedisVisibility
from serve_app.client import ApiError, AsyncRagserve, ClientError
from serve_app.schemas import JobOut, TextDocument, TextDocuments
from tests.conftest import RunningSystem

logger = logging.getLogger(__name__)

FILES = 40
WORDS = 300
PATIENCE_S = 150.0
KINDS = ("worker", "state", "milvus", "supervisor")
STORE_DOWN_S = 1.0

Passages = frozenset[tuple[str, int, str]]


def documents() -> TextDocuments:
    """The same texts at each call, of about seven passages each."""
    chance = random.Random("kills")
    words = [f"{a}{b}" for a in ("kes", "mer", "lin", "tor", "bal") for b in ("trel", "lin", "net")]
    return TextDocuments(
        documents=[
            TextDocument(
                title=f"Report {number}",
                text="\n\n".join(
                    " ".join(chance.choices(words, k=100)) + "." for _ in range(WORDS // 100)
                ),
            )
            for number in range(FILES)
        ]
    )


def process_of(system: RunningSystem, title: str) -> psutil.Process | None:
    """A process of this system's Ray node, by what it calls itself."""
    ray = psutil.Process(system.embedded.node.child.process.pid)
    for process in ray.children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] and process.cmdline()[0].startswith(title):
                return process
    return None


async def kill_ray_process(system: RunningSystem, title: str, goes_on: Callable[[], bool]) -> bool:
    while goes_on():
        if (process := process_of(system, title)) is not None:
            process.send_signal(signal.SIGKILL)
            return True
        await asyncio.sleep(0.05)
    return False


async def strike(system: RunningSystem, kind: str, goes_on: Callable[[], bool]) -> bool:
    """Kill one process of that kind, once there is one. False: the job ended first."""
    if kind == "worker":
        return await kill_ray_process(system, "ray::ingest_file", goes_on)
    if kind == "supervisor":
        return await kill_ray_process(system, "ray::ServeReplica:ingestion", goes_on)
    name = {"state": "redis-state", "milvus": "milvus"}[kind]
    child = system.embedded.stores[name]
    os.kill(child.process.pid, signal.SIGKILL)
    child.process.wait()
    await asyncio.sleep(STORE_DOWN_S)
    assert name in system.embedded.restart_dead()
    return True


async def passages(system: RunningSystem, collection: str) -> Passages:
    """What a search can see of a collection."""
    environment = system.embedded.environment
    redis = connect(environment["REDIS_URL"])
    store = MilvusStore(environment["MILVUS_URI"])
    try:
        hidden = (await RedisVisibility(redis).snapshot(collection)).hidden_versions
        found = await store.list_documents(collection, limit=1000, hidden_versions=hidden)
        chunks = [
            chunk
            for document in found
            for chunk in await store.get_chunks(
                collection, document.id, document.version, range(document.chunk_count)
            )
        ]
        assert len(chunks) == await store.count_chunks(collection, hidden)
    finally:
        await store.close()
        await redis.aclose()
    named = frozenset((c.document.source, c.number, c.text) for c in chunks)
    assert len(named) == len(chunks), "a document is there twice"
    return named


async def ended(client: AsyncRagserve, job_id: str) -> JobOut:
    """The job once it has ended; a service that is out meanwhile is asked again."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(ClientError):
                job = await client.get_job(job_id)
                if job.state in ("COMPLETED", "FAILED", "CANCELLED"):
                    return job
            await asyncio.sleep(0.2)


async def fresh_collection(client: AsyncRagserve, name: str) -> str:
    with suppress(ApiError):
        await client.delete_collection(name)
    await client.create_collection(name)
    return name


@pytest.fixture(scope="module")
async def expected(system: RunningSystem) -> Passages:
    async with system.client() as client:
        collection = await fresh_collection(client, "undisturbed")
        job = await ended(client, (await client.add_texts(collection, documents())).id)
        assert (job.state, job.progress.files_done) == ("COMPLETED", FILES), job
    return await passages(system, collection)


async def ingest_under_fire(system: RunningSystem, kinds: list[str], seed: int) -> Passages:
    chance = random.Random(seed)
    started = time.monotonic()
    async with system.client() as client:
        collection = await fresh_collection(client, f"struck_{seed}")
        job_id = (await client.add_texts(collection, documents())).id
        ending = asyncio.create_task(ended(client, job_id))
        struck = []
        for kind in kinds:
            await asyncio.sleep(chance.uniform(0.1, 2.0))
            if await strike(system, kind, lambda: not ending.done()):
                struck.append(kind)
        job = await ending
    seconds = time.monotonic() - started
    logger.info("seed %d: killed %s; %s in %.0f s", seed, struck, job.state, seconds)
    assert struck, "the job was done before anything was killed"
    assert job.state == "COMPLETED", job
    assert (job.progress.files_done, job.progress.files_failed) == (FILES, 0), job.files
    return await passages(system, collection)


async def test_a_job_survives_one_death_of_every_kind(system, expected):
    kinds = ["worker", "milvus", "state", "supervisor"]
    assert await ingest_under_fire(system, kinds, seed=0) == expected


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(1, 6))
async def test_a_job_survives_deaths_at_any_moment(system, expected, kind, seed):
    assert await ingest_under_fire(system, [kind], seed) == expected


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 110))
async def test_a_job_survives_many_deaths_in_any_order(system, expected, seed):
    chance = random.Random(seed)
    assert await ingest_under_fire(system, chance.choices(KINDS, k=6), seed) == expected
