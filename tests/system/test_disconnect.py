"""A caller who leaves stops the model: nothing is computed for nobody."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from serve_app.client import TokenReceived
from serve_app.schemas import QueryIn, TextDocument, TextDocuments
from tests.conftest import RunningSystem

# Joins the cluster as any node's process would, with its certificates, and asks the replica.
COUNT = """
import asyncio, json, sys, ray
from ray import serve
ray.init(address=sys.argv[1], namespace="serve", log_to_driver=False)
async def main():
    handle = serve.get_deployment_handle("Generation", app_name="rag")
    line = "first"
    while line:
        print(json.dumps(await handle.tokens_computed.remote()), flush=True)
        line = await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""

LONG = "Tell me everything about the harbour, its ships, its people and its history, at length."


class TokenCounter:
    """Asks the generation replica how many tokens it has computed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def read(self) -> int:
        assert self._process.stdin
        self._process.stdin.write(b"\n")
        return await self.next()

    async def next(self) -> int:
        assert self._process.stdout
        return int(json.loads(await self._process.stdout.readline()))


@pytest.fixture
async def counter(system: RunningSystem):
    node = system.embedded.node
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "ignore",
        "-c",
        COUNT,
        node.address,
        env=os.environ | dict(node.environment),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    counter = TokenCounter(process)
    await counter.next()
    yield counter
    process.stdin.close()
    await process.wait()


async def test_the_model_stops_computing_when_the_caller_leaves(system, client, counter):
    collection = "harbour"
    await client.create_collection(collection)
    text = "The harbour has forty ships. " + "The people of the harbour mend nets and ships. " * 8
    job = await client.add_texts(
        collection, TextDocuments(documents=[TextDocument(title="Harbour", text=text)])
    )
    await client.wait(job.id, timeout_s=60)
    before = await counter.read()
    question = QueryIn(
        collection=collection, question=LONG, stream=True, cache=False, max_tokens=400
    )
    events = client.stream_query(question)
    async for event in events:
        if isinstance(event, TokenReceived):
            break
    await events.aclose()
    await asyncio.sleep(1.0)
    stopped = await counter.read()
    await asyncio.sleep(2.0)
    assert await counter.read() == stopped
    assert stopped - before < 200
