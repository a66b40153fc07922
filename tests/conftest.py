"""What the whole suite shares: one running system, started when a test first asks for it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from deployments.state.api_keys import ApiKeyStore
from deployments.state.connection import connect
from serve_app.client import AsyncRagserve
from serve_app.embedded.home import Home
from serve_app.embedded.processes import free_port
from serve_app.embedded.system import EmbeddedSystem, Wishes, running_system

LOCAL_CONFIG = Path(__file__).parents[1] / "ray_config" / "serve.local.yaml"
# The suite asks more in a minute than a person may.
GENEROUS = {
    "generation_per_minute": 10_000,
    "search_per_minute": 10_000,
    "ingestion_per_minute": 10_000,
    "strangers_per_minute": 10_000,
    "tokens_per_day": 100_000_000,
}


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """The system under test, as its users and its operator see it."""

    url: str
    api_key: str
    embedded: EmbeddedSystem

    def client(self, api_key: str | None = None) -> AsyncRagserve:
        return AsyncRagserve(self.url, api_key or self.api_key, timeout_s=120)

    def http(self) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.api_key}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60)

    async def make_key(self, scopes: list[str], collections: list[str]) -> str:
        redis = connect(self.embedded.environment["REDIS_URL"])
        pepper = self.embedded.environment["API_KEY_PEPPER"].encode()
        try:
            text, _ = await ApiKeyStore(redis, pepper).create("test", scopes, collections)
        finally:
            await redis.aclose()
        return text


@contextmanager
def system_in(folder: Path, *, alone: bool = True, **ingestion: Any) -> Iterator[RunningSystem]:
    """A real system whose ingestion has these arguments, up inside the block.

    Other nodes can join one that is not `alone`.
    """
    config = yaml.safe_load(LOCAL_CONFIG.read_text())
    apps = {app["name"]: app for app in config["applications"]}
    apps["rag"]["args"] |= {"limits": GENEROUS}
    apps["ingestion"]["args"] |= ingestion
    (folder / "serve.yaml").write_text(yaml.safe_dump(config))
    # The converted models are kept between runs: making them takes seconds, every time the same.
    models = Path(os.environ.get("RAGSERVE_TEST_MODELS", ".ragserve/models")).resolve()
    wishes = Wishes(config=folder / "serve.yaml", port=free_port(), cpus=4, alone=alone)
    environment = {"MODEL_CACHE": str(models)}
    with running_system(Home(folder / "home"), wishes, environment, print) as embedded:
        unkeyed = RunningSystem(f"http://127.0.0.1:{wishes.port}", "", embedded)
        key = asyncio.run(unkeyed.make_key(["query", "ingest", "admin"], ["*"]))
        yield RunningSystem(unkeyed.url, key, embedded)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSystem]:
    """One real system for the whole suite: stores, Ray, models and the applications."""
    with system_in(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture
async def client(system: RunningSystem) -> AsyncIterator[AsyncRagserve]:
    """A caller with every scope."""
    async with system.client() as client:
        yield client
