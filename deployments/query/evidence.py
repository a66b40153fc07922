"""The sentences of the best passages, each weighed against the question.

One gathering feeds four users: the refusal looks at how good the best sentence is, the prompt of
a small model shows the best sentences instead of whole passages, the extractive answer quotes
them, and grounding compares the answer with the vectors computed here. The number of sentences
embedded for a question is bounded, and vectors of sentences seen before are kept.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from deployments.contracts.embedding import Embedder, Vectors
from deployments.contracts.retrieval import Passage
from deployments.query.sentences import Span, split_sentences
from deployments.query.terms import coverage, rarity, terms

HEADING_SEPARATOR = " > "
"""Between the headings of a chunk's path, as ingestion writes them."""
LEXICAL_SHARE = 0.3
"""Weight of word coverage beside cosine similarity in a sentence's score. Of 20 handbook
questions any share from 0 to 0.5 ranks a right sentence first 20 times, 0.7 19, words alone 18."""

STANDING_WEIGHT = 2.0
"""How much it costs a sentence that its passage was found with a lower score than the best one,
relative to that. Of 237 FAQ questions with the answer among five passages, the first sentence is
from the right passage in 72 % (73 and 71 % of the two halves), without it in 59 %; and in 56 %
where sentences were compared without their headings as well."""


@dataclass(frozen=True, slots=True)
class EvidenceSentence:
    """A sentence of passage number `passage` (from 1) and how it bears on the question.

    `similarity` is the cosine to the question, None where no vectors are to be had. `heading` is
    the innermost one above it, `standing` the passage's score as a share of the best one's.
    """

    passage: int
    span: Span
    text: str
    terms: frozenset[str]
    similarity: float | None
    coverage: float
    heading: str = ""
    standing: float = 1.0

    @property
    def in_context(self) -> str:
        """What to compare with a question: "8202 and 8201." says little, below "Ports" much."""
        return f"{self.heading}\n{self.text}" if self.heading else self.text

    @property
    def score(self) -> float:
        own = self.coverage
        if self.similarity is not None:
            own = (1 - LEXICAL_SHARE) * self.similarity + LEXICAL_SHARE * self.coverage
        return own - STANDING_WEIGHT * (1 - self.standing)


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """Sentences in reading order; row i of `vectors` belongs to sentence i."""

    question_terms: Mapping[str, float]
    passage_terms: tuple[frozenset[str], ...]
    sentences: tuple[EvidenceSentence, ...]
    vectors: Vectors | None

    def best(self, count: int) -> list[EvidenceSentence]:
        """The `count` sentences of highest score, best first."""
        return sorted(self.sentences, key=lambda sentence: -sentence.score)[:count]


class SentenceVectors:
    """Unit vectors of sentences, the most recently used kept."""

    def __init__(self, embedder: Embedder, keep: int = 4096) -> None:
        self._embedder = embedder
        self._keep = keep
        self._vectors: OrderedDict[str, Vectors] = OrderedDict()

    async def of(self, sentences: Sequence[str]) -> Vectors:
        """One row a sentence, computed in one call for all that are new.

        Raises:
            EmbeddingUnavailable: the engine failed.
        """
        known = {text: self._vectors[text] for text in sentences if text in self._vectors}
        missing = [text for text in dict.fromkeys(sentences) if text not in known]
        if missing:
            rows = await self._embedder.embed(missing)
            known.update(zip(missing, rows, strict=True))
        for text, value in known.items():
            self._vectors[text] = value
            self._vectors.move_to_end(text)
        while len(self._vectors) > self._keep:
            self._vectors.popitem(last=False)
        return np.stack([known[text] for text in sentences])


def weigh(question: str, passages: Sequence[Passage], max_sentences: int) -> Evidence:
    """The evidence that words alone give, of at most `max_sentences` sentences.

    Where passages hold more, each gives an equal share, the sentences nearest to the question's
    words first and then in reading order.
    """
    held = tuple(_terms_of(passage.chunk.text) for passage in passages)
    weights = rarity(terms(question), held)
    chosen: list[EvidenceSentence] = []
    for index, passage in enumerate(passages):
        share = (max_sentences - len(chosen)) // (len(passages) - index)
        found = _sentences_of(index + 1, passage, weights, _standing(passage, passages))
        if len(found) > share:
            ranked = sorted(found, key=lambda sentence: -sentence.coverage)[:share]
            found = sorted(ranked, key=lambda sentence: sentence.span.start)
        chosen.extend(found)
    return Evidence(weights, held, tuple(chosen), None)


def compare(evidence: Evidence, vectors: Vectors, question: Vectors) -> Evidence:
    """`evidence` with the cosine of each sentence to the question added."""
    similarities = vectors @ question
    sentences = tuple(
        replace(s, similarity=float(similarity))
        for s, similarity in zip(evidence.sentences, similarities, strict=True)
    )
    return Evidence(evidence.question_terms, evidence.passage_terms, sentences, vectors)


def _standing(passage: Passage, passages: Sequence[Passage]) -> float:
    best = max(other.score for other in passages)
    return max(0.0, passage.score / best) if best > 0 else 1.0


def _sentences_of(
    number: int, passage: Passage, weights: Mapping[str, float], standing: float
) -> list[EvidenceSentence]:
    heading = passage.chunk.heading.rpartition(HEADING_SEPARATOR)[2]
    found = [
        EvidenceSentence(
            number, span, sentence, words, None, coverage(weights, words), heading, standing
        )
        for span, sentence, words in _read(passage.chunk.text)
    ]
    return [sentence for sentence in found if len(sentence.terms) > 1] or found


# What is asked about is found again and again: a passage is taken apart once.
@lru_cache(maxsize=1024)
def _read(text: str) -> tuple[tuple[Span, str, frozenset[str]], ...]:
    spans = split_sentences(text)
    sentences = [text[span.start : span.end] for span in spans]
    return tuple(
        (span, sentence, frozenset(terms(sentence)))
        for span, sentence in zip(spans, sentences, strict=True)
    )


@lru_cache(maxsize=1024)
def _terms_of(text: str) -> frozenset[str]:
    return frozenset(terms(text))
