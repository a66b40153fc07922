"""Where text may be cut: its words, and how strong the boundary in front of each is."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from enum import IntEnum
from functools import cache

MAX_WORD_CHARACTERS = 100
"""Longer words are cut. WordPiece takes words above this for one unknown token."""

_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
# Full-width marks are written as escapes: they look like their ASCII cousins.
_FULL_ENDS = "\u3002\uff01\uff1f"
_FULL_CLAUSES = "\uff0c\uff1b\uff1a\u3001"
_SENTENCE_ENDS = frozenset(".!?\u2026\u061f\u0964" + _FULL_ENDS)
_CLAUSE_ENDS = frozenset(",;:" + _FULL_CLAUSES)
_CLOSERS = frozenset("\"')]}\u201d\u2019\xbb\u300d\u300f\uff09\u3011")
_ABBREVIATIONS = frozenset(
    [
        "e.g",
        "i.e",
        "etc",
        "vs",
        "cf",
        "mr",
        "mrs",
        "ms",
        "dr",
        "prof",
        "st",
        "no",
        "fig",
        "vol",
        "approx",
        "bzw",
        "z.b",
    ]
)
_MAX_CLOSERS = 4


class Strength(IntEnum):
    """How good a cut is, best last."""

    NONE = 0
    """Inside of a word, or between a word and its punctuation."""
    CHARACTER = 1
    """Between ideographs."""
    WORD = 2
    CLAUSE = 3
    LINE = 4
    SENTENCE = 5
    PARAGRAPH = 6


def words(text: str, start: int, end: int) -> Iterator[tuple[int, str]]:
    """(position, word) of each word, ideograph and punctuation mark in text[start:end]."""
    for found in _word_pattern().finditer(text, start, end):
        yield found.start(), found[0]


def boundary_strength(text: str, before: int, after: int) -> Strength:
    """How good a cut is between a word that ends at `before` and one that starts at `after`."""
    return _unspaced(text, before) if before == after else _spaced(text, before, after)


def _spaced(text: str, before: int, after: int) -> Strength:
    lines = text.count("\n", before, after)
    if lines > 1:
        return Strength.PARAGRAPH
    end = _last_mark(text, before)
    if end in _SENTENCE_ENDS and not (end == "." and _is_abbreviation(text, before, after)):
        return Strength.SENTENCE
    if lines:
        return Strength.LINE
    return Strength.CLAUSE if end in _CLAUSE_ENDS else Strength.WORD


def _unspaced(text: str, at: int) -> Strength:
    """Text without blanks: full-width marks end sentences, ideographs may be parted."""
    previous, following = text[at - 1], text[at]
    if previous in _FULL_ENDS:
        return Strength.NONE if following in _CLOSERS else Strength.SENTENCE
    if previous in _FULL_CLAUSES:
        return Strength.CLAUSE
    if previous > "\u2e7f" and following > "\u2e7f" and following.isalnum():
        return Strength.CHARACTER
    return Strength.NONE


def _last_mark(text: str, before: int) -> str:
    """The character that ends the words, closing quotes and brackets left aside."""
    at = before - 1
    while at > max(0, before - 1 - _MAX_CLOSERS) and text[at] in _CLOSERS:
        at -= 1
    return text[at]


def _is_abbreviation(text: str, before: int, after: int) -> bool:
    """A lower-case letter follows, or the word is a known abbreviation or an initial."""
    if text[after].islower():
        return True
    at = before - 1
    floor = max(0, at - 8)
    begin = at
    while begin > floor and not text[begin - 1].isspace():
        begin -= 1
    word = text[begin:at].lstrip("([\"'")
    return word.lower() in _ABBREVIATIONS or (len(word) == 1 and word.isupper())


@cache
def _word_pattern() -> re.Pattern[str]:
    """Words as WordPiece sees them before its vocabulary: BERT's own rules, as one pattern."""
    marks = "".join(_ranges(_punctuation()))
    return re.compile(
        rf"[^\s{marks}{_IDEOGRAPHS}]{{1,{MAX_WORD_CHARACTERS}}}|[{marks}{_IDEOGRAPHS}]"
    )


def _punctuation() -> list[int]:
    """ASCII marks, and what Unicode calls punctuation."""
    return [
        code
        for code in range(sys.maxunicode + 1)
        if (33 <= code < 127 and not chr(code).isalnum())
        or unicodedata.category(chr(code))[0] == "P"
    ]


def _ranges(codes: Sequence[int]) -> Iterator[str]:
    start = previous = codes[0]
    for code in [*codes[1:], -1]:
        if code != previous + 1:
            yield f"\\U{start:08x}-\\U{previous:08x}"
            start = code
        previous = code
