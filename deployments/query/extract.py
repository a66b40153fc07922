"""An answer in the documents' own words.

The best sentence alone answers more questions rightly than a small model given the same
passages, costs nothing more, and cannot invent. It is a mode of its own and what is served while
the model is out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployments.contracts.query import Citation, SentenceGrounding
from deployments.query.evidence import Evidence, EvidenceSentence
from deployments.query.grounding import Grounding

MAX_SENTENCES = 3
NEAR_BEST = 0.85
"""A further sentence is quoted when its score is at least this share of the best one's."""
SAME_WORDS = 0.8
"""Sentences that share this part of their terms say the same; only the better one is quoted."""


@dataclass(frozen=True, slots=True)
class Extract:
    """Quoted sentences, best first, and where each stands in the answer and in its passage."""

    text: str
    grounding: Grounding


def extract(evidence: Evidence) -> Extract:
    """Quote the sentences that bear on the question; empty where there is no evidence."""
    text = ""
    citations: list[Citation] = []
    grounding: list[SentenceGrounding] = []
    for sentence in _select(evidence):
        text += "\n" if text else ""
        start = len(text)
        text += _tidy(sentence.text)
        number = sentence.passage
        citations.append(
            Citation(
                passage=number,
                start=start,
                end=len(text),
                quote_start=sentence.span.start,
                quote_end=sentence.span.end,
                score=1.0,
                origin="platform",
            )
        )
        grounding.append(SentenceGrounding(start, len(text), number, 1.0, grounded=True))
    score = 1.0 if grounding else 0.0
    return Extract(text, Grounding(tuple(citations), tuple(grounding), score))


def _select(evidence: Evidence) -> Sequence[EvidenceSentence]:
    ranked = evidence.best(len(evidence.sentences))
    chosen: list[EvidenceSentence] = []
    for sentence in ranked:
        near = sentence.score >= NEAR_BEST * ranked[0].score
        if not near or len(chosen) == MAX_SENTENCES:
            break
        if not any(_alike(sentence, other) for other in chosen):
            chosen.append(sentence)
    return chosen


def _alike(one: EvidenceSentence, other: EvidenceSentence) -> bool:
    shared = len(one.terms & other.terms)
    return shared >= SAME_WORDS * max(1, min(len(one.terms), len(other.terms)))


def _tidy(text: str) -> str:
    """Prose on one line; code, told by its indented lines, as it stands."""
    return text if "\n    " in text or "\n\t" in text else " ".join(text.split())
