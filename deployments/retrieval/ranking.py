"""From raw scores to passages, the same way for every store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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


def merged(requests: Sequence[SearchRequest], found: Sequence[list[Passage]]) -> list[Passage]:
    """The best of what one question found in each of its collections.

    Of several collections the passages are ranked anew by the scores of each index, as if all were
    one: a collection's own ranks, or its shares of its own best score, say nothing about another's.
    What is left between them is how rare a word is, which BM25 counts by collection.
    """
    passages = [
        replace(passage, collection=request.collection)
        for request, those in zip(requests, found, strict=True)
        for passage in those
    ]
    if len(requests) == 1:
        return passages
    by_id = {passage.chunk.id: passage for passage in passages}
    dense = {k: p.dense_score for k, p in by_id.items() if p.dense_score is not None}
    lexical = {k: p.lexical_score for k, p in by_id.items() if p.lexical_score is not None}
    ranking = Ranking.of(requests[0], dense, lexical)
    best = ranking.best(requests[0].limit)
    return [replace(by_id[key], score=ranking.scores[key]) for key in best]


def _scores(
    request: SearchRequest, dense: Mapping[str, float], lexical: Mapping[str, float]
) -> Mapping[str, float]:
    if request.mode is SearchMode.DENSE:
        return dense
    if request.mode is SearchMode.LEXICAL:
        return lexical
    if request.fusion is Fusion.RRF:
        return fusion.reciprocal_ranks(dense, lexical)
    return fusion.weighted(dense, lexical, request.lexical_weight, request.depth)
