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
GROUNDED_AT = 0.6
"""benchmarks/answer_quality.py: a small model's 18 right answers to handbook questions score 0.71
and more, its 2 wrong ones 0.57 and less. Few answers, and the same ones chose the number."""
FILLERS = frozenset({"answer", "question", "passag", "fact"})
"""Stems of words in which a model speaks of its task, not of the matter."""
SHORT_TERMS = 4
"""A sentence with no more content words ("It is 29.") is read together with the question."""
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


def claims(question: str, sentences: Sequence[AnswerSentence]) -> list[str]:
    """What each sentence claims, in words that stand by themselves."""
    return [
        f"{question} {sentence.words}" if _says_little(sentence) else sentence.words
        for sentence in sentences
    ]


def _says_little(sentence: AnswerSentence) -> bool:
    return 0 < len(set(terms(sentence.words))) <= SHORT_TERMS


def ground(
    question: str,
    sentences: Sequence[AnswerSentence],
    vectors: Vectors | None,
    evidence: Evidence,
    passages: Sequence[Passage],
) -> Grounding:
    """Attribute each sentence that says something; row i of `vectors` belongs to claim i.

    Without vectors (of the answer or of the evidence) shared words decide alone. A sentence
    without a content word ("Yes.") makes no claim and is left out.
    """
    known = vectors is not None and evidence.vectors is not None and len(evidence.sentences) > 0
    cosines = vectors @ evidence.vectors.T if known else None  # type: ignore[union-attr, operator]
    held_numbers = [numbers(passage.chunk.text) for passage in passages]
    citations: list[Citation] = []
    judged: list[SentenceGrounding] = []
    for index, (sentence, claim) in enumerate(
        zip(sentences, claims(question, sentences), strict=True)
    ):
        if not terms(sentence.words):
            continue
        row = None if cosines is None else cosines[index]
        support = _supports(sentence, claim, row, evidence, held_numbers)
        judged.append(_judge(sentence, support))
        citations.extend(_cite(sentence, support, judged[-1]))
    return Grounding(tuple(citations), tuple(judged), _overall(judged))


def _supports(
    sentence: AnswerSentence,
    claim: str,
    cosines: np.ndarray[tuple[int], np.dtype[np.float32]] | None,
    evidence: Evidence,
    held_numbers: Sequence[frozenset[str]],
) -> dict[int, _Support]:
    """The best support in each passage, by its number."""
    claimed, named = _matter(claim), numbers(sentence.words)
    # The question's words must not lend support to a short sentence whose own have none.
    own = _matter(sentence.words) if _says_little(sentence) else frozenset[str]()
    best: dict[int, _Support] = {}
    for index, candidate in enumerate(evidence.sentences):
        number = candidate.passage
        held = evidence.passage_terms[number - 1]
        near = len(claimed & candidate.terms) / len(claimed)
        around = len(claimed & held) / len(claimed)
        score = (near + around) / 2
        if cosines is not None:
            score = SIMILARITY_SHARE * float(cosines[index]) + WORDS_SHARE * score
        if own:
            score *= len(own & held) / len(own)
        if named - held_numbers[number - 1]:
            score *= FOREIGN_NUMBER_FACTOR
        if number not in best or score > best[number].score:
            best[number] = _Support(min(1.0, max(0.0, score)), candidate)
    return best


def _matter(text: str) -> frozenset[str]:
    """The terms that speak of the matter, or all of them where none does."""
    found = frozenset(terms(text))
    return found - FILLERS or found


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
