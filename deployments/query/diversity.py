"""Fewer passages that say the same."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from deployments.contracts.retrieval import Passage
from deployments.query.terms import terms


def without_repeats(passages: Sequence[Passage]) -> list[Passage]:
    """Leave out chunks found twice, copies of a text, and older versions of the same chunk.

    The order stays; of two versions of one chunk the newer is kept, of two copies the better.
    """
    newest: dict[tuple[str, str, int], int] = {}
    for passage in passages:
        key = (passage.collection, passage.chunk.document.id, passage.chunk.number)
        newest[key] = max(newest.get(key, 0), passage.chunk.document.version)
    kept: list[Passage] = []
    ids: set[str] = set()
    texts: set[str] = set()
    for passage in passages:
        chunk = passage.chunk
        text = " ".join(chunk.text.split())
        place = (passage.collection, chunk.document.id, chunk.number)
        outdated = chunk.document.version < newest[place]
        if outdated or chunk.id in ids or text in texts:
            continue
        ids.add(chunk.id)
        texts.add(text)
        kept.append(passage)
    return kept


def diversify(passages: Sequence[Passage], count: int, diversity: float) -> list[Passage]:
    """Maximal marginal relevance (Carbonell and Goldstein 1998): `count` passages, best first.

    Each next passage maximises (1 - diversity) * score - diversity * likeness to those chosen,
    the scores scaled to 0..1. Likeness is the cosine of term counts: the store gives no vectors,
    and computing them for every candidate would cost more than the search.
    """
    if not passages:
        return []
    counts = [Counter(terms(passage.chunk.text)) for passage in passages]
    low = min(passage.score for passage in passages)
    spread = max(passage.score for passage in passages) - low
    scores = [(p.score - low) / spread if spread else 1.0 for p in passages]
    chosen: list[int] = []
    likeness = [0.0] * len(passages)
    while len(chosen) < min(count, len(passages)):
        rest = (i for i in range(len(passages)) if i not in chosen)
        best = max(rest, key=lambda i: (1 - diversity) * scores[i] - diversity * likeness[i])
        chosen.append(best)
        likeness = [
            max(old, _cosine(counts[best], c)) for old, c in zip(likeness, counts, strict=True)
        ]
    return [passages[index] for index in chosen]


def _cosine(one: Counter[str], other: Counter[str]) -> float:
    shared = sum(count * other[term] for term, count in one.items())
    lengths = math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))
    return shared / lengths if lengths else 0.0
