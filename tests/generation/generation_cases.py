"""One case an engine, each ready to be asked, and told apart only by how it is built."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from protocol_servers.ollama_server import OllamaServer
from protocol_servers.openai_server import OpenAIServer

from deployments.contracts.generation import Generator
from deployments.generation.llama_cpp import LlamaCppGenerator
from deployments.generation.memory import ScriptedGenerator
from deployments.generation.ollama import OllamaGenerator
from deployments.generation.openai import OpenAIGenerator
from deployments.generation.paced import PacedGenerator

PARALLEL, MAX_QUEUED = 2, 1
"""Of every case, so that the fourth caller at once is refused."""

_ROOM = {"parallel": PARALLEL, "max_queued": MAX_QUEUED}
_PACE: dict[str, Any] = {"first_token_ms": 5, "token_ms": 10, "tokens": 400}


@dataclass(frozen=True)
class Case:
    """An engine with a long answer, how much it has computed, and the model's limit if it has one.

    `overrun_tokens` is what may be computed after a caller has left: nothing where the engine is
    in this process, what is on the wire where it is not.
    """

    generator: Generator
    computed: Callable[[], Awaitable[int]]
    limited: Generator | None
    overrun_tokens: int


@dataclass(frozen=True)
class Real:
    """llama.cpp twice: in our own engine, and behind its own HTTP server."""

    generator: LlamaCppGenerator
    server: Any


@asynccontextmanager
async def _scripted(_: Real) -> AsyncIterator[Case]:
    generator = ScriptedGenerator(answers=["word " * 400], context_tokens=512, token_ms=1, **_ROOM)
    yield Case(generator, generator.tokens_computed, generator, overrun_tokens=0)


@asynccontextmanager
async def _paced(_: Real) -> AsyncIterator[Case]:
    generator = PacedGenerator(**_PACE, **_ROOM)
    yield Case(generator, generator.tokens_computed, None, overrun_tokens=0)


@asynccontextmanager
async def _llama_cpp(real: Real) -> AsyncIterator[Case]:
    generator = real.generator
    yield Case(generator, generator.tokens_computed, generator, overrun_tokens=1)


@asynccontextmanager
async def _ollama(_: Real) -> AsyncIterator[Case]:
    with OllamaServer(PacedGenerator(**_PACE)) as server:
        generator = OllamaGenerator(base_url=server.address, model="smollm2", num_ctx=512, **_ROOM)
        yield Case(generator, _count_of(server), generator, overrun_tokens=5)
        await generator.aclose()


@asynccontextmanager
async def _openai(_: Real) -> AsyncIterator[Case]:
    async with AsyncExitStack() as stack:
        server = stack.enter_context(OpenAIServer(PacedGenerator(**_PACE)))
        strict = stack.enter_context(OpenAIServer(ScriptedGenerator(context_tokens=512)))
        generator, limited = (_openai_generator(s.address) for s in (server, strict))
        yield Case(generator, _count_of(server), limited, overrun_tokens=5)
        await generator.aclose()
        await limited.aclose()


@asynccontextmanager
async def _openai_of_llama_cpp(real: Real) -> AsyncIterator[Case]:
    server = real.server
    generator = _openai_generator(server.listening_address)

    async def computed() -> int:
        lines = dict(
            line.split() for line in server.handle_metrics().splitlines() if line[0] != "#"
        )
        return int(lines["llamacpp:n_decode_total"])

    yield Case(generator, computed, generator, overrun_tokens=5)
    await generator.aclose()


CASES = {
    "scripted": _scripted,
    "paced": _paced,
    "llama_cpp": _llama_cpp,
    "ollama": _ollama,
    "openai": _openai,
    "openai_of_llama_cpp": _openai_of_llama_cpp,
}


def _openai_generator(address: str) -> OpenAIGenerator:
    return OpenAIGenerator(base_url=f"{address}/v1", model="smollm2", context_tokens=512, **_ROOM)


def _count_of(server: OllamaServer | OpenAIServer) -> Callable[[], Awaitable[int]]:
    async def computed() -> int:
        return server.tokens_computed()

    return computed
