"""The deployment that runs an embedding engine, and the embedder that reaches it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from ray import serve
from ray.serve.handle import DeploymentHandle

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors
from deployments.contracts.engines import EngineSpec
from deployments.errors import EmbeddingUnavailable
from deployments.logs import log_with_serve
from deployments.metrics import EMBED_SECONDS, EMBEDDED_TEXTS, Metrics
from deployments.ray_metrics import RayMetrics
from deployments.resilience.remote import answer_of

Part = TypeVar("Part")

_MESSAGE_BYTES = 3 * 1024 * 1024
"""Serve's limit for a message between replicas is 4 MB; the rest is for envelopes."""
MODEL_TRUSTED_S = 30.0
"""How long a model's description is believed: so long does the release of another go unnoticed."""
_FLOAT_BYTES = 4
_HALF_BYTES = 2


@serve.deployment
class EmbeddingServer:
    """Holds one engine. Serve's own batching is not used: the engine batches across calls."""

    def __init__(self, engine: EngineSpec) -> None:
        log_with_serve()
        self._metrics: Metrics = RayMetrics()
        self._engine: Any = engine.load()

    async def model(self) -> EmbeddingModel:
        """The engine's model."""
        model: EmbeddingModel = await self._engine.model()
        return model

    async def ping(self) -> None:
        """Embed a word: proof that the engine works, and the server behind it where there is one.

        Raises:
            EmbeddingUnavailable: it does not.
        """
        await self._engine.embed(["ping"], Lane.QUERY)

    async def embed(self, texts: Sequence[str], lane: Lane) -> Vectors:
        """The engine's vectors."""
        began_s = time.perf_counter()
        vectors: Vectors = await self._engine.embed(texts, lane)
        self._metrics.observe(EMBED_SECONDS, time.perf_counter() - began_s, lane=lane)
        self._metrics.count(EMBEDDED_TEXTS, len(texts), lane=lane)
        return vectors

    async def token_vectors(self, texts: Sequence[str], lane: Lane) -> list[Any]:
        """The engine's vectors a token, in half precision: they are large, and only compared."""
        if (token_vectors := getattr(self._engine, "token_vectors", None)) is None:
            raise EmbeddingUnavailable("the embedding engine gives no vectors per token")
        return [rows.astype(np.float16) for rows in await token_vectors(texts, lane)]

    async def check_health(self) -> None:
        """Ask an engine that lives in this process.

        A remote one is not asked: its outage would have Serve restart a replica that is well.
        """
        if (check := getattr(self._engine, "check_health", None)) is not None:
            await check()


class RemoteEmbedder:
    """The embedder ports over a handle to an `EmbeddingServer`.

    Calls that would make a message too large travel in parts. A caller who leaves takes the
    remote calls along.
    """

    def __init__(
        self, handle: DeploymentHandle, clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._handle = handle
        self._clock_s = clock_s
        self._model: EmbeddingModel | None = None
        self._model_expires_s = 0.0

    async def model(self) -> EmbeddingModel:
        now_s = self._clock_s()
        if self._model is None or now_s >= self._model_expires_s:
            model: EmbeddingModel = await self._asked(self._handle.model.remote)
            self._model, self._model_expires_s = model, now_s + MODEL_TRUSTED_S
        return self._model

    async def ping(self) -> None:
        """Return when a replica has shown just now that it can embed.

        Raises:
            EmbeddingUnavailable, Overloaded: none has.
        """
        await self._asked(self._handle.ping.remote)

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        model = await self.model()
        if not texts:
            return np.zeros((0, model.dimension), np.float32)
        parts = split(texts, model.dimension * _FLOAT_BYTES)
        return np.concatenate(
            await self._gather(
                lambda part: self._asked(self._handle.embed.remote, part, lane), parts
            )
        )

    async def token_vectors(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> list[Vectors]:
        model = await self.model()
        parts = split(texts, model.dimension * model.max_tokens * _HALF_BYTES)
        answers = await self._gather(
            lambda part: self._asked(self._handle.token_vectors.remote, part, lane), parts
        )
        return [rows.astype(np.float32) for answer in answers for rows in answer]

    @staticmethod
    async def _gather(
        call: Callable[[list[str]], Awaitable[Part]], parts: list[list[str]]
    ) -> list[Part]:
        if len(parts) == 1:
            return [await call(parts[0])]
        tasks = [asyncio.ensure_future(call(part)) for part in parts]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    @staticmethod
    async def _asked(method: Callable[..., Any], *arguments: object) -> Any:
        return await answer_of(
            method, *arguments, unavailable=EmbeddingUnavailable, what="the embedding deployment"
        )


def split(texts: Sequence[str], answer_bytes: int) -> list[list[str]]:
    """Parts of `texts`, order kept, that fit a message with their answer of so many bytes each.

    A text larger than a message goes alone.
    """
    parts: list[list[str]] = []
    question = answer = 0
    for text in texts:
        # At most four bytes a character: counting them would encode every text twice.
        question, answer = question + 4 * len(text), answer + answer_bytes
        if not parts or max(question, answer) > _MESSAGE_BYTES:
            parts.append([])
            question, answer = 4 * len(text), answer_bytes
        parts[-1].append(text)
    return parts
