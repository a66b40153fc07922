"""Do the passages answer the question at all? Decided before a model is asked.

A similarity threshold alone does not tell: with the answer in the corpus the best passage has a
median cosine of 0.62 (MiniLM), with it removed still 0.56. So several signals are weighed by a
small logistic model. The weights are data, fitted by benchmarks/grounding_quality.py for one
embedding model; where there are none for a model, or no vectors, words alone decide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from deployments.contracts.retrieval import Passage
from deployments.query.evidence import Evidence
from deployments.query.terms import coverage


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known about a search's result; all but `terms` lie in about 0..1."""

    dense_top: float
    """Cosine of the question and the passage nearest to it."""
    dense_gap: float
    """How far that stands above the mean of the passages found."""
    sentence_top: float
    """Cosine of the question and the sentence nearest to it."""
    coverage_passage: float
    """Share of the question's weighted terms in the passage that holds most of them."""
    coverage_sentence: float
    """The same for the sentence that holds most of them."""
    coverage_all: float
    """The same for all passages together."""
    agreement: float
    """1 where one passage is the best by cosine and by coverage alike."""
    terms: float
    """ln(1 + the number of content terms in the question)."""


@dataclass(frozen=True, slots=True)
class RelevanceModel:
    """A logistic model over `Signals`: a fit's weights in the order of its fields."""

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def probability(self, signals: Signals) -> float:
        """The probability that the passages hold the answer."""
        pairs = zip(self.weights, astuple(signals), strict=True)
        return 1 / (1 + math.exp(-self.bias - sum(weight * value for weight, value in pairs)))

    def relevant(self, signals: Signals) -> bool:
        return self.probability(signals) >= self.threshold


def observe(evidence: Evidence, passages: Sequence[Passage]) -> Signals:
    """The signals of one search; dense ones are 0 where no vectors are to be had."""
    dense = [p.dense_score for p in passages if p.dense_score is not None]
    weights = evidence.question_terms
    by_passage = [coverage(weights, held) for held in evidence.passage_terms]
    sentences = evidence.sentences
    similar = [s.similarity for s in sentences if s.similarity is not None]
    top = max(dense, default=0.0)
    return Signals(
        dense_top=top,
        dense_gap=top - sum(dense) / len(dense) if dense else 0.0,
        sentence_top=max(similar, default=0.0),
        coverage_passage=max(by_passage, default=0.0),
        coverage_sentence=max((s.coverage for s in sentences), default=0.0),
        coverage_all=coverage(weights, frozenset().union(*evidence.passage_terms)),
        agreement=float(_agree(passages, by_passage)),
        terms=math.log1p(len(weights)),
    )


def _agree(passages: Sequence[Passage], by_passage: Sequence[float]) -> bool:
    """Whether the nearest passage holds as many of the question's terms as any other does."""
    dense = [-1.0 if p.dense_score is None else p.dense_score for p in passages]
    if not dense:
        return False
    return by_passage[dense.index(max(dense))] >= max(by_passage) > 0
