"""The replica's shell, and the generator that reaches it over a handle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from protocol_servers.ollama_server import OllamaServer
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments.contracts.engines import EngineSpec
from deployments.contracts.generation import GenerationRequest, Message, Token
from deployments.errors import (
    ContextLengthExceeded,
    GenerationUnavailable,
    ModelNotFound,
    Overloaded,
    RagserveError,
)
from deployments.generation.deployment import GenerationServer, RemoteGenerator
from deployments.generation.memory import ScriptedGenerator

REQUEST = GenerationRequest((Message("user", "one two three four five"),))
SCRIPTED = EngineSpec("deployments.generation.memory:ScriptedGenerator")
SLOW = EngineSpec(
    "deployments.generation.paced:PacedGenerator",
    {"first_token_ms": 1, "token_ms": 5, "tokens": 500},
)


class Groups:
    """A response generator of a handle: ends with `failure`, knows whether it was cancelled."""

    def __init__(self, failure: Exception | None) -> None:
        self.failure = failure
        self.cancelled = False

    def __aiter__(self) -> AsyncIterator[Token]:
        return self._groups()

    async def _groups(self) -> AsyncIterator[Token]:
        yield Token("one")
        if self.failure is not None:
            raise self.failure
        yield Token(" two")

    def cancel(self) -> None:
        self.cancelled = True


class FakeHandle:
    """Answers `.stream.remote` like a deployment handle."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.groups = Groups(failure)

    def options(self, *, stream: bool) -> FakeHandle:
        assert stream
        return self

    @property
    def stream(self) -> FakeHandle:
        return self

    def remote(self, _: GenerationRequest) -> Groups:
        return self.groups


def wrapped(cause: Exception) -> Exception:
    """As an exception arrives from another replica."""
    error: Exception = RayTaskError("stream", "Traceback: many lines", cause).as_instanceof_cause()
    return error


async def read(handle: Any) -> str:
    async with aclosing(RemoteGenerator(handle).stream(REQUEST)) as stream:
        return "".join([token.text async for token in stream])


async def test_a_stream_comes_through_the_handle() -> None:
    assert await read(FakeHandle()) == "one two"


async def test_leaving_cancels_the_other_replica() -> None:
    handle: Any = FakeHandle()
    async with aclosing(RemoteGenerator(handle).stream(REQUEST)) as stream:
        await anext(stream)
        assert not handle.groups.cancelled
    assert handle.groups.cancelled


@pytest.mark.parametrize(
    ("failure", "meaning", "message"),
    [
        (
            wrapped(ContextLengthExceeded("too long", context_tokens=9)),
            ContextLengthExceeded,
            "too long",
        ),
        (wrapped(ModelNotFound("no such model")), ModelNotFound, "no such model"),
        (
            wrapped(KeyError("x")),
            GenerationUnavailable,
            "the generation deployment failed unexpectedly (KeyError)",
        ),
        (
            ActorDiedError(),
            GenerationUnavailable,
            "the generation deployment is out (ActorDiedError)",
        ),
        (
            BackPressureError(num_queued_requests=3, max_queued_requests=3),
            Overloaded,
            "the generation deployment has no room",
        ),
    ],
)
async def test_the_other_replicas_failure_is_ours_without_its_traceback(
    failure: Exception, meaning: type[RagserveError], message: str
) -> None:
    with pytest.raises(meaning) as raised:
        await read(FakeHandle(failure))
    assert type(raised.value) is meaning
    assert raised.value.message == message


async def test_the_details_of_an_error_survive_the_crossing() -> None:
    failure = wrapped(Overloaded("full", retry_after_s=3.5))
    with pytest.raises(Overloaded) as raised:
        await read(FakeHandle(failure))
    assert raised.value.details == {"retry_after_s": 3.5}


async def _started(engine: EngineSpec) -> Any:
    server = GenerationServer.func_or_class.__new__(GenerationServer.func_or_class)
    await GenerationServer.func_or_class.__init__(server, engine, coalesce_ms=20)
    return server


async def test_the_replica_sends_fewer_messages_than_tokens() -> None:
    server = await _started(SLOW)
    short = GenerationRequest(REQUEST.messages, max_tokens=20)
    messages = [group async for group in server.stream(short)]
    assert messages[-1].usage.completion_tokens == 20
    assert len(messages) <= 12


async def test_many_streams_send_fewer_messages_each_than_one() -> None:
    server = await _started(SLOW)
    short = GenerationRequest(REQUEST.messages, max_tokens=20)

    async def messages() -> int:
        return len([group async for group in server.stream(short)])

    alone = await messages()
    together = await asyncio.gather(*(messages() for _ in range(40)))
    assert max(together) < alone


async def test_leaving_the_replicas_stream_stops_its_engine() -> None:
    server = await _started(SLOW)
    async with aclosing(server.stream(REQUEST)) as stream:
        await anext(stream)
    assert await server.tokens_computed() <= 2


async def test_the_replica_counts_and_names_what_its_engine_does() -> None:
    server = await _started(SCRIPTED)
    assert (await server.model()).name == "scripted"
    assert await server.count_tokens(["a b", ""]) == [2, 0]
    await server.check_health()


async def test_a_replica_does_not_start_where_its_server_lacks_the_model() -> None:
    with OllamaServer(ScriptedGenerator(), models=()) as ollama:
        lacking = EngineSpec(
            "deployments.generation.ollama:OllamaGenerator",
            {"base_url": ollama.address, "model": "smollm2"},
        )
        with pytest.raises(ModelNotFound, match="ollama pull smollm2"):
            await _started(lacking)


async def test_a_replica_starts_while_its_model_server_is_out() -> None:
    away = EngineSpec(
        "deployments.generation.ollama:OllamaGenerator",
        {"base_url": "http://127.0.0.1:9", "model": "smollm2"},
    )
    server = await _started(away)
    assert await server.tokens_computed() is None
    await server._engine.aclose()
