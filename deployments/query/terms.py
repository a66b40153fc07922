"""How much of what a question asks a text holds, by words and numbers: cheap lexical evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from deployments.retrieval.lexical import terms

__all__ = ["coverage", "numbers", "rarity", "terms"]

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


def numbers(text: str) -> frozenset[str]:
    """The numbers written in `text`, thousands separators aside."""
    return frozenset(match.group().replace(",", "") for match in _NUMBER.finditer(text))


def rarity(wanted: Collection[str], documents: Sequence[Collection[str]]) -> Mapping[str, float]:
    """A weight per wanted term: ln(1 + n / (df + 0.5)), the rarer in `documents` the heavier.

    The documents are the candidates of one search, not the collection: enough to tell a word
    that every candidate holds from one that few or none do.
    """
    count = len(documents)
    return {
        term: math.log(1 + count / (sum(term in document for document in documents) + 0.5))
        for term in set(wanted)
    }


def coverage(weights: Mapping[str, float], held: Collection[str]) -> float:
    """The share (0..1) of the weighted terms that `held` contains; 0 where nothing is asked."""
    total = sum(weights.values())
    if total <= 0:
        return 0.0
    return sum(weight for term, weight in weights.items() if term in held) / total
