"""An embedder without a model: texts that share words get vectors that are near."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from deployments.contracts.embedding import EmbeddingModel, Lane, Vectors

_WORD = re.compile(r"\w+")
_EMPTY = "(empty)"


class HashEmbedder:
    """Hashes each word to a direction and adds them up: the same text, the same vector, anywhere.

    Texts are cut to `max_tokens` words.
    """

    def __init__(
        self, *, name: str = "hashed-words", dimension: int = 64, max_tokens: int = 256
    ) -> None:
        self._model = EmbeddingModel(name, dimension, max_tokens)

    async def model(self) -> EmbeddingModel:
        return self._model

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:  # noqa: ARG002 - the port's
        vectors = np.zeros((len(texts), self._model.dimension), np.float32)
        for index, tokens in enumerate(await self.token_vectors(texts)):
            summed = tokens.sum(axis=0)
            vectors[index] = summed / np.linalg.norm(summed)
        return vectors

    async def token_vectors(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> list[Vectors]:  # noqa: ARG002 - the port's
        return [
            np.stack([_direction(word, self._model.dimension) for word in self._words(text)])
            for text in texts
        ]

    def _words(self, text: str) -> list[str]:
        words = _WORD.findall(text.lower())[: self._model.max_tokens]
        return words or [_EMPTY]


@lru_cache(maxsize=8192)
def _direction(word: str, dimension: int) -> Vectors:
    # Python's own hash differs from process to process.
    seed = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
    direction = np.random.default_rng(seed).standard_normal(dimension)
    unit: Vectors = (direction / np.linalg.norm(direction)).astype(np.float32)
    return unit
