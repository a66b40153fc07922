"""Two supervisors and two nodes: one sleeps past its lease, or dies, and the other goes on."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from redis.asyncio import Redis

from deployments.contracts.jobs import Job
from deployments.state.connection import connect
from deployments.state.jobs import RedisJobStore
from deployments.state.keys import Keys
from deployments.state.queue import GROUP
from serve_app.embedded.processes import Child, free_port
from serve_app.embedded.ray_node import OBJECT_STORE_BYTES
from tests.conftest import RunningSystem, system_in
from tests.system.struck_jobs import (
    Passages,
    documents,
    ended,
    fresh_collection,
    passages,
    processes_of,
    undisturbed,
)

pytestmark = pytest.mark.soak

FILES = 60
SENT = documents(FILES)
LEASE_S = 2.0
CLAIM_TIMEOUT_S = 3.0
"""Longer than the lease: whoever has been found dead has lost its lease, too."""
NODE_TIMEOUT_S = 60.0


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """A system with two supervisors that soon take each other for dead.

    Tasks of one that sleeps keep their processors: those of the other need some, too.
    """
    ingestion = {
        "supervisor": {"replicas": 2, "cpus": 0.1},
        "claim_timeout_s": CLAIM_TIMEOUT_S,
        "lease_s": LEASE_S,
        "files_in_flight": 4,
    }
    with system_in(tmp_path_factory.mktemp("pair"), alone=False, **ingestion) as running:
        yield running


@pytest.fixture(scope="module")
async def expected(pair: RunningSystem) -> Passages:
    return await undisturbed(pair, SENT)


@pytest.fixture
async def redis(pair: RunningSystem) -> AsyncIterator[Redis]:
    client = connect(pair.embedded.environment["REDIS_URL"])
    yield client
    await client.aclose()


async def until(true: Callable[[], Awaitable[bool]], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while True:
            if await true():
                return
            await asyncio.sleep(0.05)


async def replica_at_work(pair: RunningSystem, redis: Redis) -> tuple[psutil.Process, Path]:
    """The supervisor that has the one claim there is, and its log."""
    (claim,) = await redis.xpending_range(Keys().queue, GROUP, "-", "+", 2)
    for process in processes_of(pair.embedded.node.child, "ray::ServeReplica:ingestion"):
        for file in process.open_files():
            if claim["consumer"] in Path(file.path).name:
                return process, Path(file.path)
    raise AssertionError(f"no process of the consumer {claim['consumer']}")


@contextmanager
def asleep(process: psutil.Process) -> Iterator[None]:
    """Stopped inside the block; awake after it, whatever happens."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("wakes", ["in mid-job", "after the job"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_supervisor_that_slept_past_its_lease_commits_nothing(
    pair, redis, expected, wakes, seed
):
    chance = random.Random(seed)
    jobs = RedisJobStore(redis)

    async def record() -> Job:
        return await jobs.get(job_id)

    async with pair.client() as client:
        collection = await fresh_collection(client, f"asleep_{seed}")
        job_id = (await client.add_texts(collection, SENT)).id
        before = chance.randint(1, FILES // 4)
        await until(lambda: _has(record, lambda job: job.files_done >= before))
        sleeper, log = await replica_at_work(pair, redis)
        with asleep(sleeper):
            await until(lambda: _has(record, lambda job: job.attempts == 2))
            if wakes == "after the job":
                await ended(client, job_id)
        taken = await record()
        job = await ended(client, job_id)
        assert job.state == "COMPLETED", job
    assert taken.state.ended == (wakes == "after the job")
    assert await passages(pair, collection) == expected
    whole = await record()
    assert (whole.attempts, whole.files_done, whole.files_failed) == (2, FILES, 0)

    async def told() -> bool:
        return f"job {job_id}: let go (lease_lost)" in log.read_text()

    await until(told)
    await asyncio.sleep(LEASE_S)
    assert await record() == whole
    assert await passages(pair, collection) == expected
    assert sleeper.is_running()


async def _has(record: Callable[[], Awaitable[Job]], true: Callable[[Job], bool]) -> bool:
    return true(await record())


@contextmanager
def second_node(pair: RunningSystem, folder: Path) -> Iterator[Child]:
    """Another machine, as far as Ray can tell, with the cluster's own certificates and token."""
    head = pair.embedded.node
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--block", "--disable-usage-stats"),
        *("--address", head.address),
        *("--num-cpus", "4"),
        *("--dashboard-agent-listen-port", str(free_port())),
        *("--object-store-memory", str(OBJECT_STORE_BYTES)),
    ]
    node = Child("second node", command, folder / "node.log", head.environment, patience_s=20.0)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def tasks_on(node: Child) -> list[psutil.Process]:
    return processes_of(node, "ray::ingest_file")


@pytest.mark.parametrize("seed", range(2))
async def test_a_job_survives_the_death_of_a_node(pair, expected, tmp_path, seed):
    chance = random.Random(seed)
    async with pair.client() as client:
        with second_node(pair, tmp_path) as node:
            node.wait_until(lambda: bool(_raylets(node)), NODE_TIMEOUT_S)
            collection = await fresh_collection(client, f"node_{seed}")
            job_id = (await client.add_texts(collection, SENT)).id
            await until(lambda: _busy(node), NODE_TIMEOUT_S)
            await asyncio.sleep(chance.uniform(0.0, 1.0))
            await until(lambda: _busy(node), NODE_TIMEOUT_S)
            (raylet,) = _raylets(node)
            raylet.send_signal(signal.SIGKILL)
            struck = await client.get_job(job_id)
            job = await ended(client, job_id)
    assert struck.state == "PROCESSING", "the job was done before its node died"
    assert job.state == "COMPLETED", job
    assert (job.progress.files_done, job.progress.files_failed) == (FILES, 0)
    assert await passages(pair, collection) == expected


async def _busy(node: Child) -> bool:
    return bool(tasks_on(node))


def _raylets(node: Child) -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process(_pid(node)).children(recursive=True)
        if process.name() == "raylet"
    ]


def _pid(node: Child) -> Any:
    assert node.process is not None
    return node.process.pid
