"""An ingress replica in this process, on real stores and a real model server that can fail."""

from __future__ import annotations

import os
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from protocol_servers.openai_server import OpenAIServer
from protocol_servers.serving import Fault
from services import MilvusLiteServer, ValkeyServer

from deployments.contracts.jobs import FileSpec
from deployments.contracts.retrieval import Chunk, Collection, Document
from deployments.embedding.memory import HashEmbedder
from deployments.environment import Environment
from deployments.generation.memory import ScriptedGenerator
from deployments.generation.openai import OpenAIGenerator
from deployments.metrics import MemoryMetrics
from deployments.retrieval.milvus import MilvusStore
from deployments.state.api_keys import ApiKeyStore
from deployments.state.connection import connect
from serve_app.app import create_app
from serve_app.assembly import assemble
from serve_app.embedded.processes import free_port
from serve_app.services import Services
from serve_app.settings import LimitArgs, RagArgs, ResilienceArgs

COLLECTION = "handbook"
ANSWER = "Full-time employees have 29 days of paid holiday a year."
TEXTS = [
    ANSWER,
    *(f"Paragraph {n} of the handbook is about the colour of shelf {n}." for n in range(200)),
]


class UnreliableModel(OpenAIServer):
    """Fails with `failing` of its requests; never begins to answer with `hanging` of them."""

    def __init__(self, port: int) -> None:
        super().__init__(ScriptedGenerator(answers=[ANSWER], token_ms=2))
        self._socket.close()
        self._socket = socket.create_server(("127.0.0.1", port))
        self.failing = 0.0
        self.hanging = 0.0
        self._chance = random.Random(1)

    def next_fault(self) -> Fault | None:
        drawn = self._chance.random()
        if drawn < self.failing:
            return Fault("status", status_code=500)
        if drawn < self.failing + self.hanging:
            return Fault("silent")
        return None


@dataclass
class ChaosRoom:
    """The replica, and what stands behind it. `model` is None while it is killed."""

    state: ValkeyServer
    cache: ValkeyServer
    milvus: MilvusLiteServer
    model_port: int
    model: UnreliableModel | None
    services: Services
    metrics: MemoryMetrics
    api_key: str = ""
    stopped: list[Any] = field(default_factory=list)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(create_app(self.services)),
            base_url="http://replica",
            headers={"Authorization": f"Bearer {self.api_key}"},
            timeout=60,
        )

    def start_model(self) -> None:
        self.model = UnreliableModel(self.model_port).__enter__()

    def kill_model(self) -> None:
        if self.model is not None:
            self.model.__exit__()
        self.model = None

    def freeze(self, *servers: Any) -> None:
        """Neither dead nor alive: connections open, nothing answers, as behind a cut network."""

        for server in servers:
            os.kill(server.pid, signal.SIGSTOP)
            self.stopped.append(server)

    def thaw(self) -> None:

        while self.stopped:
            os.kill(self.stopped.pop().pid, signal.SIGCONT)

    async def held(self) -> tuple[int, str]:
        """What must not be lost: the collection's chunks, and the job in the state Redis."""
        store = MilvusStore(self.milvus.uri)
        try:
            chunks = await store.count_chunks(COLLECTION)
        finally:
            await store.close()
        return chunks, (await self.services.jobs.get("job")).state.value


@asynccontextmanager
async def chaos_room(folder: Path, resilience: ResilienceArgs) -> AsyncIterator[ChaosRoom]:
    """A room with a collection, a job and a key in it."""
    state, cache = ValkeyServer(folder / "state"), ValkeyServer(folder / "cache")
    milvus = MilvusLiteServer(folder / "milvus")
    pepper = secrets.token_urlsafe(48)
    model_port = free_port()
    metrics = MemoryMetrics()
    environment = Environment(
        redis_url=_url(state),
        cache_redis_url=_url(cache),
        milvus_uri=milvus.uri,
        blob_url=(folder / "blobs").as_uri(),
        api_key_pepper=pepper,
    )
    services = assemble(
        RagArgs(
            limits=LimitArgs(
                generation_per_minute=1_000_000, search_per_minute=1_000_000, tokens_per_day=10**9
            ),
            resilience=resilience,
        ),
        environment,
        embedder=HashEmbedder(),
        generator=OpenAIGenerator(
            base_url=f"http://127.0.0.1:{model_port}/v1",
            model="smollm2",
            context_tokens=4096,
            parallel=64,
        ),
        metrics=metrics,
    )
    room = ChaosRoom(state, cache, milvus, model_port, None, services, metrics)
    try:
        for server in (state, cache, milvus):
            server.start()
        room.start_model()
        await _furnish(room)
        redis = connect(_url(state))
        room.api_key, _ = await ApiKeyStore(redis, pepper.encode()).create("load", ["query"], ["*"])
        await redis.aclose()
        yield room
    finally:
        room.thaw()
        await services.store.close()
        room.kill_model()
        for server in (milvus, cache, state):
            server.stop()


async def _furnish(room: ChaosRoom) -> None:
    embedder = HashEmbedder()
    document = Document("d", "Handbook", "s", "text/plain", "h", 1, len(TEXTS), 1.0, 1)
    chunks = [Chunk(f"c{n}", n, text, document) for n, text in enumerate(TEXTS)]
    store = MilvusStore(room.milvus.uri)
    try:
        await store.create_collection(Collection(COLLECTION, await embedder.model()))
        await store.upsert(COLLECTION, chunks, await embedder.embed(TEXTS))
    finally:
        await store.close()
    spec = FileSpec(0, "d", "n", "s", "file:///nowhere", "text/plain", "h", 1)
    await room.services.jobs.submit("job", COLLECTION, "owner", [spec])


def _url(server: ValkeyServer) -> str:
    return f"redis://:{server.password}@127.0.0.1:{server.port}/0"
