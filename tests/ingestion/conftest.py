"""One room for the tests of ingestion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ingestion_room import IngestionRoom


@pytest.fixture
async def room(tmp_path: Path) -> IngestionRoom:
    return await IngestionRoom(tmp_path).open()


@pytest.fixture
async def no_task_is_left_behind() -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    await asyncio.sleep(0.01)
    assert asyncio.all_tasks() - before - {asyncio.current_task()} == set()
