"""The words of a text that carry its meaning, for cheap lexical evidence.

English only in its stop words and endings; other languages keep their words whole, which
weakens the evidence but never breaks it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

_WORD = re.compile(r"[^\W_]+", re.UNICODE)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")

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


def numbers(text: str) -> frozenset[str]:
    """The numbers written in `text`, thousands separators aside."""
    return frozenset(match.group().replace(",", "") for match in _NUMBER.finditer(text))


def rarity(wanted: Collection[str], documents: Sequence[Collection[str]]) -> Mapping[str, float]:
    """A weight per wanted term: ln(1 + n / (df + 0.5)), the rarer in `documents` the heavier.

    The documents are the candidates of one search, not the collection: enough to tell a word
    that every candidate holds from one that few or none do.
    """
    count = len(documents)
    return {
        term: math.log(1 + count / (sum(term in document for document in documents) + 0.5))
        for term in set(wanted)
    }


def coverage(weights: Mapping[str, float], held: Collection[str]) -> float:
    """The share (0..1) of the weighted terms that `held` contains; 0 where nothing is asked."""
    total = sum(weights.values())
    if total <= 0:
        return 0.0
    return sum(weight for term, weight in weights.items() if term in held) / total
