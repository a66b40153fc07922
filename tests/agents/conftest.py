"""A real `ragserve mcp` between the fake API and the official client."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from agent import PROGRAM, ROOT, Agent, environment, started
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.streamable_http import streamable_http_client

sys.path.insert(0, str(ROOT / "tests" / "openai_api"))
sys.path.insert(0, str(ROOT / "tests" / "console"))

from fake_api import KEY, RunningFake, running


@pytest.fixture(scope="session")
def server() -> Iterator[RunningFake]:
    with running() as fake:
        yield fake


@pytest.fixture
def fake(server: RunningFake) -> RunningFake:
    server.platform.reset()
    return server


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that may be ingested from, beside one that may not."""
    place = tmp_path_factory.mktemp("files")
    for name in ("allowed/rules.md", "allowed/damaged.md", "allowed/endless.md", "secret/key.md"):
        path = place / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("# Rules\n")
    (place / "allowed" / "leak.md").symlink_to(place / "secret" / "key.md")
    (place / "allowed" / "up").symlink_to(place / "secret")
    (place / "allowed" / "same.md").symlink_to(place / "allowed" / "rules.md")
    return place


@pytest.fixture
def over_stdio(fake: RunningFake, files: Path) -> Agent:
    """A client that starts `ragserve mcp` itself, with a key and options."""

    @asynccontextmanager
    async def agent(*options: str, key: str | None = KEY) -> AsyncIterator[Client]:
        variables = environment(fake.url, files, key)
        async with started(["mcp", *options], files, variables) as client:
            yield client

    return agent


@pytest.fixture(scope="session")
def address(server: RunningFake, files: Path) -> Iterator[str]:
    """Where a `ragserve mcp --transport http` answers, started with a key that none may use."""
    options = ["mcp", "--transport", "http", "--port", "0", "--root", "allowed"]
    process = subprocess.Popen(
        [sys.executable, *PROGRAM, *options],
        env=environment(server.url, files, KEY),
        cwd=files,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process.stderr:
        try:
            line = process.stderr.readline()
            found = re.search(r"http://\S+/mcp", line)
            assert found, line + process.stderr.read()
            yield found[0]
        finally:
            process.terminate()
            process.wait(timeout=15)


@pytest.fixture
def over_http(fake: RunningFake, address: str) -> Agent:
    """A client of the running HTTP server, with a key."""

    @asynccontextmanager
    async def agent(key: str = KEY, mode: ConnectMode = "auto") -> AsyncIterator[Client]:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, trust_env=False, timeout=30) as http:
            transport = streamable_http_client(address, http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client

    return agent
