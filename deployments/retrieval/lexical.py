"""Lexical search: which words count, and BM25 over chunks in memory.

The word list and the parameters are Milvus' own configuration as well (`schema.py`), so that the
in-memory store ranks as the real one does.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Final

K1: Final = 1.2
B: Final = 0.75
"""Robertson and Zaragoza, "The Probabilistic Relevance Framework" (2009), section 3.5."""

# fmt: off
STOP_WORDS: Final = (
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it",
    "no", "not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they",
    "this", "to", "was", "will", "with",
)
# fmt: on
"""Lucene's English stop words: what every sentence holds and no question is about."""

_WORD: Final = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text that count, lower case, in order."""
    return [word for word in _WORD.findall(text.lower()) if word not in STOP_WORDS]


class Bm25Index:
    """Scores by Okapi BM25 with the idf that is never negative (Lucene's)."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._lengths: dict[str, int] = {}
        self._postings: dict[str, dict[str, int]] = defaultdict(dict)
        for key, text in texts.items():
            counts = Counter(words(text))
            self._lengths[key] = counts.total()
            for word, count in counts.items():
                self._postings[word][key] = count
        self._mean_length = sum(self._lengths.values()) / max(len(self._lengths), 1) or 1.0

    def scores(self, query: str) -> dict[str, float]:
        """Score of every text that shares a word with the query, by key."""
        found: dict[str, float] = defaultdict(float)
        for word, times in Counter(words(query)).items():
            postings = self._postings.get(word, {})
            unseen = len(self._lengths) - len(postings)
            weight = times * math.log(1.0 + (unseen + 0.5) / (len(postings) + 0.5))
            for key, count in postings.items():
                length = 1.0 - B + B * self._lengths[key] / self._mean_length
                found[key] += weight * count * (K1 + 1.0) / (count + K1 * length)
        return dict(found)
