"""The deployment that runs a generation engine, and the generator that reaches it."""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.contracts.engines import EngineSpec
from deployments.contracts.generation import GenerationModel, GenerationRequest, Token
from deployments.errors import GenerationUnavailable, ModelNotFound, RagserveError
from deployments.generation.coalescing import coalesce
from deployments.logs import log_with_serve
from deployments.metrics import GENERATION_SECONDS, GENERATION_TOKENS, Metrics
from deployments.ray_metrics import RayMetrics
from deployments.resilience.remote import answer_of, translating_remote_errors

log = logging.getLogger(__name__)

MODEL_TRUSTED_S = 30.0
"""How long a model's description is believed: so long does the release of another go unnoticed."""

STREAM_WINDOW_MS = 2.5
"""Each stream under way widens every stream's window by this: 400 messages a second in all."""
WIDEST_WINDOW_MS = 120.0
"""Text that comes eight times a second still reads as a stream."""

_WHAT = "the generation deployment"


@serve.deployment
class GenerationServer:
    """Holds one engine. A model that is missing stops the start; a server that is out does not.

    The callers' ladder has a rung for a generator that is out, and a replica that came up
    meanwhile answers as soon as its server does.
    """

    # Ray Serve awaits a constructor that is a coroutine.
    async def __init__(  # type: ignore[misc]
        self, engine: EngineSpec, coalesce_ms: float = 30.0
    ) -> None:
        log_with_serve()
        self._coalesce_ms = coalesce_ms
        self._streams = 0
        self._metrics: Metrics = RayMetrics()
        self._engine: Any = engine.load()
        try:
            await self._engine.model()
        except ModelNotFound:
            # Serve makes the next attempt in another process; this one keeps no connection.
            if (close := getattr(self._engine, "aclose", None)) is not None:
                await close()
            raise
        except GenerationUnavailable as error:
            log.warning("started without its model server: %s", error.message)

    async def model(self) -> GenerationModel:
        """The engine's model."""
        model: GenerationModel = await self._engine.model()
        return model

    async def ping(self) -> None:
        """Ask the engine, and the server behind it where there is one, whether it answers now.

        Raises:
            GenerationUnavailable: it does not.
        """
        named = (getattr(self._engine, name, None) for name in ("ping", "check_health", "model"))
        await next(ask for ask in named if ask is not None)()

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text."""
        counts: list[int] = await self._engine.count_tokens(texts)
        return counts

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        """The engine's stream, several tokens a message."""
        outcome, began_s = "left", time.perf_counter()
        self._streams += 1
        try:
            groups = coalesce(self._engine.stream(request), self._window_ms)
            async with aclosing(groups):
                async for group in groups:
                    self._count(group)
                    yield group
            outcome = "done"
        except RagserveError:
            outcome = "failed"
            raise
        finally:
            self._streams -= 1
            seconds = time.perf_counter() - began_s
            self._metrics.observe(GENERATION_SECONDS, seconds, outcome=outcome)

    def _window_ms(self) -> float:
        """How long pieces are gathered: a message costs the same whatever it carries."""
        return max(self._coalesce_ms, min(WIDEST_WINDOW_MS, STREAM_WINDOW_MS * self._streams))

    def _count(self, group: Token) -> None:
        if group.usage is not None:
            self._metrics.count(GENERATION_TOKENS, group.usage.prompt_tokens, kind="prompt")
            self._metrics.count(GENERATION_TOKENS, group.usage.completion_tokens, kind="completion")

    async def tokens_computed(self) -> int | None:
        """Tokens the engine computed since its start; None where it runs on another machine."""
        count = getattr(self._engine, "tokens_computed", None)
        return None if count is None else await count()

    async def check_health(self) -> None:
        """Ask an engine that lives in this process.

        A remote one is not asked: its outage would have Serve restart a replica that is well.
        """
        if (check := getattr(self._engine, "check_health", None)) is not None:
            await check()


class RemoteGenerator:
    """The generator port over a handle to a `GenerationServer`."""

    def __init__(
        self, handle: DeploymentHandle, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._handle = handle
        self._streaming = handle.options(stream=True)
        self._clock_s = clock_s
        self._model: GenerationModel | None = None
        self._model_expires_s = 0.0

    async def model(self) -> GenerationModel:
        now_s = self._clock_s()
        if self._model is None or now_s >= self._model_expires_s:
            model: GenerationModel = await self._asked(self._handle.model.remote)
            self._model, self._model_expires_s = model, now_s + MODEL_TRUSTED_S
        return self._model

    async def ping(self) -> None:
        """Return when a replica has shown just now that its engine answers.

        Raises:
            GenerationUnavailable, Overloaded: none has.
        """
        await self._asked(self._handle.ping.remote)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        counts: list[int] = await self._asked(self._handle.count_tokens.remote, list(texts))
        return counts

    async def tokens_computed(self) -> int | None:
        """Of the replica that happens to answer."""
        count: int | None = await self._asked(self._handle.tokens_computed.remote)
        return count

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        with translating_remote_errors(GenerationUnavailable, _WHAT):
            groups = self._streaming.stream.remote(request)
            try:
                async for group in groups:
                    yield group
            finally:
                # Leaving the loop alone lets the other replica run on to the end of its answer.
                groups.cancel()

    @staticmethod
    async def _asked(method: Callable[..., Any], *arguments: object) -> Any:
        return await answer_of(method, *arguments, unavailable=GenerationUnavailable, what=_WHAT)
