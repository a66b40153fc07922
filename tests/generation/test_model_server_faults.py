"""What a model server that misbehaves looks like to the caller."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import pytest
from protocol_servers.ollama_server import OllamaServer
from protocol_servers.openai_server import OpenAIServer
from protocol_servers.serving import Fault

from deployments.contracts.generation import GenerationRequest, Message, Token
from deployments.errors import (
    ConfigurationError,
    ContextLengthExceeded,
    DeadlineExceeded,
    GenerationUnavailable,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
)
from deployments.generation.memory import ScriptedGenerator
from deployments.generation.ollama import OllamaGenerator
from deployments.generation.openai import OpenAIGenerator

REQUEST = GenerationRequest((Message("user", "one two three four five six seven"),))


@dataclass
class Served:
    server: OllamaServer | OpenAIServer
    generator: OllamaGenerator | OpenAIGenerator

    async def answer(self) -> str:
        return "".join(token.text for token in await self.tokens())

    async def tokens(self, request: GenerationRequest = REQUEST) -> list[Token]:
        async with aclosing(self.generator.stream(request)) as stream:
            return [token async for token in stream]


def ollama_generator(address: str, **options: object) -> OllamaGenerator:
    patience = {"first_token_timeout_s": 10, "token_gap_timeout_s": 0.2}
    return OllamaGenerator(base_url=address, model="smollm2", **{**patience, **options})


def openai_generator(address: str, **options: object) -> OpenAIGenerator:
    patience = {"first_token_timeout_s": 10, "token_gap_timeout_s": 0.2}
    return OpenAIGenerator(
        base_url=f"{address}/v1",
        model="smollm2",
        context_tokens=512,
        **{**patience, **options},
    )


@pytest.fixture(params=["ollama", "openai"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    engine = ScriptedGenerator()
    if request.param == "ollama":
        with OllamaServer(engine) as server:
            generator = ollama_generator(server.address)
            yield Served(server, generator)
            await generator.aclose()
    else:
        with OpenAIServer(engine) as server:
            generator = openai_generator(server.address)
            yield Served(server, generator)
            await generator.aclose()


@pytest.fixture
async def ollama() -> AsyncIterator[Served]:
    with OllamaServer(ScriptedGenerator()) as server:
        generator = ollama_generator(server.address)
        yield Served(server, generator)
        await generator.aclose()


@pytest.fixture
async def openai() -> AsyncIterator[Served]:
    with OpenAIServer(ScriptedGenerator()) as server:
        generator = openai_generator(server.address)
        yield Served(server, generator)
        await generator.aclose()


def status(code: int, message: str = "scripted failure", **headers: str) -> Fault:
    return Fault("status", status_code=code, message=message, headers=headers)


async def test_a_sound_server_answers_with_its_own_counts(served: Served) -> None:
    *pieces, last = await served.tokens()
    assert "".join(piece.text for piece in pieces) == REQUEST.messages[0].content
    assert last.finish_reason == "stop"
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (7, 7)


@pytest.mark.parametrize("after_tokens", [0, 3])
@pytest.mark.parametrize("kind", ["cut", "drop", "malformed", "error"])
async def test_a_broken_answer_is_an_outage(served: Served, kind: str, after_tokens: int) -> None:
    served.server.faults.append(Fault(kind, after_tokens))  # type: ignore[arg-type]
    with pytest.raises(GenerationUnavailable):
        await served.answer()


async def test_a_server_that_stalls_is_named_with_how_long_it_was_silent(served: Served) -> None:
    served.server.faults.append(Fault("silent", after_tokens=2))
    with pytest.raises(GenerationUnavailable, match=rf"{served.server.address}.* for 0\.2 s"):
        await served.answer()
    await served.server.until(lambda: served.server.hung_up == 1)


@pytest.mark.parametrize(
    ("make", "serve"), [(ollama_generator, OllamaServer), (openai_generator, OpenAIServer)]
)
async def test_a_server_that_never_begins_is_an_outage(make: Any, serve: Any) -> None:
    with serve(ScriptedGenerator()) as server:
        generator = make(server.address, first_token_timeout_s=0.3)
        server.faults.append(Fault("silent"))
        with pytest.raises(GenerationUnavailable, match=r"for 0\.3 s"):
            await anext(generator.stream(REQUEST))
        await server.until(lambda: server.hung_up == 1)
        await generator.aclose()


async def test_a_deadline_before_the_stall_is_noticed_is_the_callers(served: Served) -> None:
    served.server.faults.append(Fault("silent"))
    with pytest.raises(DeadlineExceeded):
        await served.tokens(GenerationRequest(REQUEST.messages, timeout_s=0.1))


async def test_a_failing_server_is_asked_once(served: Served) -> None:
    served.server.faults.append(status(500))
    with pytest.raises(GenerationUnavailable, match="scripted failure"):
        await served.answer()
    assert len(served.server.requests) == 1


async def test_the_next_request_after_a_failure_succeeds(served: Served) -> None:
    served.server.faults.append(Fault("drop", after_tokens=1))
    with pytest.raises(GenerationUnavailable):
        await served.answer()
    assert await served.answer() == REQUEST.messages[0].content


async def test_a_missing_model_is_named_at_the_start_and_in_a_request(served: Served) -> None:
    served.server.models = type(served.server.models)()  # type: ignore[assignment]
    with pytest.raises(ModelNotFound, match=rf"{served.server.address}.*smollm2"):
        await served.generator.model()
    with pytest.raises(ModelNotFound, match="smollm2"):
        await served.answer()


async def test_a_full_server_is_overload_not_outage(served: Served) -> None:
    served.server.faults.append(status(503))
    with pytest.raises(Overloaded) as refusal:
        await served.answer()
    assert refusal.value.details["retry_after_s"] > 0


async def test_a_refused_request_is_the_callers_to_mend(served: Served) -> None:
    served.server.faults.append(status(400, "temperature must be below 2"))
    with pytest.raises(InvalidRequest, match="temperature"):
        await served.answer()


async def test_a_prompt_the_server_finds_too_long_says_so(served: Served) -> None:
    served.server.faults.append(status(400, "the input length exceeds the context length"))
    with pytest.raises(ContextLengthExceeded):
        await served.answer()


@pytest.mark.parametrize("make", [ollama_generator, openai_generator])
async def test_a_server_that_is_not_there_is_an_outage_at_once(make: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    generator = make(address)
    with pytest.raises(GenerationUnavailable, match="reached"):
        await anext(generator.stream(REQUEST))
    with pytest.raises(GenerationUnavailable, match="reached"):
        await generator.model()
    await generator.aclose()


async def test_ollama_is_told_the_sampling_the_context_and_how_long_to_keep_the_model(
    ollama: Served,
) -> None:
    asked = GenerationRequest(
        REQUEST.messages, max_tokens=5, temperature=0.5, top_p=0.9, stop=("six",), seed=7
    )
    await ollama.tokens(asked)
    _, body = ollama.server.requests[-1]
    assert body["keep_alive"] == "5m"
    assert body["options"] == {
        "num_ctx": 8192,
        "num_predict": 5,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["six"],
        "seed": 7,
    }


async def test_the_missing_model_message_says_which_command_helps(ollama: Served) -> None:
    ollama.server.models.clear()  # type: ignore[union-attr]
    with pytest.raises(ModelNotFound, match="`ollama pull smollm2`"):
        await ollama.generator.model()


async def test_a_missing_model_is_pulled_where_that_is_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="deployments.generation.ollama")
    with OllamaServer(ScriptedGenerator(), models=(), pullable=("smollm2",)) as server:
        generator = ollama_generator(server.address, pull=True)
        assert (await generator.model()).context_tokens == 8192
        await generator.aclose()
    assert "pull smollm2: pulling 000000000000 50 %" in caplog.text


async def test_a_model_that_cannot_be_pulled_is_an_outage_with_the_reason() -> None:
    with OllamaServer(ScriptedGenerator(), models=()) as server:
        generator = ollama_generator(server.address, pull=True)
        with pytest.raises(GenerationUnavailable, match="file does not exist"):
            await generator.model()
        await generator.aclose()


async def test_a_model_trained_on_less_than_num_ctx_takes_less() -> None:
    with OllamaServer(ScriptedGenerator(), context_length=2048) as server:
        generator = ollama_generator(server.address, num_ctx=8192)
        assert (await generator.model()).context_tokens == 2048
        await generator.aclose()


async def test_a_rate_limit_keeps_the_servers_time_to_return(openai: Served) -> None:
    openai.server.faults.append(status(429, **{"retry-after": "7"}))
    with pytest.raises(Overloaded) as refusal:
        await openai.answer()
    assert refusal.value.details["retry_after_s"] == 7


async def test_the_key_comes_from_the_environment_and_stays_out_of_errors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_KEY", "k-123")
    with OpenAIServer(ScriptedGenerator(), api_key="k-123") as server:
        generator = openai_generator(server.address, api_key_env="MODEL_KEY")
        await generator.model()
        server.api_key = "another"
        with pytest.raises(GenerationUnavailable, match="MODEL_KEY") as refusal:
            await anext(generator.stream(REQUEST))
        assert "k-123" not in str(refusal.value)
        await generator.aclose()


async def test_a_key_that_is_not_set_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="MODEL_KEY"):
        openai_generator("http://127.0.0.1:1", api_key_env="MODEL_KEY")
