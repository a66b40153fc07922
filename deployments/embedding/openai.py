"""An embedding model behind an OpenAI-compatible API: OpenAI, vLLM, TEI, Infinity and others."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Literal

from openai import AsyncOpenAI, Omit, Timeout, omit

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors
from deployments.embedding.remote_batches import RemoteBatches
from deployments.errors import ContextLengthExceeded, EmbeddingUnavailable
from deployments.resilience.openai import OpenAICalls, key_from

_CHARACTERS_A_TOKEN = 2
"""Fewer than any common tokenizer averages on text, so that what is cut to this surely fits."""


class OpenAIEmbedder:
    """Asks the OpenAI-compatible server at `base_url` (with its `/v1`).

    `api_key_env` names the environment variable that holds the API key: the key itself never
    travels in arguments. The API has no option to cut long texts: when the server refuses a
    batch for its length, its texts are cut to what surely fits `max_tokens` and sent again.
    `as_floats` is for servers that do not know base64, the client's own choice and the quicker one.

    Raises:
        ConfigurationError: the environment variable is not set.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        max_tokens: int,
        api_key_env: str | None = None,
        as_floats: bool = False,
        batch_texts: int = 64,
        parallel: int = 8,
        connect_timeout_s: float = 5.0,
        timeout_s: float = 60.0,
    ) -> None:
        self._name = model
        self._max_tokens = max_tokens
        self._encoding: Literal["float"] | Omit = "float" if as_floats else omit
        self._calls = OpenAICalls(
            base_url, model, api_key_env, EmbeddingUnavailable, EmbeddingUnavailable
        )
        self._batches = RemoteBatches(
            self._vectors,
            f"the model server at {base_url}",
            batch_texts=batch_texts,
            parallel=parallel,
        )
        # Retries are the platform's: the client's own would multiply them.
        self._client = AsyncOpenAI(
            base_url=base_url,
            api_key=key_from(api_key_env),
            max_retries=0,
            timeout=Timeout(timeout_s, connect=connect_timeout_s),
        )

    async def model(self) -> EmbeddingModel:
        """The model; the first call embeds a word to learn its dimension."""
        return EmbeddingModel(self._name, await self._batches.dimension(), self._max_tokens)

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        return await self._batches.embed(texts, lane)

    async def aclose(self) -> None:
        """Close the connections to the server."""
        await self._client.close()

    async def _vectors(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        try:
            return await self._asked(texts)
        except ContextLengthExceeded:
            characters = self._max_tokens * _CHARACTERS_A_TOKEN
            return await self._asked([text[:characters] for text in texts])

    async def _asked(self, texts: Sequence[str]) -> Sequence[Sequence[float]]:
        with self._calls.translated():
            answer = await self._client.embeddings.create(
                model=self._name, input=list(texts), encoding_format=self._encoding
            )
            rows = sorted(answer.data, key=attrgetter("index"))
            return [row.embedding for row in rows]
