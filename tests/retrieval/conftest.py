from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
from chunk_samples import collection

from deployments.contracts.retrieval import VectorStore
from deployments.retrieval.memory import MemoryStore
from deployments.retrieval.milvus import MilvusStore
from tests.services import MilvusLiteServer

_numbers = count()


@pytest.fixture(scope="session")
def milvus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusLiteServer]:
    server = MilvusLiteServer(tmp_path_factory.mktemp("milvus") / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
async def milvus_store(milvus_server: MilvusLiteServer) -> AsyncIterator[MilvusStore]:
    store = MilvusStore(milvus_server.uri, timeout_s=30)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "milvus"])
def store(request: pytest.FixtureRequest) -> VectorStore:
    """Each store in turn: the same tests hold for both."""
    if request.param == "memory":
        return MemoryStore()
    milvus: VectorStore = request.getfixturevalue("milvus_store")
    return milvus


@pytest.fixture
async def name(store: VectorStore) -> AsyncIterator[str]:
    """An empty collection of the store's."""
    made = f"test_{next(_numbers)}"
    await store.create_collection(collection(made))
    yield made
    if made in [found.name for found in await store.list_collections()]:
        await store.drop_collection(made)


@pytest.fixture
def dead_server(tmp_path: Path) -> MilvusLiteServer:
    """One that never started: nothing listens at its address."""
    return MilvusLiteServer(tmp_path / "data")


@pytest.fixture
async def silent_uri() -> AsyncIterator[str]:
    """A server that takes connections and says nothing."""

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
