"""PDF: a section a page, headed by the bookmark that leads to it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, PdfReadError

from deployments.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
)
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source

_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st", "\xad": ""}
)
_HYPHENATION = re.compile(r"(?<=[a-zà-ÿ])-\n(?=[a-zà-ÿ])")
_LOCKED = "The PDF is protected by a password."


def read(source: Source) -> ExtractedDocument:
    """Sections carry page numbers that start at 1."""
    try:
        reader = PdfReader(source.path, strict=False)
        _unlock(reader)
        return _extract(reader, source)
    except (FileNotDecryptedError, DependencyError) as error:
        raise EncryptedDocument(_LOCKED) from error
    except PdfReadError as error:
        raise DamagedDocument("The file is not a whole PDF.") from error


def _unlock(reader: PdfReader) -> None:
    """An owner's password alone lets everyone read: the user's password is empty then."""
    if reader.is_encrypted and not reader.decrypt(""):
        raise EncryptedDocument(_LOCKED)


def _extract(reader: PdfReader, source: Source) -> ExtractedDocument:
    pages = len(reader.pages)
    if pages > source.limits.max_pages:
        raise DocumentTooLarge(
            f"The PDF has {pages:,} pages; the limit is {source.limits.max_pages:,}.",
            limit_pages=source.limits.max_pages,
        )
    bookmarks = sorted(_bookmarks(reader, source.limits.max_depth), key=lambda mark: mark[0])
    starts = [page for page, _, _ in bookmarks]
    builder = DocumentBuilder(source.limits)
    entered = 0
    for number, page in enumerate(reader.pages, 1):
        upto = bisect_right(starts, number)
        for _, level, title in bookmarks[entered:upto]:
            builder.heading(level, title)
        entered = max(entered, upto)
        text = page.extract_text().translate(_LIGATURES)
        builder.add(_HYPHENATION.sub("", text), page=number)
    try:
        return builder.build(_title(reader), source.stem, {"pages": pages})
    except EmptyDocument:
        raise EmptyDocument(
            "The PDF holds no text: its pages seem to be scanned images; run OCR over it first."
        ) from None


def _bookmarks(reader: PdfReader, max_depth: int) -> Iterator[tuple[int, int, str]]:
    """(page, level, title) of each bookmark. Broken bookmarks cost headings, never the text."""
    try:
        stack: list[tuple[int, Iterator[Any]]] = [(1, iter(reader.outline))]
    except Exception:  # noqa: BLE001 - the text is still there
        return
    while stack:
        level, entries = stack[-1]
        entry = next(entries, None)
        if entry is None:
            stack.pop()
        elif isinstance(entry, list):
            if level < max_depth:
                stack.append((level + 1, iter(entry)))
        else:
            try:
                page = reader.get_destination_page_number(entry)
                title = str(entry.title or "")
            except Exception:  # noqa: BLE001, S112 - as above
                continue
            if page is not None and page >= 0:
                yield page + 1, level, title


def _title(reader: PdfReader) -> str:
    try:
        return str((reader.metadata.title if reader.metadata else None) or "")
    except Exception:  # noqa: BLE001 - a broken information dictionary costs the title only
        return ""
