"""The application as an ingress replica assembles it, on real stores, in this process."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator

import httpx
import pytest

from deployments.contracts.generation import GenerationRequest, Token
from deployments.contracts.retrieval import Chunk, Collection, Document
from deployments.embedding.memory import HashEmbedder
from deployments.environment import Environment
from deployments.generation.memory import ScriptedGenerator
from deployments.state.api_keys import ApiKeyStore
from deployments.state.connection import connect
from serve_app.app import create_app
from serve_app.assembly import assemble
from serve_app.services import Services
from serve_app.settings import RagArgs
from tests.conftest import GENEROUS
from tests.services import MilvusLiteServer, ValkeyServer

PEPPER = "pepper-of-the-loop-tests-0123456789"
COLLECTION = "handbook"
ANSWER = "Full-time employees have 29 days of paid holiday a year."


@pytest.fixture(scope="package")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A node whose Redis and Milvus are up."""
    folder = tmp_path_factory.mktemp("ingress-loop")
    redis = ValkeyServer(folder / "redis")
    milvus = MilvusLiteServer(folder / "milvus")
    redis.start()
    try:
        milvus.start()
        yield Environment.model_validate(
            {
                "redis_url": redis.url,
                "redis_password": redis.password,
                "milvus_uri": milvus.uri,
                "api_key_pepper": PEPPER,
                "blob_url": f"file://{folder}/blobs",
                "audit_log": folder / "audit.jsonl",
            }
        )
    finally:
        redis.kill()
        milvus.kill()


class CarelessGenerator(ScriptedGenerator):
    """Sleeps or computes on the loop's own thread when it is told to."""

    careless = False
    busy_s = 0.0

    def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        if self.careless:
            time.sleep(0.001)
        until_s = time.thread_time() + self.busy_s
        while time.thread_time() < until_s:
            pass
        return super().stream(request)


@pytest.fixture(scope="package")
def generator() -> CarelessGenerator:
    return CarelessGenerator(answers=[ANSWER], token_ms=1)


@pytest.fixture(scope="package")
async def services(
    environment: Environment, generator: CarelessGenerator
) -> AsyncIterator[Services]:
    """What the routes are given, with one collection in the store."""
    made = assemble(
        RagArgs.model_validate({"limits": GENEROUS}),
        environment,
        embedder=HashEmbedder(),
        generator=generator,
    )
    await furnish(made)
    yield made
    await made.store.close()


async def furnish(services: Services) -> None:
    model = await services.embedder.model()
    await services.store.create_collection(Collection(COLLECTION, model))
    document = Document("d1", "Leave", "leave.md", "text/markdown", "h", 1, 8, 0.0, 1)
    texts = [f"{ANSWER} Rule {number} adds more about holiday." * 4 for number in range(8)]
    chunks = [Chunk(f"c{number}", number, text, document) for number, text in enumerate(texts)]
    vectors = await services.embedder.embed(texts)
    await services.store.upsert(COLLECTION, chunks, vectors)


@pytest.fixture(scope="package")
async def api_key(environment: Environment) -> str:
    redis = connect(environment.state_url)
    try:
        keys = ApiKeyStore(redis, PEPPER.encode())
        text, _ = await keys.create("loop", ["query", "ingest", "admin"], ["*"])
    finally:
        await redis.aclose()
    return text


@pytest.fixture
async def caller(services: Services, api_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with every scope, on the replica's own loop."""
    transport = httpx.ASGITransport(create_app(services))
    headers = {"Authorization": f"Bearer {api_key}"}
    async with httpx.AsyncClient(
        transport=transport, base_url="http://replica", headers=headers
    ) as client:
        yield client
