"""A question and its passages in, better scores out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Reranker(Protocol):
    """Scores passages against a question more carefully than an index can."""

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        """One score per passage, higher is better, order kept. Raises RerankUnavailable."""
        ...
