"""A fresh query room for each test."""

from __future__ import annotations

import pytest
from query_room import Room, furnished_room


@pytest.fixture
async def room() -> Room:
    return await furnished_room()
