"""Do the passages answer the question at all? Decided before a model is asked.

A similarity threshold alone does not tell: with the answer in the corpus the best passage has a
median cosine of 0.62 (MiniLM), with it removed still 0.56. So several signals are weighed by a
small logistic model. The weights are data, fitted by benchmarks/grounding_quality.py for one
embedding model; where there are none for a model, or no vectors, words alone decide.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

from deployments.query.evidence import Evidence
from deployments.query.terms import coverage


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known about a search's result, each in about 0..1.

    Coverage is the share of the question's content words, weighted by rarity, that a text holds.
    """

    sentence_top: float
    """Cosine of the question and the sentence nearest to it; 0 without vectors."""
    sentence_next: float
    """Mean cosine of the next four sentences."""
    coverage_passage: float
    """Coverage by the passage that holds most."""
    coverage_sentence: float
    """Coverage by the sentence that holds most."""
    coverage_nearest: float
    """Coverage by the passage of the nearest sentence: do meaning and words agree?"""
    coverage_all: float
    """Coverage by all passages together."""


@dataclass(frozen=True, slots=True)
class RelevanceModel:
    """A logistic model over `Signals`, its weights in the order of their fields."""

    weights: tuple[float, ...]
    bias: float
    threshold: float

    def probability(self, signals: Signals) -> float:
        """The probability that the passages hold the answer."""
        pairs = zip(self.weights, astuple(signals), strict=True)
        return 1 / (1 + math.exp(-self.bias - sum(weight * value for weight, value in pairs)))

    def relevant(self, signals: Signals) -> bool:
        return self.probability(signals) >= self.threshold


MINILM = {
    "all-MiniLM-L6-v2": RelevanceModel(
        weights=(4.313, 3.721, 0.690, -0.569, 1.115, 0.860), bias=-5.317, threshold=0.223
    ),
}
"""Fitted by benchmarks/grounding_quality.py on 320 FAQ questions and 43 off-topic ones. On the
others it lets 99 % of 274 answerable questions through and refuses all 37 off-topic ones; it
refuses only 6 % of the questions whose own answer was removed but whose neighbours remain."""

LEXICAL = RelevanceModel(
    weights=(0.0, 0.0, 1.116, 0.186, 2.153, 1.708), bias=-2.531, threshold=0.193
)
"""By words alone, fitted the same way: 95 % of the answerable let through, 81 % of the off-topic
refused."""


def observe(evidence: Evidence) -> Signals:
    """The signals of one search's evidence."""
    weights = evidence.question_terms
    by_passage = [coverage(weights, held) for held in evidence.passage_terms]
    near = sorted(evidence.sentences, key=lambda s: -(s.similarity or 0.0))
    cosines = [s.similarity for s in near if s.similarity is not None]
    following = cosines[1:5]
    return Signals(
        sentence_top=max(cosines, default=0.0),
        sentence_next=sum(following) / len(following) if following else 0.0,
        coverage_passage=max(by_passage, default=0.0),
        coverage_sentence=max((s.coverage for s in evidence.sentences), default=0.0),
        coverage_nearest=by_passage[near[0].passage - 1] if near else 0.0,
        coverage_all=coverage(weights, frozenset().union(*evidence.passage_terms)),
    )
