"""From raw scores to passages, the same way for every store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployments.contracts.retrieval import Chunk, Fusion, Passage, SearchMode, SearchRequest
from deployments.retrieval import fusion


@dataclass(frozen=True, slots=True)
class Ranking:
    """Scores by chunk id, of each index and of both together."""

    scores: Mapping[str, float]
    dense: Mapping[str, float]
    lexical: Mapping[str, float]

    @classmethod
    def of(
        cls, request: SearchRequest, dense: Mapping[str, float], lexical: Mapping[str, float]
    ) -> Ranking:
        """The ranking that a request asks for."""
        return cls(_scores(request, dense, lexical), dense, lexical)

    def best(self, limit: int) -> list[str]:
        """Ids of the best `limit` chunks, best first. Ties keep a fixed order."""
        return sorted(self.scores, key=lambda key: (-self.scores[key], key))[:limit]

    def passages(self, keys: Sequence[str], chunks: Mapping[str, Chunk]) -> list[Passage]:
        """The chunks of these ids with their scores; one that is gone by now is left out."""
        return [
            Passage(chunks[key], self.scores[key], self.dense.get(key), self.lexical.get(key))
            for key in keys
            if key in chunks
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
