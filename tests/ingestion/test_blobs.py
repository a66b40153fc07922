"""Uploads are staged whole or not at all, whatever the store underneath."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.errors import BlobsFull, BlobsUnavailable, InvalidRequest, StagedFileLost, TooLarge
from deployments.ingestion.blobs import BlobStore


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """The folder, and a bucket's behaviour by fsspec's in-memory store."""
    root = str(tmp_path / "blobs") if request.param == "local" else f"memory://{uuid.uuid4().hex}"
    return BlobStore(root, min_free_bytes=0)


async def test_a_stream_is_stored_whole_with_its_hash(store: BlobStore) -> None:
    data = os.urandom(3_000_000)
    blob = await store.put(
        "job-1", 0, pieces(data[:10], data[10:2_000_000], data[2_000_000:]), 10**7
    )
    assert blob.size_bytes == len(data)
    assert blob.sha256 == hashlib.sha256(data).hexdigest()
    with store.open_local(blob.url) as path:
        assert path.read_bytes() == data


async def test_an_empty_stream_is_an_empty_blob(store: BlobStore) -> None:
    blob = await store.put("job-1", 0, pieces(), 10)
    with store.open_local(blob.url) as path:
        assert path.read_bytes() == b""


async def test_too_large_a_stream_leaves_nothing(store: BlobStore) -> None:
    with pytest.raises(TooLarge):
        await store.put("job-1", 0, pieces(b"x" * 2_000_000, b"x" * 2_000_000), 3_000_000)
    assert await store.sweep([], -1) == []


async def test_a_caller_who_leaves_leaves_nothing(store: BlobStore) -> None:
    started = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        started.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(store.put("job-1", 0, stalled(), 10**7))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.sweep([], -1) == []


async def test_a_sender_who_fails_leaves_nothing_of_that_file_only(store: BlobStore) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionResetError

    kept = await store.put("job-1", 0, pieces(b"kept"), 10)
    with pytest.raises(ConnectionResetError):
        await store.put("job-1", 1, broken(), 10**7)
    with store.open_local(kept.url) as path:
        assert path.read_bytes() == b"kept"


async def test_deleting_a_job_deletes_its_blobs_and_no_others(store: BlobStore) -> None:
    gone = await store.put("job-1", 0, pieces(b"gone"), 10)
    kept = await store.put("job-11", 0, pieces(b"kept"), 10)
    await store.delete_job("job-1")
    await store.delete_job("job-1")
    with pytest.raises(StagedFileLost), store.open_local(gone.url):
        pass
    with store.open_local(kept.url) as path:
        assert path.read_bytes() == b"kept"


async def test_the_sweep_takes_old_jobs_that_nobody_keeps(store: BlobStore) -> None:
    for job in ("old", "kept"):
        await store.put(job, 0, pieces(b"x"), 10)
    assert await store.sweep(["kept"], older_than_s=3_600) == []
    assert await store.sweep(["kept"], older_than_s=-1) == ["old"]


@pytest.mark.parametrize("job_id", ["", "..", "../x", "a/b", "/etc", "a\x00"])
async def test_a_job_id_names_no_other_place(store: BlobStore, job_id: str) -> None:
    with pytest.raises(InvalidRequest):
        await store.put(job_id, 0, pieces(b"x"), 10)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "/etc/passwd", "{root}/../x/0", "{root}/job-1/../../0", "s"]
)
async def test_a_url_outside_of_the_store_is_not_opened(tmp_path: Path, url: str) -> None:
    store = BlobStore(str(tmp_path))
    with pytest.raises(BlobsUnavailable), store.open_local(url.format(root=tmp_path)):
        pass


async def test_a_full_disk_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    free = iter([10_000_000, 10_000_000, 1_000])
    store = BlobStore(
        str(tmp_path), min_free_bytes=1_000_000, free_space=lambda _: next(free, 10_000_000)
    )
    with pytest.raises(BlobsFull):
        await store.put("job-1", 0, pieces(*[b"x" * 1_100_000] * 4), 10**7)
    assert list(tmp_path.rglob("*")) == []  # noqa: ASYNC240 - a test may wait


async def test_a_root_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    blocker = tmp_path / "blobs"
    blocker.write_text("a file, not a folder")
    with pytest.raises(BlobsUnavailable):
        await BlobStore(str(blocker), min_free_bytes=0).put("job-1", 0, pieces(b"x"), 10)


async def test_putting_does_not_hold_up_the_loop(tmp_path: Path) -> None:
    store = BlobStore(str(tmp_path), free_space=lambda _: time.sleep(0.2) or 10**12)
    task = asyncio.create_task(store.put("job-1", 0, pieces(b"x" * 2_000_000), 10**7))
    longest, last = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        longest, last = max(longest, now - last), now
    await task
    assert longest < 0.15
