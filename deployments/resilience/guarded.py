"""Ports that ask their dependency only while its breaker lets them, and never wait for ever.

Each has the shape of the port that it stands in front of; the composition root puts them there,
and nobody behind it knows. A call that takes longer than its limit is a failure of the
dependency; a caller's own deadline that passes first is not.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from deployments.contracts.embedding import Embedder, EmbeddingModel, Lane, Vectors
from deployments.contracts.generation import GenerationModel, GenerationRequest, Generator, Token
from deployments.contracts.reranking import Reranker
from deployments.resilience.breakers import Breaker

Port = TypeVar("Port")

_OPEN_TO_ALL = frozenset({"ping", "close"})
"""Asked whatever the breaker says: whether it is there, and to let go of it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a dependency may take before that counts as its failure."""

    describe_s: float = 5.0
    embed_s: float = 10.0
    embed_text_s: float = 0.5
    """More for each text of a call: someone who indexes sends thousands."""
    rerank_s: float = 10.0
    first_token_s: float = 45.0
    token_gap_s: float = 20.0


@asynccontextmanager
async def asking(breaker: Breaker, limit_s: float) -> AsyncIterator[None]:
    """Call the dependency inside the block.

    Raises:
        DependencyError: the breaker's failure; also where the block took longer than `limit_s`.
    """
    with breaker.calling():
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise breaker.failure(
                f"The {breaker.name} service took longer than {limit_s:g} s."
            ) from error


class GuardedEmbedder:
    """An `Embedder` behind a breaker."""

    def __init__(self, embedder: Embedder, breaker: Breaker, patience: Patience) -> None:
        self._embedder = embedder
        self._breaker = breaker
        self._patience = patience

    async def model(self) -> EmbeddingModel:
        async with asking(self._breaker, self._patience.describe_s):
            return await self._embedder.model()

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        limit_s = self._patience.embed_s + self._patience.embed_text_s * len(texts)
        async with asking(self._breaker, limit_s):
            return await self._embedder.embed(texts, lane)


class GuardedReranker:
    """A `Reranker` behind a breaker."""

    def __init__(self, reranker: Reranker, breaker: Breaker, patience: Patience) -> None:
        self._reranker = reranker
        self._breaker = breaker
        self._patience = patience

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        async with asking(self._breaker, self._patience.rerank_s):
            return await self._reranker.rerank(question, passages)


class GuardedGenerator:
    """A `Generator` behind a breaker. A stream is one call: its last token settles it."""

    def __init__(self, generator: Generator, breaker: Breaker, patience: Patience) -> None:
        self._generator = generator
        self._breaker = breaker
        self._patience = patience

    async def model(self) -> GenerationModel:
        async with asking(self._breaker, self._patience.describe_s):
            return await self._generator.model()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        async with asking(self._breaker, self._patience.describe_s):
            return await self._generator.count_tokens(texts)

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        with self._breaker.calling():
            # Every generator behind this port is one that can be closed.
            tokens = cast("AsyncGenerator[Token, None]", self._generator.stream(request))
            limit_s = self._patience.first_token_s
            async with aclosing(tokens):
                while (token := await self._next(tokens, limit_s)) is not None:
                    yield token
                    limit_s = self._patience.token_gap_s

    async def _next(self, tokens: AsyncGenerator[Token, None], limit_s: float) -> Token | None:
        """The next token; no limit spans a `yield`, for it would count the reader's time."""
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                return await anext(tokens, None)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise self._breaker.failure(f"The model has been silent for {limit_s:g} s.") from error


def guarded(port: Port, breaker: Breaker) -> Port:
    """`port` with every coroutine and stream of it behind the breaker.

    For stores, whose adapters bound the time of each of their calls themselves.
    """
    return cast("Port", _Guarded(port, breaker))


class _Guarded:
    def __init__(self, port: object, breaker: Breaker) -> None:
        self._port = port
        self._breaker = breaker

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._port, name)
        if name in _OPEN_TO_ALL:
            return member
        if inspect.isasyncgenfunction(member):
            return _streaming(member, self._breaker)
        return _awaited(member, self._breaker) if inspect.iscoroutinefunction(member) else member


def _awaited(method: Callable[..., Any], breaker: Breaker) -> Callable[..., Any]:
    @functools.wraps(method)
    async def call(*arguments: Any, **named: Any) -> Any:
        with breaker.calling():
            return await method(*arguments, **named)

    return call


def _streaming(method: Callable[..., Any], breaker: Breaker) -> Callable[..., Any]:
    @functools.wraps(method)
    async def stream(*arguments: Any, **named: Any) -> AsyncGenerator[Any, None]:
        ticket = breaker.enter()
        try:
            async with aclosing(method(*arguments, **named)) as items:
                async for item in items:
                    # Settled by its first item: events of a job may be watched for hours.
                    breaker.succeeded(ticket)
                    yield item
            breaker.succeeded(ticket)
        except breaker.failure:
            breaker.failed(ticket)
            raise
        finally:
            breaker.neither(ticket)

    return stream
