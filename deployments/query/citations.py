"""The `[n]` markers a model writes, read while its answer streams by.

A marker that points at no passage is taken out before anyone sees it and counted, so that the
streamed pieces joined are the answer's final text and every number in it can be followed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.query.sentences import Span, split_sentences

_MARKER = re.compile(r"(?P<space>[ \t]*)\[(?P<numbers>\d{1,3}(?:\s*,\s*\d{1,3})*)\](?!\()")
_UNFINISHED = re.compile(r"[ \t]*(?:\[[\d,\s]{0,24}\]?)?$|`+$")
_TICKS = re.compile(r"`+")


@dataclass(frozen=True, slots=True)
class Marker:
    """A marker at `start`..`end` of the answer and the passages (from 1) it names."""

    start: int
    end: int
    passages: tuple[int, ...]


class MarkerFilter:
    """Takes the raw pieces of an answer, gives back the text to show, notes its markers.

    Code (between backticks) and indexes such as `argv[0]` are left as they are.
    """

    def __init__(self, passages: int) -> None:
        self._count = passages
        self._pending = ""
        self._ticks = ""
        self._length = 0
        self._last = ""
        self._markers: list[Marker] = []
        self._dropped = 0

    @property
    def markers(self) -> tuple[Marker, ...]:
        return tuple(self._markers)

    @property
    def dropped(self) -> int:
        return self._dropped

    def feed(self, piece: str) -> str:
        """The text that is certain by now; the rest waits for the next piece."""
        self._pending += piece
        held = _UNFINISHED.search(self._pending)
        cut = held.start() if held else len(self._pending)
        ready, self._pending = self._pending[:cut], self._pending[cut:]
        return self._pass_on(ready)

    def flush(self) -> str:
        """The text still held back, at the end of the answer."""
        ready, self._pending = self._pending, ""
        return self._pass_on(ready)

    def _pass_on(self, text: str) -> str:
        shown = ""
        position = 0
        for ticks in _TICKS.finditer(text):
            shown += self._show(text[position : ticks.start()])
            shown += self._emit(ticks.group())
            position = ticks.end()
            if not self._ticks:
                self._ticks = ticks.group()
            elif self._ticks == ticks.group():
                self._ticks = ""
        return shown + self._show(text[position:])

    def _show(self, text: str) -> str:
        """One run of text without backticks; markers count only outside code."""
        if self._ticks:
            return self._emit(text)
        shown = ""
        position = 0
        for found in _MARKER.finditer(text):
            shown += self._emit(text[position : found.start()])
            shown += self._mark(found)
            position = found.end()
        return shown + self._emit(text[position:])

    def _mark(self, found: re.Match[str]) -> str:
        numbers = [int(number) for number in found["numbers"].split(",")]
        if 0 in numbers and not found["space"] and (self._last.isalnum() or self._last in "_)]"):
            return self._emit(found.group())
        valid = tuple(dict.fromkeys(n for n in numbers if 1 <= n <= self._count))
        self._dropped += sum(not 1 <= n <= self._count for n in numbers)
        if not valid:
            return ""
        shown = self._emit(found["space"] if self._length else "")
        start = self._length
        shown += self._emit(f"[{', '.join(map(str, valid))}]")
        self._markers.append(Marker(start, self._length, valid))
        return shown

    def _emit(self, text: str) -> str:
        self._length += len(text)
        if text:
            self._last = text[-1]
        return text


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A sentence of an answer with the markers that belong to it.

    `words` is the sentence as it reads without its markers.
    """

    span: Span
    words: str
    passages: tuple[int, ...]


def answer_sentences(text: str, markers: Sequence[Marker]) -> list[AnswerSentence]:
    """Split an answer; a marker after a full stop belongs to the sentence before it."""
    spans: list[Span] = []
    for span in split_sentences(text):
        start = span.start
        for marker in markers:
            follows = spans and marker.start == start and "\n" not in text[spans[-1].end : start]
            if follows and marker.end <= span.end:
                spans[-1] = Span(spans[-1].start, marker.end)
                rest = text[marker.end : span.end]
                start = marker.end + len(rest) - len(rest.lstrip(" \t.,;"))
        if start < span.end:
            spans.append(Span(start, span.end))
    return [_sentence(text, span, markers) for span in spans]


def _sentence(text: str, span: Span, markers: Sequence[Marker]) -> AnswerSentence:
    inside = [m for m in markers if span.start <= m.start and m.end <= span.end]
    words, position = "", span.start
    for marker in inside:
        words += text[position : marker.start].rstrip(" ")
        position = marker.end
    words += text[position : span.end]
    named = dict.fromkeys(number for marker in inside for number in marker.passages)
    return AnswerSentence(span, words.strip(), tuple(named))
