"""Which passage supports each sentence of an answer, whoever wrote the answer.

Support is measured three ways that fail differently: the cosine to the nearest sentence of the
passage finds paraphrases, shared words find names and terms, and a number that the passage does
not hold is a warning by itself. No model is asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.contracts.embedding import Vectors
from deployments.contracts.query import Citation, SentenceGrounding
from deployments.contracts.retrieval import Passage
from deployments.query.citations import AnswerSentence
from deployments.query.evidence import Evidence, EvidenceSentence
from deployments.query.terms import numbers, terms

SIMILARITY_SHARE = 0.5
"""Cosine, and words shared with the sentence and with its whole passage, weigh half and half."""
WORDS_SHARE = 0.5
GROUNDED_AT = 0.55
"""Measured by benchmarks/grounding_quality.py, section "grounding"."""
FOREIGN_NUMBER_FACTOR = 0.5
"""A sentence with a number that its passage does not hold keeps this share of its score."""


@dataclass(frozen=True, slots=True)
class Grounding:
    """Citations and support of a whole answer; `score` is the mean weighted by length."""

    citations: tuple[Citation, ...] = ()
    sentences: tuple[SentenceGrounding, ...] = ()
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class _Support:
    score: float
    quote: EvidenceSentence


def ground(
    sentences: Sequence[AnswerSentence],
    vectors: Vectors | None,
    evidence: Evidence,
    passages: Sequence[Passage],
) -> Grounding:
    """Attribute each sentence that says something; row i of `vectors` belongs to sentence i.

    Without vectors (of the answer or of the evidence) shared words decide alone. A sentence
    without a content word ("Yes.") makes no claim and is left out.
    """
    known = vectors is not None and evidence.vectors is not None and len(evidence.sentences) > 0
    cosines = vectors @ evidence.vectors.T if known else None  # type: ignore[union-attr, operator]
    held_numbers = [numbers(passage.chunk.text) for passage in passages]
    citations: list[Citation] = []
    judged: list[SentenceGrounding] = []
    for index, sentence in enumerate(sentences):
        if not terms(sentence.words):
            continue
        row = None if cosines is None else cosines[index]
        support = _supports(sentence.words, row, evidence, held_numbers)
        judged.append(_judge(sentence, support))
        citations.extend(_cite(sentence, support, judged[-1]))
    return Grounding(tuple(citations), tuple(judged), _overall(judged))


def claims(sentences: Sequence[AnswerSentence]) -> list[str]:
    """The texts whose vectors `ground` wants, in order."""
    return [sentence.words for sentence in sentences]


def _supports(
    words: str,
    cosines: np.ndarray[tuple[int], np.dtype[np.float32]] | None,
    evidence: Evidence,
    held_numbers: Sequence[frozenset[str]],
) -> dict[int, _Support]:
    """The best support in each passage, by its number."""
    claimed, named = frozenset(terms(words)), numbers(words)
    best: dict[int, _Support] = {}
    for index, sentence in enumerate(evidence.sentences):
        number = sentence.passage
        near = len(claimed & sentence.terms) / len(claimed)
        around = len(claimed & evidence.passage_terms[number - 1]) / len(claimed)
        score = (near + around) / 2
        if cosines is not None:
            score = SIMILARITY_SHARE * float(cosines[index]) + WORDS_SHARE * score
        if named - held_numbers[number - 1]:
            score *= FOREIGN_NUMBER_FACTOR
        if number not in best or score > best[number].score:
            best[number] = _Support(min(1.0, max(0.0, score)), sentence)
    return best


def _judge(sentence: AnswerSentence, support: dict[int, _Support]) -> SentenceGrounding:
    number = max(support, key=lambda n: support[n].score, default=None)
    score = support[number].score if number is not None else 0.0
    grounded = score >= GROUNDED_AT
    return SentenceGrounding(
        start=sentence.span.start,
        end=sentence.span.end,
        passage=number if grounded else None,
        score=round(score, 4),
        grounded=grounded,
    )


def _cite(
    sentence: AnswerSentence, support: dict[int, _Support], judged: SentenceGrounding
) -> list[Citation]:
    """The model's own citations, and the platform's where none of them holds."""
    named = [number for number in sentence.passages if number in support]
    cited = [_citation(sentence, support[number], "model") for number in named]
    holds = any(support[number].score >= GROUNDED_AT for number in named)
    if judged.passage is not None and not holds:
        cited.append(_citation(sentence, support[judged.passage], "platform"))
    return cited


def _citation(sentence: AnswerSentence, support: _Support, origin: str) -> Citation:
    return Citation(
        passage=support.quote.passage,
        start=sentence.span.start,
        end=sentence.span.end,
        quote_start=support.quote.span.start,
        quote_end=support.quote.span.end,
        score=round(support.score, 4),
        origin="model" if origin == "model" else "platform",
    )


def _overall(judged: Sequence[SentenceGrounding]) -> float:
    length = sum(sentence.end - sentence.start for sentence in judged)
    if not length:
        return 0.0
    return round(sum(s.score * (s.end - s.start) for s in judged) / length, 4)
