"""From raw scores to passages, the same way for every store."""

from __future__ import annotations

from collections.abc import Mapping

from deployments.contracts.retrieval import Chunk, Fusion, Passage, SearchMode, SearchRequest
from deployments.retrieval import fusion


def passages(
    request: SearchRequest,
    chunks: Mapping[str, Chunk],
    dense: Mapping[str, float],
    lexical: Mapping[str, float],
) -> list[Passage]:
    """The best `request.limit` passages, from scores by chunk id. Ties keep a fixed order."""
    scores = _scores(request, dense, lexical)
    best = sorted(
        scores, key=lambda key: (-scores[key], chunks[key].document.id, chunks[key].number, key)
    )
    return [
        Passage(chunks[key], scores[key], dense.get(key), lexical.get(key))
        for key in best[: request.limit]
    ]


def _scores(
    request: SearchRequest, dense: Mapping[str, float], lexical: Mapping[str, float]
) -> Mapping[str, float]:
    if request.mode is SearchMode.DENSE:
        return dense
    if request.mode is SearchMode.LEXICAL:
        return lexical
    if request.fusion is Fusion.RRF:
        return fusion.reciprocal_ranks(dense, lexical)
    return fusion.weighted(dense, lexical, request.lexical_weight)
