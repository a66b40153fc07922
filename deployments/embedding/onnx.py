"""The embedded engine: a sentence-embedding model in onnxruntime, on this process's CPU."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors
from deployments.embedding import minilm
from deployments.embedding.batcher import BatchLimits, MicroBatcher, give_way
from deployments.embedding.session import OnnxSession, TokenIds
from deployments.errors import EmbeddingUnavailable


class OnnxEmbedder:
    """all-MiniLM-L6-v2, built into `cache_dir` at the first start, or the model in `model_dir`.

    `precision` is the built-in model's only: int8 has 1.6 to 1.9 times the rate of fp32 on mixed
    lengths (AVX-512 VNNI) and 50 MB less memory, for 0.009 of nDCG@10 (0.735 to 0.726), and its
    vectors depend a little on what shares their batch, so that fp32 is the default.
    `name`, `max_tokens` and `pooling` are for a model
    in `model_dir`, which is called after its directory unless named. `threads` batches are
    computed at once in each lane, a core each: one batch on two cores would have them wait for
    each other. `max_waiting` bounds the texts that wait in a lane.

    Raises:
        ConfigurationError: no model can be made or loaded.
    """

    def __init__(
        self,
        *,
        cache_dir: str = ".ragserve/models",
        model_dir: str | None = None,
        name: str | None = None,
        precision: Literal["fp32", "int8"] = "fp32",
        threads: int = 1,
        max_tokens: int = minilm.MAX_TOKENS,
        pooling: Literal["mean", "cls"] = "mean",
        batch_tokens: int = 512,
        max_waiting: int = 4096,
    ) -> None:
        if model_dir is None:
            directory = minilm.ensure_minilm(Path(cache_dir), precision)
            name = minilm.NAME
        else:
            directory = Path(model_dir)
        self._session = OnnxSession(directory, max_tokens=max_tokens, pooling=pooling)
        self._model = EmbeddingModel(name or directory.name, self._session.dimension, max_tokens)
        self._batches: MicroBatcher[_Text, Vectors] = MicroBatcher(
            self._compute,
            _Text.size,
            BatchLimits(tokens=batch_tokens, waiting=max_waiting),
            workers=threads,
        )
        # Beside the model's threads: a text that waits for its batch already knows its length.
        self._tokenizing = {
            Lane.QUERY: ThreadPoolExecutor(1, "tokenizer"),
            Lane.INGESTION: ThreadPoolExecutor(1, "tokenizer", initializer=give_way),
        }

    async def model(self) -> EmbeddingModel:
        return self._model

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        vectors = np.zeros((len(texts), self._model.dimension), np.float32)
        for index, vector in enumerate(await self._submit(texts, lane, with_tokens=False)):
            vectors[index] = vector
        return vectors

    async def token_vectors(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> list[Vectors]:
        return await self._submit(texts, lane, with_tokens=True)

    async def check_health(self) -> None:
        """Embed a word ahead of all ingestion.

        Raises:
            EmbeddingUnavailable: the engine failed.
        """
        await self.embed(["health"])

    async def aclose(self) -> None:
        """Stop the threads; who still waits gets EmbeddingUnavailable."""
        await self._batches.aclose()
        for thread in self._tokenizing.values():
            thread.shutdown()

    async def _submit(
        self, texts: Sequence[str], lane: Lane, *, with_tokens: bool
    ) -> list[Vectors]:
        loop = asyncio.get_running_loop()
        try:
            tokenized = await loop.run_in_executor(
                self._tokenizing[lane], self._session.tokenize, texts
            )
        except RuntimeError as error:
            raise EmbeddingUnavailable("the embedding engine was shut down") from error
        return await self._batches.submit([_Text(ids, with_tokens) for ids in tokenized], lane)

    def _compute(self, batch: list[_Text]) -> list[Vectors]:
        encoded = self._session.forward([text.ids for text in batch])
        return [
            _unit_rows(item.tokens) if text.with_tokens else item.vector
            for text, item in zip(batch, encoded, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class _Text:
    """A text in the queue. Few callers want token vectors, which are 200 times as large."""

    ids: TokenIds
    with_tokens: bool

    def size(self) -> int:
        return len(self.ids)


def _unit_rows(tokens: Vectors) -> Vectors:
    unit: Vectors = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
    return unit
