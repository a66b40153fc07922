"""What a reader gives back, and the builder that keeps every reader within its limits."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from deployments.errors import DocumentTooLarge, EmptyDocument

if TYPE_CHECKING:  # the contract's module brings numpy, which a reader's process does without
    from deployments.contracts.retrieval import Metadata

SECTION_SEPARATOR = "\n\n"
HEADING_SEPARATOR = " > "
MAX_HEADING_CHARACTERS = 200
MAX_TITLE_CHARACTERS = 300
MIB = 1024 * 1024

_LINE_BREAKS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_NOT_TEXT = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_TRAILING_BLANKS = re.compile(r"[ \t\xa0]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """How much one file may ask for. A breach is DocumentTooLarge.

    `max_compression_ratio` holds for each member of an archive above a mebibyte: text in office
    files packs 5 to 50 times, deflate's own bound is 1,032. `max_depth` bounds nesting of parts,
    shapes and values.
    """

    max_bytes: int = 200 * MIB
    max_pages: int = 5_000
    max_characters: int = 20_000_000
    max_sections: int = 200_000
    max_unpacked_bytes: int = 500 * MIB
    max_compression_ratio: int = 200
    max_members: int = 20_000
    max_depth: int = 100


@dataclass(frozen=True, slots=True)
class PageRange:
    """Which pages to read, from `first` (counted from 0) on; formats without pages are read whole.

    A range's sections are those that reading all pages at once would give for it.
    """

    first: int = 0
    count: int = sys.maxsize


EVERY_PAGE = PageRange()


@dataclass(frozen=True, slots=True)
class Source:
    """The file a reader is asked to read."""

    path: Path
    content_type: str
    name: str
    limits: ReadLimits
    pages: PageRange = EVERY_PAGE

    @property
    def stem(self) -> str:
        return PurePath(self.name).stem or self.name


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of text under one heading.

    `heading` is the path of headings above it, outermost first. `metadata` is set on a row of a
    table: such a section is a small document of its own and shares no chunk with another.
    """

    text: str
    heading: str = ""
    page: int | None = None
    metadata: Metadata = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ExtractedDocument:
    """A file's text, in reading order. `pages` counts all of a file that can be read in ranges."""

    title: str
    sections: tuple[Section, ...]
    metadata: Metadata = field(default_factory=dict)
    pages: int = 0

    @property
    def text(self) -> str:
        """The extracted text that every character offset of a chunk refers to."""
        return SECTION_SEPARATOR.join(section.text for section in self.sections)


class DocumentBuilder:
    """Collects sections under a path of headings, within the limits."""

    def __init__(self, limits: ReadLimits) -> None:
        self._limits = limits
        self._sections: list[Section] = []
        self._path: list[tuple[int, str]] = []
        self._first_heading = ""
        self._bare = False  # the innermost heading has no text below it yet
        self._characters = 0

    def heading(self, level: int, title: str) -> None:
        """Enter a heading: it closes those of its own level and below."""
        title = " ".join(clean(title).split())[:MAX_HEADING_CHARACTERS]
        if not title:
            return
        if self._bare and level <= self._path[-1][0]:
            self._keep_bare_heading()
        while self._path and self._path[-1][0] >= level:
            self._path.pop()
        self._path.append((level, title))
        self._bare = True
        self._first_heading = self._first_heading or title

    def resume(self, headings: Iterable[tuple[int, str]], *, bare: bool) -> None:
        """Stand where reading stopped: below these headings, the last perhaps without text yet."""
        for level, title in headings:
            self._bare = False
            self.heading(level, title)
        self._bare = bare

    def leave_headings(self) -> None:
        """What follows stands below no heading."""
        if self._bare:
            self._keep_bare_heading()
        self._path.clear()

    def add(
        self,
        text: str,
        *,
        page: int | None = None,
        metadata: Mapping[str, str | int | float | bool] | None = None,
        verbatim: bool = False,
    ) -> None:
        """Add text below the present heading; blank text is left out.

        Raises:
            DocumentTooLarge: more text or more sections than the limits allow.
        """
        self._spend(len(text))
        text = clean(text)
        text = text.strip("\n").rstrip() if verbatim else tidy(text)
        if not text.strip():
            return
        self._bare = False
        self._append(Section(text, self._heading_path(), page, dict(metadata or {})))

    def build(
        self, title: str, fallback_title: str, metadata: Mapping[str, str | int] | None = None
    ) -> ExtractedDocument:
        """Close the document. Its title is the given one, its first heading, or the fallback.

        Raises:
            EmptyDocument: no section holds any text.
        """
        self.leave_headings()
        if not self._sections:
            raise EmptyDocument("The file holds no text.")
        return self.so_far(title, fallback_title, metadata)

    def so_far(
        self, title: str, fallback_title: str, metadata: Mapping[str, str | int] | None = None
    ) -> ExtractedDocument:
        """The document as it is, perhaps empty: a part of one whose rest is read elsewhere."""
        named = " ".join(clean(title).split()) or self._first_heading or clean(fallback_title)
        kept = {key: value for key, value in (metadata or {}).items() if value not in ("", None)}
        return ExtractedDocument(named[:MAX_TITLE_CHARACTERS], tuple(self._sections), kept)

    def _keep_bare_heading(self) -> None:
        """A heading with nothing below it is text of its own, or its words would be lost."""
        _, title = self._path.pop()
        self._append(Section(title, self._heading_path()))
        self._bare = False

    def _heading_path(self) -> str:
        return HEADING_SEPARATOR.join(title for _, title in self._path)

    def _spend(self, characters: int) -> None:
        self._characters += characters
        if self._characters > self._limits.max_characters:
            raise DocumentTooLarge(
                f"The file holds more than {self._limits.max_characters:,} characters of text.",
                limit_characters=self._limits.max_characters,
            )

    def _append(self, section: Section) -> None:
        if len(self._sections) >= self._limits.max_sections:
            raise DocumentTooLarge(
                f"The file holds more than {self._limits.max_sections:,} rows or sections.",
                limit_sections=self._limits.max_sections,
            )
        self._sections.append(section)


def clean(text: str) -> str:
    """Line ends as newlines, and no characters that are not text (a store or JSON would choke)."""
    return _NOT_TEXT.sub("", _LINE_BREAKS.sub("\n", text))


def tidy(text: str) -> str:
    """No blanks at line ends, one empty line between paragraphs, none around."""
    return _BLANK_LINES.sub("\n\n", _TRAILING_BLANKS.sub("", text)).strip()
