"""Is it alive, is it ready, what is it waiting for; and how the models are asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from api.desk import Clock, Desk, out
from fake_handles import FakeHandle
from protocol_servers.ollama_server import OllamaServer
from protocol_servers.openai_server import OpenAIServer
from ray.exceptions import ActorDiedError

from deployments.contracts.engines import EngineSpec
from deployments.embedding.deployment import MODEL_TRUSTED_S, EmbeddingServer, RemoteEmbedder
from deployments.embedding.memory import HashEmbedder
from deployments.errors import (
    EmbeddingUnavailable,
    GenerationUnavailable,
    Overloaded,
    StoreUnavailable,
)
from deployments.generation.deployment import GenerationServer, RemoteGenerator
from deployments.generation.memory import ScriptedGenerator
from deployments.generation.ollama import OllamaGenerator
from deployments.generation.openai import OpenAIGenerator
from deployments.resilience.breakers import Breaker
from serve_app import dependencies
from serve_app.dependencies import Dependencies


async def test_a_service_that_has_all_it_needs_is_ready(
    desk: Desk, stranger: httpx.AsyncClient
) -> None:
    for path in ("/health", "/health/ready"):
        answer = await stranger.get(path)
        assert answer.status_code == 200
        body = answer.json()
        assert body["status"] == "ok"
        assert {d["name"]: d["state"] for d in body["dependencies"]} == dict.fromkeys(
            desk.pings, "up"
        )
        assert all(d["latency_ms"] >= 0 for d in body["dependencies"])


@pytest.mark.parametrize(
    ("part", "status"),
    [
        ("redis", "degraded"),
        ("embedding", "degraded"),
        ("generation", "degraded"),
        ("milvus", "unavailable"),
    ],
)
async def test_a_service_without_one_of_its_parts_is_alive_and_not_ready(
    desk: Desk, stranger: httpx.AsyncClient, part: str, status: str
) -> None:
    with out(desk.pings[part], StoreUnavailable("http://internal-host:19530 is out")):
        ready = await stranger.get("/health/ready")
        assert ready.status_code == 503
        summary = await stranger.get("/health")
        assert summary.status_code == 200
        assert summary.json()["status"] == ready.json()["status"] == status
        down = [d for d in ready.json()["dependencies"] if d["state"] == "down"]
        assert [(d["name"], d["detail"]) for d in down] == [(part, "store_unavailable")]
        assert "internal-host" not in ready.text
        assert (await stranger.get("/health/live")).json()["status"] == "ok"
    desk.clock.now_s += 1.1
    assert (await stranger.get("/health/ready")).status_code == 200


async def test_a_part_that_fails_as_nobody_foresaw_is_down_and_the_others_are_shown(
    desk: Desk, stranger: httpx.AsyncClient
) -> None:
    with out(desk.pings["redis"], ZeroDivisionError("secret")):
        answer = await stranger.get("/health")
    assert answer.json()["status"] == "degraded"
    assert "secret" not in answer.text


async def test_a_part_that_is_busy_is_up(desk: Desk, stranger: httpx.AsyncClient) -> None:
    with out(desk.pings["generation"], Overloaded("full")):
        assert (await stranger.get("/health/ready")).status_code == 200


async def test_a_part_that_does_not_answer_is_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependencies, "PING_TIMEOUT_S", 0.02)
    (found,) = await Dependencies({"redis": lambda: asyncio.sleep(60)}).check()
    assert (found.up, found.detail) == (False, "no_answer_in_time")


async def test_a_flood_of_strangers_asks_each_part_once_a_second(
    desk: Desk, stranger: httpx.AsyncClient
) -> None:
    answers = await asyncio.gather(*(stranger.get("/health") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert {part.calls["ping"] for part in desk.pings.values()} == {1}
    desk.clock.now_s += 1.1
    await stranger.get("/health/ready")
    assert {part.calls["ping"] for part in desk.pings.values()} == {2}


async def test_strangers_who_hang_up_do_not_make_it_ask_again() -> None:
    asked = 0

    async def slow() -> None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.1)

    dependencies = Dependencies({"redis": slow})
    for _ in range(5):
        asking = asyncio.create_task(dependencies.check())
        await asyncio.sleep(0.005)
        asking.cancel()
    (found,) = await dependencies.check()
    assert found.up
    assert asked == 1


async def test_a_node_that_is_draining_is_alive_and_not_ready(
    desk: Desk, stranger: httpx.AsyncClient
) -> None:
    flag = desk.folder / "draining"
    desk.app.state.services = replace(desk.app.state.services, drain_file=flag)
    assert (await stranger.get("/health/ready")).status_code == 200
    flag.touch()
    answer = await stranger.get("/health/ready")
    assert (answer.status_code, answer.json()["detail"]) == (503, "draining")
    assert (await stranger.get("/health/live")).status_code == 200
    async with desk.client() as caller:
        assert (await caller.get("/v1/collections")).status_code == 200


async def test_an_open_breaker_shows_in_the_health_of_its_part(
    desk: Desk, stranger: httpx.AsyncClient
) -> None:
    breaker = Breaker("milvus", StoreUnavailable)
    ping = desk.pings["milvus"].ping
    found = Dependencies({"milvus": ping}, desk.clock, {"milvus": breaker})
    desk.app.state.services = replace(desk.app.state.services, dependencies=found)
    assert (await stranger.get("/health")).json()["dependencies"][0]["breaker"] == "closed"
    while breaker.state == "closed":
        breaker.failed(breaker.enter())
    body = (await stranger.get("/health")).json()
    assert body["status"] == "unavailable"
    assert (body["dependencies"][0]["state"], body["dependencies"][0]["breaker"]) == ("up", "open")


# How the models are asked.


EMBEDDING = EngineSpec("deployments.embedding.memory:HashEmbedder")


async def test_a_lost_embedding_replica_is_noticed_although_its_model_is_known() -> None:
    handle = FakeHandle(EmbeddingServer.func_or_class(EMBEDDING))
    embedder = RemoteEmbedder(handle)
    await embedder.model()
    await embedder.ping()
    handle.failing_with = ActorDiedError()
    await embedder.model()
    with pytest.raises(EmbeddingUnavailable):
        await embedder.ping()


async def test_an_embedding_engine_that_fails_is_noticed_through_its_replica() -> None:
    server = EmbeddingServer.func_or_class(EMBEDDING)
    embedder = RemoteEmbedder(FakeHandle(server))

    async def fail(*_: object) -> None:
        raise EmbeddingUnavailable("its server is out")

    server._engine.embed = fail
    with pytest.raises(EmbeddingUnavailable, match="its server is out"):
        await embedder.ping()


async def test_a_released_change_of_the_embedding_model_is_noticed() -> None:
    clock = Clock()
    handle = FakeHandle(EmbeddingServer.func_or_class(EMBEDDING))
    embedder = RemoteEmbedder(handle, clock)
    assert (await embedder.model()).name == "hashed-words"
    handle.server._engine = HashEmbedder(name="another")
    assert (await embedder.model()).name == "hashed-words"
    clock.now_s += MODEL_TRUSTED_S
    assert (await embedder.model()).name == "another"


class StreamingHandle(FakeHandle):
    def options(self, **_: object) -> StreamingHandle:
        return self


async def generation_server(engine: Any) -> Any:
    server = object.__new__(GenerationServer.func_or_class)
    server._engine = engine
    return server


async def test_a_lost_generation_replica_is_noticed_although_its_model_is_known() -> None:
    clock = Clock()
    handle = StreamingHandle(await generation_server(ScriptedGenerator()))
    generator = RemoteGenerator(handle, clock)
    await generator.model()
    await generator.ping()
    handle.server._engine = ScriptedGenerator(name="another")
    assert (await generator.model()).name == "scripted"
    clock.now_s += MODEL_TRUSTED_S
    assert (await generator.model()).name == "another"
    handle.failing_with = ActorDiedError()
    with pytest.raises(GenerationUnavailable):
        await generator.ping()


@pytest.mark.parametrize(
    ("kind", "engine"),
    [
        (OllamaServer, lambda url: OllamaGenerator(base_url=url, model="smollm2")),
        (
            OpenAIServer,
            lambda url: OpenAIGenerator(base_url=f"{url}/v1", model="smollm2", context_tokens=512),
        ),
    ],
)
async def test_a_model_server_that_is_gone_is_noticed_through_the_replica(
    kind: Any, engine: Any
) -> None:
    with kind(ScriptedGenerator()) as served:
        made = engine(served.address)
        generator = RemoteGenerator(StreamingHandle(await generation_server(made)))
        await generator.model()
        await generator.ping()
    with pytest.raises(GenerationUnavailable):
        await generator.ping()
    assert (await generator.model()).name == "smollm2"
    await made.aclose()
