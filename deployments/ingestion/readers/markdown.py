"""Markdown: sections by heading, their text kept as Markdown."""

from __future__ import annotations

import re
from itertools import pairwise

from markdown_it import MarkdownIt

from deployments.ingestion.readers.decoding import read_text
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source, clean

_FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*\n", re.DOTALL)
_TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE | re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\[\]]{0,500})\]\([^()]{0,2000}\)")
_MARKS = re.compile(r"[*`~]+|(?<!\w)_+|_+(?!\w)|[ \t]+#+[ \t]*$|[ \t]*\{#[\w-]+\}[ \t]*$")


def read(source: Source) -> ExtractedDocument:
    """Sections by ATX and setext headings; a heading in a code block is none."""
    text = clean(read_text(source.path))
    builder = DocumentBuilder(source.limits)
    builder_title, text = _split_front_matter(text)
    lines = text.split("\n")
    start = 0
    for first, last, level, title in _headings(text, source.limits.max_depth):
        builder.add("\n".join(lines[start:first]))
        builder.heading(level, _plain(title))
        start = last
    builder.add("\n".join(lines[start:]))
    return builder.build(builder_title, source.stem)


def _split_front_matter(text: str) -> tuple[str, str]:
    found = _FRONT_MATTER.match(text)
    if not found:
        return "", text
    title = _TITLE.search(found[1])
    return (title[1].strip("\"'") if title else ""), text[found.end() :]


def _headings(text: str, max_depth: int) -> list[tuple[int, int, int, str]]:
    """(first line, line after, level, source of the title) of each heading outside of blocks."""
    # Inline rules are left out: they are most of the time, and the only quadratic part.
    parser = MarkdownIt("commonmark", {"maxNesting": max_depth}).disable(["inline"])
    tokens = parser.parse(text)
    return [
        (opening.map[0], opening.map[1], int(opening.tag[1]), title.content)
        for opening, title in pairwise(tokens)
        if opening.type == "heading_open" and opening.level == 0 and opening.map
    ]


def _plain(title: str) -> str:
    return _MARKS.sub("", _LINK.sub(r"\1", title))
