"""PDF: a section a page, headed by the bookmark that leads to it."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from pypdf import PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, PdfReadError

from deployments.errors import (
    DamagedDocument,
    DocumentTooLarge,
    EmptyDocument,
    EncryptedDocument,
)
from deployments.ingestion.readers.document import (
    MAX_HEADING_CHARACTERS,
    DocumentBuilder,
    ExtractedDocument,
    Source,
    clean,
)

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
    first = source.pages.first
    last = min(pages, first + source.pages.count)
    builder = DocumentBuilder(source.limits)
    entered = bisect_right(starts, first)
    builder.resume(
        [(level, title) for _, level, title in bookmarks[:entered]],
        bare=entered > 0 and not _any_text(reader, starts[entered - 1], first),
    )
    for number in range(first + 1, last + 1):
        upto = bisect_right(starts, number)
        for _, level, title in bookmarks[entered:upto]:
            builder.heading(level, title)
        entered = upto
        builder.add(_text(reader, number), page=number)
    if last == pages:
        builder.leave_headings()
    title = _title(reader) or (bookmarks[0][2] if bookmarks else "")
    document = builder.so_far(title, source.stem, {"pages": pages})
    if not document.sections and last - first == pages:
        raise EmptyDocument(
            "The PDF holds no text: its pages seem to be scanned images; run OCR over it first."
        )
    return replace(document, pages=pages)


def _text(reader: PdfReader, number: int) -> str:
    text = reader.pages[number - 1].extract_text().translate(_LIGATURES)
    return _HYPHENATION.sub("", text)


def _any_text(reader: PdfReader, first: int, last: int) -> bool:
    """Whether a page has text, from the last on: there it nearly always is."""
    return any(clean(_text(reader, number)).strip() for number in range(last, first - 1, -1))


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
                title = " ".join(clean(str(entry.title or "")).split())[:MAX_HEADING_CHARACTERS]
            except Exception:  # noqa: BLE001, S112 - as above
                continue
            if page is not None and page >= 0 and title:
                yield page + 1, level, title


def _title(reader: PdfReader) -> str:
    try:
        title = str((reader.metadata.title if reader.metadata else None) or "")
        return " ".join(clean(title).split())
    except Exception:  # noqa: BLE001 - a broken information dictionary costs the title only
        return ""
