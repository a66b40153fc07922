"""The server dies, hangs, comes back; writers meet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from chunk_samples import axis, chunk, collection, document, stacked

from deployments.contracts.retrieval import Passage, SearchMode, SearchRequest
from deployments.errors import StoreUnavailable
from deployments.retrieval.milvus import MilvusStore
from tests.services import MilvusLiteServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MilvusLiteServer]:
    """A server that a test may kill."""
    server = MilvusLiteServer(tmp_path / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture
async def store(server: MilvusLiteServer) -> AsyncIterator[MilvusStore]:
    store = MilvusStore(server.uri, timeout_s=20)
    yield store
    await store.close()


def _request(name: str, mode: SearchMode = SearchMode.HYBRID) -> SearchRequest:
    return SearchRequest(name, "honey", axis(0), mode)


def _ids(found: list[Passage]) -> list[str]:
    return [passage.chunk.id for passage in found]


async def test_a_killed_server_loses_nothing_and_the_same_store_goes_on(
    server: MilvusLiteServer, store: MilvusStore
) -> None:
    await store.create_collection(collection("kept"))
    flushed, fresh = document("flushed", chunks=2), document("fresh")
    await store.upsert(
        "kept", [chunk(flushed, n, "honey") for n in (0, 1)], stacked(axis(0), axis(1))
    )
    await store._lite.close()
    await store.upsert("kept", [chunk(fresh, text="honey")], stacked(axis(2)))
    before = {mode: _ids(await store.search(_request("kept", mode))) for mode in SearchMode}

    server.kill()
    with pytest.raises(StoreUnavailable):
        await store.search(_request("kept"))
    server.start()

    assert await store.get_collection("kept") == collection("kept")
    for mode in SearchMode:
        assert _ids(await store.search(_request("kept", mode))) == before[mode]
    assert await store.count_chunks("kept") == 3
    assert await store.list_documents("kept") == [flushed, fresh]
    await store.upsert("kept", [chunk(document("new"))], stacked(axis(3)))
    assert await store.count_documents("kept") == 3


async def test_many_who_find_the_server_restarted_at_once_see_the_same_collection(
    server: MilvusLiteServer, store: MilvusStore
) -> None:
    await store.create_collection(collection("busy"))
    await store.upsert("busy", [chunk(document("a"), text="honey")], stacked(axis(0)))
    stores = [store, *(MilvusStore(server.uri, timeout_s=20) for _ in range(3))]
    await asyncio.gather(*(each.ping() for each in stores))
    server.restart()
    answers = await asyncio.gather(
        *(each.search(_request("busy")) for each in stores for _ in range(10))
    )
    assert {tuple(_ids(found)) for found in answers} == {("a-1-0",)}
    await stores[1].upsert("busy", [chunk(document("b"), text="honey")], stacked(axis(0)))
    for each in stores:
        assert await each.count_chunks("busy") == 2
        assert _ids(await each.search(_request("busy"))) == ["a-1-0", "b-1-0"]
    for each in stores[1:]:
        await each.close()


async def test_a_store_made_before_its_server_works_once_it_is_there(
    dead_server: MilvusLiteServer,
) -> None:
    store = MilvusStore(dead_server.uri)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    dead_server.start()
    try:
        await store.ping()
        assert await store.list_collections() == []
    finally:
        await store.close()
        dead_server.kill()


async def test_a_dead_server_is_reported_at_once(dead_server: MilvusLiteServer) -> None:
    store = MilvusStore(dead_server.uri, timeout_s=10)
    calls = (
        store.ping,
        lambda: store.search(_request("any")),
        lambda: store.create_collection(collection("any")),
        lambda: store.upsert("any", [chunk(document("a"))], stacked(axis(0))),
        store.list_collections,
    )
    for call in calls:
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await call()
        assert time.monotonic() - begun < 3
    await store.close()


async def test_a_silent_server_costs_no_more_than_the_time_limit(silent_uri: str) -> None:
    store = MilvusStore(silent_uri, timeout_s=0.5)
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await store.search(_request("any"))
    assert time.monotonic() - begun < 2
    await store.close()


async def test_a_caller_who_leaves_stops_waiting(silent_uri: str) -> None:
    store = MilvusStore(silent_uri, timeout_s=30)
    waiting = asyncio.create_task(store.search(_request("any")))
    await asyncio.sleep(0.1)
    begun = time.monotonic()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert time.monotonic() - begun < 1
    await store.close()


async def test_several_writers_of_one_collection_lose_nothing(
    server: MilvusLiteServer, store: MilvusStore
) -> None:
    await store.create_collection(collection("shared"))
    writers = [MilvusStore(server.uri, timeout_s=60) for _ in range(4)]

    async def write(writer: MilvusStore, name: str) -> None:
        for part in range(5):
            of = document(f"{name}-{part}", chunks=60)
            chunks = [chunk(of, number) for number in range(60)]
            vectors = np.tile(axis(part), (60, 1))
            await writer.upsert("shared", chunks, vectors)

    await asyncio.gather(*(write(writer, f"w{i}") for i, writer in enumerate(writers)))
    for writer in writers:
        await writer.close()
    assert await store.count_chunks("shared") == 4 * 5 * 60
    assert await store.count_documents("shared") == 20


async def test_listing_goes_beyond_what_one_query_gives(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.retrieval.milvus.PAGE_ROWS", 7)
    await store.create_collection(collection("long"))
    documents = [document(f"d{i:03}") for i in range(50)]
    await store.upsert("long", [chunk(d) for d in documents], np.tile(axis(0), (50, 1)))
    assert await store.list_documents("long", offset=0, limit=100) == documents
    assert await store.list_documents("long", offset=45, limit=3) == documents[45:48]
