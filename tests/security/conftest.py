"""The desk of the API's own tests, for attacks on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from api.desk import Desk


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    """An application with one collection, `handbook`."""
    made = Desk(tmp_path)
    await made.furnish()
    return made


@pytest.fixture
async def root(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with every scope."""
    async with desk.client() as client:
        yield client
