"""Jobs of the real system that something happens to, and what a search sees of them after."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import psutil

from deployments.retrieval.milvus import MilvusStore
from deployments.state.connection import connect
from deployments.state.visibility import RedisVisibility
from serve_app.client import ApiError, AsyncRagserve, ClientError
from serve_app.embedded.processes import Child
from serve_app.schemas import JobOut, TextDocument, TextDocuments
from tests.conftest import RunningSystem

FILES = 40
WORDS = 300
PATIENCE_S = 150.0

Passages = frozenset[tuple[str, int, str]]


def documents(files: int = FILES) -> TextDocuments:
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
            for number in range(files)
        ]
    )


def processes_of(node: Child, title: str) -> list[psutil.Process]:
    """The processes of a Ray node that call themselves so."""
    assert node.process is not None
    found = []
    for process in psutil.Process(node.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[:1] and process.cmdline()[0].startswith(title):
                found.append(process)
    return found


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


async def undisturbed(system: RunningSystem, sent: TextDocuments) -> Passages:
    """The passages of a job that nothing happens to."""
    async with system.client() as client:
        collection = await fresh_collection(client, "undisturbed")
        job = await ended(client, (await client.add_texts(collection, sent)).id)
    assert (job.state, job.progress.files_done) == ("COMPLETED", len(sent.documents)), job
    return await passages(system, collection)
