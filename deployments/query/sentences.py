"""Where sentences begin and end, by exact offsets.

Citations point into texts by character, so a splitter here never rewrites what it splits: every
span is a slice of the text, spans are in order and do not overlap, and only white space and the
marks of Markdown structure (bullets, hashes, fences) lie outside them. It knows English prose,
Markdown lists and headings, and code, whose consecutive lines stay together.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_CHARS = 400
"""Longer runs are cut at white space: an embedding blurs, and a quote should be readable."""

_FENCE = re.compile(r"^\s{0,3}(```|~~~)")
_MARK = re.compile(r"^\s*(?:(?:[-*+•>]|\d{1,3}[.)]|#{1,6})\s+)+")
_CODE_LINE = re.compile(r"^(?: {4,}|\t)\S|^(?:>>>|\.\.\.|\$) ")
_STOP = re.compile(r"[.!?]+[\"'\u201d\u2019)\]*_`]*(?=\s)|[\u3002\uff01\uff1f]+")
_BLANK = re.compile(r"^\s*$")
_OPENS_SENTENCE = re.compile(r"\s+[\"'\u201c\u2018(\[*_`]*[A-Z0-9À-ÞА-Я]|\s+[`\[(]|\s*\n")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[\"'])(?:e\.g|i\.e|etc|cf|vs|mr|mrs|ms|dr|prof|st|no|nr|fig|figs|sec|ch|approx|"
    r"vol|pp|ed|eds|al|inc|ltd|resp|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|"
    r"[a-z]|(?:[a-z]\.)+[a-z])\.$",
    re.IGNORECASE,
)
_LINE = re.compile(r"[^\n]*\n?")


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open slice of a text."""

    start: int
    end: int


def split_sentences(text: str) -> list[Span]:
    """The sentences of `text` in order, none empty, none with white space at its ends."""
    spans: list[Span] = []
    for block, is_code in _blocks(text):
        pieces = [block] if is_code else _sentences(text, block)
        for piece in pieces:
            spans.extend(_bounded(text, piece))
    return spans


def _blocks(text: str) -> Iterator[tuple[Span, bool]]:
    """Paragraphs, list items, headings and runs of code, each with whether it is code."""
    start, was_code, fenced = -1, False, False
    position = 0
    for match in _LINE.finditer(text):
        line, begin, position = match.group(), match.start(), match.end()
        if not line:
            continue
        fence = bool(_FENCE.match(line))
        mark = None if fenced else _MARK.match(line)
        is_code = fenced or (not mark and bool(_CODE_LINE.match(line)))
        breaks = fence or bool(mark) or bool(_BLANK.match(line)) or is_code != was_code
        if breaks and start >= 0:
            yield Span(start, begin), was_code
            start = -1
        if fence:
            fenced = not fenced
        elif mark:
            start = begin + mark.end()
        elif start < 0 and not _BLANK.match(line):
            start = begin
        was_code = is_code
        if mark and mark.group().lstrip().startswith("#"):
            yield Span(start, position), False
            start = -1
    if start >= 0:
        yield Span(start, position), was_code


def _sentences(text: str, block: Span) -> Iterator[Span]:
    start = block.start
    for stop in _STOP.finditer(text, block.start, block.end):
        rest = _OPENS_SENTENCE.match(text, stop.end(), block.end)
        ends_here = stop.end() >= block.end or rest or text[stop.start()] in "\u3002\uff01\uff1f"
        before = text[max(start, stop.start() - 12) : stop.start() + 1]
        if ends_here and not (text[stop.start()] == "." and _ABBREVIATION.search(before)):
            yield Span(start, stop.end())
            start = stop.end()
    yield Span(start, block.end)


def _bounded(text: str, span: Span) -> Iterator[Span]:
    """`span` without white space at its ends, cut where it is longer than MAX_CHARS."""
    start, end = span.start, span.end
    while start < end:
        while start < end and text[start].isspace():
            start += 1
        stop = end
        if stop - start > MAX_CHARS:
            cut = max(
                text.rfind(" ", start, start + MAX_CHARS),
                text.rfind("\n", start, start + MAX_CHARS),
            )
            stop = cut if cut > start else start + MAX_CHARS
        trimmed = stop
        while trimmed > start and text[trimmed - 1].isspace():
            trimmed -= 1
        if trimmed > start:
            yield Span(start, trimmed)
        start = stop
