"""Texts in, unit vectors out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:  # the wire schemas import this module, and the command line starts without numpy
    import numpy as np
    from numpy.typing import NDArray

Vectors: TypeAlias = "NDArray[np.float32]"


class Lane(StrEnum):
    """Who is waiting for an embedding: a person's question goes before a file's chunks."""

    QUERY = "query"
    INGESTION = "ingestion"


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What a collection records, so that vectors of two models never meet in one index."""

    name: str
    dimension: int
    max_tokens: int


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    async def model(self) -> EmbeddingModel:
        """The model behind this embedder."""
        ...

    async def embed(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> Vectors:
        """Embed `texts`, order kept: float32 of shape (len(texts), dimension), L2-normalised.

        Texts longer than the model's `max_tokens` are cut by the engine.

        Raises:
            EmbeddingUnavailable: the engine cannot be reached or failed.
        """
        ...


class TokenEmbedder(Protocol):
    """Gives a vector per token, which compare two texts more closely than one vector each."""

    async def token_vectors(self, texts: Sequence[str], lane: Lane = Lane.QUERY) -> list[Vectors]:
        """For each text, order kept, float32 of shape (tokens, dimension), rows L2-normalised.

        Raises:
            EmbeddingUnavailable: the engine cannot be reached or failed.
        """
        ...
