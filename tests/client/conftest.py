"""The fake API that the client is tested against."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "console"))

from fake_api import RunningFake, running


@pytest.fixture(scope="session")
def server() -> Iterator[RunningFake]:
    with running() as fake:
        yield fake


@pytest.fixture
def fake(server: RunningFake) -> RunningFake:
    server.platform.reset()
    return server
