"""The whole HTTP API over in-memory twins, served by one uvicorn in a thread."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import requires
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn, Self

import pytest
import uvicorn

from deployments.contracts.embedding import Lane
from deployments.contracts.identity import Principal
from deployments.contracts.retrieval import Chunk, Collection, Document
from deployments.embedding.memory import HashEmbedder
from deployments.errors import Unauthenticated
from deployments.generation.memory import ScriptedGenerator
from deployments.ingestion.blobs import BlobStore
from deployments.query.pipeline import QueryPipeline
from deployments.query.settings import QuerySettings
from deployments.retrieval.memory import MemoryStore
from deployments.state.memory.api_keys import MemoryKeyStore
from deployments.state.memory.cache import MemoryCache
from deployments.state.memory.jobs import MemoryJobStore
from deployments.state.memory.limits import MemoryRateLimiter
from deployments.state.memory.visibility import MemoryVisibility
from deployments.state.memory.world import World
from serve_app.app import create_app
from serve_app.audit import AuditLog
from serve_app.auth.authenticator import Authenticator
from serve_app.dependencies import Dependencies
from serve_app.holdings import Holdings
from serve_app.services import Services
from serve_app.settings import LimitArgs, RagArgs

KEY = "key-of-the-village"
PRINCIPALS = {
    KEY: Principal("p1", "villager", frozenset({"query"}), ("handbook",)),
    "key-of-a-visitor": Principal("p2", "visitor", frozenset({"query"}), ("harbour",)),
    "key-of-a-writer": Principal("p3", "writer", frozenset({"ingest"}), ("*",)),
    "key-of-a-reader": Principal("p5", "reader", frozenset({"query"}), ("*",)),
    "key-of-the-hurried": Principal("p4", "hurried", frozenset({"query"}), ("handbook",)),
}
LANGUAGE_MODEL = "SmolLM2-135M-Instruct.Q4_1"
EMBEDDING_MODEL = "all-MiniLM-L6-v2"
DIMENSION = 384
QUESTION = "How high is the tower of the lighthouse?"
PASSAGES = {
    "Lighthouse": [
        "The tower of the lighthouse is 31 metres high.",
        "Its lamp burns rapeseed oil.",
    ],
    "Bakery": ["The village bakery sells seventeen kinds of bread."],
    "Ferry": ["In summer the ferry leaves at 07:40 from pier three."],
}


class Keys:
    """Knows the callers."""

    async def verify(self, key: str) -> Principal:
        if key not in PRINCIPALS:
            raise Unauthenticated("This API key is not known.")
        return PRINCIPALS[key]


class WatchedEmbedder(HashEmbedder):
    """Notes how it is called, and can be slow."""

    def __init__(self) -> None:
        super().__init__(name=EMBEDDING_MODEL, dimension=DIMENSION)
        self.calls: list[tuple[int, Lane]] = []
        self.delay_s = 0.0
        self.cancelled = 0

    async def embed(self, texts: Any, lane: Lane = Lane.QUERY) -> Any:
        self.calls.append((len(texts), lane))
        try:
            await asyncio.sleep(self.delay_s)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().embed(texts, lane)


class Server:
    """A uvicorn that serves whatever application it is given last."""

    def __init__(self) -> None:
        self._app: Any = None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._pass_on, interface="asgi3", log_config=None, lifespan="off", ws="none",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._server.serve(sockets=[self._socket]))
        )

    def serve(self, app: Any) -> None:
        self._app = app

    async def _pass_on(self, scope: Any, receive: Any, send: Any) -> None:
        await self._app(scope, receive, send)

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()


class Room:
    """The API on a server, its twins within reach of the test, and its address."""

    def __init__(
        self,
        server: Server,
        folder: Path,
        generator: ScriptedGenerator,
        settings: QuerySettings | None = None,
    ) -> None:
        self.url = server.url
        self.generator = generator
        self.embedder = WatchedEmbedder()
        self.store = MemoryStore()
        asyncio.run(self._furnish())
        visibility = MemoryVisibility(World())
        self.services = Services(
            args=RagArgs(),
            authenticator=Authenticator(Keys()),
            keys=MemoryKeyStore(),
            audit=AuditLog(folder / "audit.jsonl"),
            limiter=MemoryRateLimiter(LimitArgs(generation_per_minute=100).rates()),
            embedder=self.embedder,
            generator=generator,
            store=self.store,
            visibility=visibility,
            holdings=Holdings(self.store, visibility),
            jobs=MemoryJobStore(World()),
            blobs=BlobStore(folder.as_uri()),
            pipeline=QueryPipeline(
                self.embedder,
                self.store,
                visibility,
                generator,
                cache=MemoryCache(),
                settings=settings or QuerySettings(evidence="passages"),
            ),
            dependencies=Dependencies({}),
        )
        server.serve(create_app(self.services))

    async def _furnish(self) -> None:
        model = await self.embedder.model()
        for name in ("handbook", "harbour"):
            await self.store.create_collection(Collection(name, model, created_at_s=1_700_000_000))
        for title, texts in PASSAGES.items():
            document = Document(
                title.lower(), title, f"{title}.md", "text/markdown", "h", 1, len(texts), 0.0, 1
            )
            chunks = [
                Chunk(f"{title}-{number}", number, text, document)
                for number, text in enumerate(texts)
            ]
            await self.store.upsert("handbook", chunks, await self.embedder.embed(texts))
        self.embedder.calls.clear()


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> None:
    """Wait for what the server's thread is about to do."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s, "it never came to pass"
        time.sleep(0.005)


def missing(package: str, reason: str) -> NoReturn:
    """Skip a test whose client is not here; where everything must be here, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{package}: {reason}")
    pytest.skip(f"{package}: {reason}")


def need_client(distribution: str, module: str) -> None:
    """Skip the test where a client's package is missing; fail in CI where we declare it."""
    if find_spec(module) is not None:
        return
    if any(line.startswith(distribution) for line in requires("ragserve") or ()):
        missing(distribution, "declared in the dev extra, but not installed")
    pytest.skip(f"{distribution} is not installed")


def run_python(code: str, *arguments: str, path: Path | None = None, **environment: str) -> str:
    """Run a program as its author would, with `path` before the installed packages."""
    inherited = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ
    }
    search = {"PYTHONPATH": str(path)} if path else {}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=inherited | search | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout
