"""The desk of one test."""

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


@pytest.fixture
async def alice(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A caller who may ask and ingest, anywhere."""
    async with desk.client("alice") as client:
        yield client


@pytest.fixture
async def stranger(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    """A caller without credentials."""
    async with desk.client(None) as client:
        yield client
