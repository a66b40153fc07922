"""Replicas and a node of the whole system die under load."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos.load import Load, asking, summary

from serve_app.schemas import TextDocument, TextDocuments
from tests.conftest import RunningSystem, system_in
from tests.system.struck_jobs import documents, ended, fresh_collection, passages, processes_of
from tests.system.test_two_supervisors import NODE_TIMEOUT_S, _raylets, second_node

pytestmark = pytest.mark.soak

logger = logging.getLogger(__name__)

COLLECTION = "chaos"
QUESTION = "How many days of paid holiday do full-time employees have?"
FACT = "Full-time employees have 29 days of paid holiday a year."
CALLERS = 2
"""The small model writes a few answers a second: more would only queue."""
BEFORE_S, AFTER_S, PATIENCE_S = 10.0, 5.0, 120.0


async def furnish(system: RunningSystem) -> None:
    async with system.client() as client:
        await fresh_collection(client, COLLECTION)
        sent = TextDocuments(documents=[TextDocument(title="Leave", text=FACT)])
        job = await ended(client, (await client.add_texts(COLLECTION, sent)).id)
        assert job.state == "COMPLETED"


async def recovered(load: Load, name: str) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while load.recovery_s() is None:  # noqa: ASYNC110 - the load is what is looked at
            await asyncio.sleep(0.1)
    await asyncio.sleep(AFTER_S)
    logger.warning("%s: %s", name, json.dumps(summary(load)))


@pytest.mark.parametrize("deployment", ["Embedding", "Generation"])
async def test_a_replica_is_killed_under_load(system: RunningSystem, deployment: str) -> None:
    await furnish(system)
    held = await passages(system, COLLECTION)
    async with (
        system.http() as http,
        asking(http, callers=CALLERS, collection=COLLECTION, question=QUESTION) as load,
    ):
        load.mark("begin")
        await asyncio.sleep(BEFORE_S)
        load.mark("out")
        (replica,) = processes_of(system.embedded.node.child, f"ray::ServeReplica:rag:{deployment}")
        replica.send_signal(signal.SIGKILL)
        load.mark("back")  # by itself: Serve starts another
        await recovered(load, f"{deployment} replica killed")
    assert {ending.status for ending in load.endings} <= {200, 503}
    assert all(ending.retry_after for ending in load.endings if ending.status == 503)
    assert sum(ending.status != 200 for ending in load.endings) <= CALLERS
    assert await passages(system, COLLECTION) == held


@pytest.fixture
def joinable(tmp_path: Path) -> Iterator[RunningSystem]:
    with system_in(tmp_path, alone=False) as running:
        yield running


async def test_a_worker_node_is_lost_under_load(joinable: RunningSystem, tmp_path: Path) -> None:
    system = joinable
    await furnish(system)
    files = documents(20)
    async with system.client() as client, system.http() as http:
        with second_node(system, tmp_path) as node:
            await asyncio.to_thread(node.wait_until, lambda: bool(_raylets(node)), NODE_TIMEOUT_S)
            async with asking(
                http, callers=CALLERS, collection=COLLECTION, question=QUESTION
            ) as load:
                load.mark("begin")
                ingested = await fresh_collection(client, "chaos_node")
                job_id = (await client.add_texts(ingested, files)).id
                await asyncio.sleep(BEFORE_S)
                load.mark("out")
                for raylet in _raylets(node):
                    raylet.send_signal(signal.SIGKILL)
                load.mark("back")
                job = await ended(client, job_id)
                await recovered(load, "worker node lost")
    assert job.state == "COMPLETED", job
    assert job.progress.files_done == len(files.documents)
    assert all(ending.whole for ending in load.endings), [e for e in load.endings if not e.whole]
