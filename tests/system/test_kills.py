"""Processes of the real system are killed in mid-job: the job completes by itself, whole."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.conftest import RunningSystem
from tests.system.struck_jobs import (
    FILES,
    Passages,
    documents,
    ended,
    fresh_collection,
    passages,
    processes_of,
    undisturbed,
)

logger = logging.getLogger(__name__)

KINDS = ("worker", "state", "milvus", "supervisor")
STORE_DOWN_S = 1.0


async def kill_ray_process(system: RunningSystem, title: str, goes_on: Callable[[], bool]) -> bool:
    while goes_on():
        if found := processes_of(system.embedded.node.child, title):
            found[0].send_signal(signal.SIGKILL)
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


@pytest.fixture(scope="module")
async def expected(system: RunningSystem) -> Passages:
    return await undisturbed(system, documents())


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
