"""A reranker without a model, that counts shared words."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"\w+")


class OverlapReranker:
    """Scores by the share of the question's words that a passage holds: 0.0 to 1.0."""

    async def rerank(self, question: str, passages: Sequence[str]) -> list[float]:
        asked = _words(question)
        return [len(asked & _words(passage)) / max(1, len(asked)) for passage in passages]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))
