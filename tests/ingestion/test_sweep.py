"""What nobody needs any more goes, and nothing else."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from ingestion_room import (
    COLLECTION,
    Process,
    texts,
    until,
)

from deployments.errors import (
    JobNotFound,
)

pytestmark = pytest.mark.usefixtures("no_task_is_left_behind")


async def test_a_document_deleted_while_its_successor_is_written_comes_back_only_as_that(room):
    await room.submit({"a": "old words"}, "first")
    async with room.running():
        await room.ended("first")
    (old,) = await room.visible()

    async def deleted_meanwhile(work: Any, run: Any) -> None:
        await room.visibility.hide(COLLECTION, [old.document.version])
        await run()

    await room.submit({"a": "new words"}, "second")
    async with room.running(script=deleted_meanwhile):
        await room.ended("second")
    assert {text for _, _, text in await room.chunks()} == {"new words"}


async def test_the_sweep_deletes_replaced_versions_once_nobody_reads_them(room):
    await room.submit({"a": "old words"}, "first")
    async with room.running():
        await room.ended("first")
        await room.submit({"a": "new words"}, "second")
        await room.ended("second")
        await asyncio.sleep(0.03)
        assert len(room.stored_versions()) == 2
        room.skip(room.lifetimes.grace_s + 1)
        await until(lambda: len(room.stored_versions()) == 1)
        room.skip(room.lifetimes.settle_s + 1)
        await until(lambda: not room.world.collection(COLLECTION).hidden)
    assert {text for _, _, text in await room.chunks()} == {"new words"}


async def test_one_version_that_cannot_be_swept_takes_no_supervisor_along(room, monkeypatch):
    async def broken(collection: str, version: int) -> None:
        raise ValueError("not today")

    monkeypatch.setattr(room.store, "delete_version", broken)
    await room.visibility.hide(COLLECTION, [1])
    room.skip(room.lifetimes.grace_s + 1)
    async with room.running():
        await asyncio.sleep(0.05)
        await room.submit(texts(1))
        assert (await room.ended()).files_done == 1


async def test_uploads_stay_while_a_job_can_be_resumed_and_go_with_its_record(room, tmp_path):
    async def bad(work: Any, run: Any) -> None:
        await room.jobs.fail_file(work.job_id, work.spec.number, work.lease, "bad", "bad")

    await room.submit(texts(1))
    async with room.running(script=bad):
        assert (await room.ended()).files_failed == 1
    sweep = room.sweep(Process())
    sweep._settings = replace(sweep._settings, blob_age_s=-1)
    await sweep.sweep_blobs()
    assert [folder.name for folder in (tmp_path / "blobs").iterdir()] == ["job"]
    room.skip(room.lifetimes.job_s + 1)
    with pytest.raises(JobNotFound):
        await room.jobs.get("job")
    await sweep.sweep_blobs()
    assert list((tmp_path / "blobs").iterdir()) == []
