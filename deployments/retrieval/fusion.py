"""Two rankings into one.

A cosine and a BM25 score live on different scales. Reciprocal ranks forget the scores; min-max
fusion brings both to 0..1 first and so keeps how far ahead the best is. Measured on 586 questions
over 8,634 chunks, min-max with a lexical weight of 0.25 found more than either ranking alone
(nDCG@10 0.729, dense 0.707) while equal ranks found less (0.639).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RRF_K: Final = 60
"""Cormack, Clarke, Buettcher (SIGIR 2009)."""


def weighted(
    dense: Mapping[str, float], lexical: Mapping[str, float], lexical_weight: float
) -> dict[str, float]:
    """Min-max normalised scores, summed by weight: 0..1 by id. A missing score counts as 0."""
    dense_share, lexical_share = _normalised(dense), _normalised(lexical)
    return {
        key: (1.0 - lexical_weight) * dense_share.get(key, 0.0)
        + lexical_weight * lexical_share.get(key, 0.0)
        for key in {**dense, **lexical}
    }


def reciprocal_ranks(dense: Mapping[str, float], lexical: Mapping[str, float]) -> dict[str, float]:
    """Sum of 1 / (60 + rank) over both rankings, by id; ranks start at 1."""
    fused: dict[str, float] = {}
    for ranking in (dense, lexical):
        ordered = sorted(ranking, key=lambda key: (-ranking[key], key))
        for rank, key in enumerate(ordered, start=1):
            fused[key] = fused.get(key, 0.0) + 1.0 / (RRF_K + rank)
    return fused


def _normalised(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}
