"""A PDF read in ranges of its pages: together they are what reading it at once gives."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from deployments.errors import EmptyDocument
from deployments.ingestion.readers.content_types import MARKDOWN, PDF
from deployments.ingestion.readers.document import PageRange, ReadLimits
from deployments.ingestion.readers.registry import read
from deployments.ingestion.sandbox import ReaderSandbox

PAGES = 12
LIMITS = ReadLimits()


def write(path: Path, seed: int, *, title: str = "") -> Path:
    """Bookmarks of three levels on some pages, some pages without text."""
    chance = random.Random(seed)
    canvas = Canvas(str(path))
    canvas.setTitle(title)
    level = -1
    for page in range(PAGES):
        if chance.random() < 0.5:
            level = chance.randint(0, min(level + 1, 2))
            canvas.bookmarkPage(f"b{page}")
            canvas.addOutlineEntry(f"Part {page}", f"b{page}", level)
        if chance.random() < 0.75:
            canvas.drawString(72, 700, f"This is what page {page} says.")
        canvas.showPage()
    canvas.save()
    return path


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("count", [1, 5])
def test_ranges_together_are_the_whole_document(tmp_path: Path, seed: int, count: int) -> None:
    path = write(tmp_path / "book.pdf", seed)
    whole = read(path, PDF, "book.pdf", LIMITS)
    parts = [
        read(path, PDF, "book.pdf", LIMITS, PageRange(first, count))
        for first in range(0, PAGES, count)
    ]
    assert sum((part.sections for part in parts), ()) == whole.sections
    assert {(part.title, part.pages) for part in parts} == {(whole.title, PAGES)}
    assert {part.metadata["pages"] for part in parts} == {PAGES}


def test_a_range_without_text_is_empty_and_a_whole_file_without_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scan.pdf"
    canvas = Canvas(str(path))
    for _ in range(3):
        canvas.showPage()
    canvas.save()
    assert read(path, PDF, "scan.pdf", LIMITS, PageRange(1, 1)).sections == ()
    with pytest.raises(EmptyDocument, match="OCR"):
        read(path, PDF, "scan.pdf", LIMITS, PageRange(0, 64))


def test_a_sandboxed_reader_reads_ranges_too(tmp_path: Path) -> None:
    path = write(tmp_path / "book.pdf", 1, title="The book")
    with ReaderSandbox() as sandbox:
        part = sandbox.read(path, PDF, "book.pdf", PageRange(3, 4))
    assert part == read(path, PDF, "book.pdf", LIMITS, PageRange(3, 4))
    assert (part.title, part.pages) == ("The book", PAGES)


def test_a_format_without_pages_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Kestrels\n\nThey hover.\n")
    assert read(path, MARKDOWN, "a.md", LIMITS, PageRange(0, 1)).pages == 0
