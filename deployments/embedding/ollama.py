"""An embedding model that an Ollama server holds."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
from ollama import AsyncClient

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors
from deployments.embedding.remote_batches import RemoteBatches
from deployments.errors import EmbeddingUnavailable
from deployments.resilience.ollama import OllamaCalls


class OllamaEmbedder:
    """Asks the Ollama server at `base_url`, which cuts texts longer than its model takes.

    `parallel` should be the server's OLLAMA_NUM_PARALLEL, `max_tokens` the model's own limit.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        max_tokens: int = 512,
        keep_alive: str | float = "30m",
        batch_texts: int = 32,
        parallel: int = 8,
        connect_timeout_s: float = 5.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._name = model
        self._max_tokens = max_tokens
        self._keep_alive = keep_alive
        self._calls = OllamaCalls(base_url, model, EmbeddingUnavailable, EmbeddingUnavailable)
        self._batches = RemoteBatches(
            self._vectors, f"Ollama at {base_url}", batch_texts=batch_texts, parallel=parallel
        )
        timeout = httpx.Timeout(timeout_s, connect=connect_timeout_s)
        self._client = AsyncClient(host=base_url, timeout=timeout)

    async def model(self) -> EmbeddingModel:
        """The model; the first call embeds a word to learn its dimension."""
        return EmbeddingModel(self._name, await self._batches.dimension(), self._max_tokens)

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        return await self._batches.embed(texts, lane)

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def _vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        with self._calls.translated():
            answer = await self._client.embed(
                self._name, list(texts), truncate=True, keep_alive=self._keep_alive
            )
        return answer.embeddings
