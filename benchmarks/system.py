"""The embedded system under measurement: a real one in a folder of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.reporting import progress
from benchmarks.workers import CHECKOUT
from deployments.state.api_keys import ApiKeyStore
from deployments.state.connection import connect
from serve_app.client import Ragserve
from serve_app.embedded.home import Home
from serve_app.embedded.processes import free_port
from serve_app.embedded.system import EmbeddedSystem, Wishes, running_system

UNLIMITED = {
    "generation_per_minute": 1_000_000,
    "search_per_minute": 1_000_000,
    "ingestion_per_minute": 1_000_000,
}


@dataclass(frozen=True, slots=True)
class Bench:
    """A running system and a key that opens everything in it."""

    port: int
    api_key: str
    embedded: EmbeddedSystem

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self) -> Ragserve:
        return Ragserve(self.url, self.api_key, timeout_s=300)


def models() -> Path:
    """Converted models, kept between runs: `RAGSERVE_TEST_MODELS`, or those of `make run`."""
    return Path(os.environ.get("RAGSERVE_TEST_MODELS", CHECKOUT / ".ragserve/models")).resolve()


@contextmanager
def running(
    rag: Mapping[str, Any] | None = None,
    ingestion: Mapping[str, Any] | None = None,
    surroundings: Mapping[str, str] | None = None,
    alone: bool = True,
) -> Iterator[Bench]:
    """A system with the local configuration, no rate limits, and these arguments on top.

    `surroundings` are variables of its nodes, such as where a model server is. Other nodes can
    join one that is not `alone`.
    """
    folder = Path(tempfile.mkdtemp(prefix="ragserve-bench-"))
    try:
        config = yaml.safe_load((CHECKOUT / "ray_config" / "serve.local.yaml").read_text())
        extra = {"rag": {"limits": UNLIMITED, **(rag or {})}, "ingestion": dict(ingestion or {})}
        for application in config["applications"]:
            application["args"] = application["args"] | extra[application["name"]]
        (folder / "serve.yaml").write_text(yaml.safe_dump(config))
        wishes = Wishes(config=folder / "serve.yaml", port=free_port(), alone=alone)
        environment = {"MODEL_CACHE": str(models()), **(surroundings or {})}
        with running_system(Home(folder / "home"), wishes, environment, progress) as embedded:
            yield Bench(wishes.port, asyncio.run(_make_key(embedded)), embedded)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _make_key(embedded: EmbeddedSystem) -> str:
    redis = connect(embedded.environment["REDIS_URL"])
    pepper = embedded.environment["API_KEY_PEPPER"].encode()
    try:
        text, _ = await ApiKeyStore(redis, pepper).create(
            "benchmark", ["query", "ingest", "admin"], ["*"]
        )
    finally:
        await redis.aclose()
    return text
