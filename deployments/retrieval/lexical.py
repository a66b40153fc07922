"""Lexical search: which words count, in which form, and BM25 over chunks in memory.

Stems are made here, for chunks and for questions, and not by the store: Milvus Lite knows no
stemmer. They are worth 0.08 of nDCG@10 to lexical search (0.415 to 0.493 on 591 FAQ questions).
English only in stop words and endings; other languages keep their words whole, which weakens the
search but never breaks it.
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

_WORD: Final = re.compile(r"[^\W_]+")

STOP_WORDS = frozenset(
    """a about above after again against all also am an and any anybody anyone anything are aren as
    at be because been before being below between both but by came can cannot could couldn did
    didn do does doesn doing don done down during each either else etc ever every everything few
    find for from further get gets getting give given go goes going got had hadn happen happens has
    hasn have haven having he her here hers herself him himself his how however i if in into is
    isn it its itself just keep know let ll like m many may maybe me mean means might mine more most
    much must my myself need needs neither no nor not now of off on once one only or other others
    our ours ourselves out over own please put re really s same say see seem shall she should
    shouldn show so some somebody someone something still such t take tell than that the their
    theirs them themselves then there these they thing things this those though through to too
    under until up upon us use used using ve very want wants was wasn way ways we well were weren
    what when where whether which while who whom whose why will with within without won work works
    would wouldn yes yet you your yours yourself""".split()  # noqa: SIM905 - a table, not code
)

_ENDINGS = (
    ("ations", "at"),
    ("ation", "at"),
    ("ings", ""),
    ("ing", ""),
    ("edly", ""),
    ("ies", "y"),
    ("ied", "y"),
    ("ed", ""),
    ("ers", "er"),
    ("es", "e"),
    ("ly", ""),
    ("s", ""),
)


def stem(word: str) -> str:
    """Cut common English endings, so that "installing" meets "installed" and "installs"."""
    if word.endswith("ss") or not word.isalpha():
        return word
    for ending, replacement in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) + len(replacement) >= 3:
            word = word[: len(word) - len(ending)] + replacement
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


def terms(text: str) -> list[str]:
    """The stemmed content words of `text` in order, repeats included."""
    words = (match.group().lower() for match in _WORD.finditer(text))
    return [
        stem(word)
        for word in words
        if word not in STOP_WORDS and (len(word) > 1 or word.isdigit() or not word.isascii())
    ]


def indexed_words(title: str, heading: str, text: str) -> str:
    """What is indexed for lexical search of a chunk: the terms of all that it is found by."""
    return " ".join(terms(f"{title}\n{heading}\n{text}"))


class Bm25Index:
    """Scores by Okapi BM25 with the idf that is never negative (Lucene's)."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._lengths: dict[str, int] = {}
        self._postings: dict[str, dict[str, int]] = defaultdict(dict)
        for key, text in texts.items():
            counts = Counter(terms(text))
            self._lengths[key] = counts.total()
            for word, count in counts.items():
                self._postings[word][key] = count
        self._mean_length = sum(self._lengths.values()) / max(len(self._lengths), 1) or 1.0

    def scores(self, query: str) -> dict[str, float]:
        """Score of every text that shares a word with the query, by key."""
        found: dict[str, float] = defaultdict(float)
        for word, times in Counter(terms(query)).items():
            postings = self._postings.get(word, {})
            unseen = len(self._lengths) - len(postings)
            weight = times * math.log(1.0 + (unseen + 0.5) / (len(postings) + 0.5))
            for key, count in postings.items():
                length = 1.0 - B + B * self._lengths[key] / self._mean_length
                found[key] += weight * count * (K1 + 1.0) / (count + K1 * length)
        return dict(found)
