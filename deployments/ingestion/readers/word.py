"""DOCX: sections by heading style, tables as lines of cells."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import docx
from docx.table import Table

from deployments.ingestion.readers.archive import open_archive, refuse_entities
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source

if TYPE_CHECKING:
    from docx.text.paragraph import Paragraph

_HEADING_STYLE = re.compile(r"heading ([1-9])", re.IGNORECASE)
_LIST_STYLE = re.compile(r"list", re.IGNORECASE)


def read(source: Source) -> ExtractedDocument:
    """Headings come from the styles `Title` and `Heading 1` to `Heading 9`."""
    with open_archive(source, "word/document.xml") as archive:
        refuse_entities(archive)
    document = docx.Document(str(source.path))
    body = _Body(DocumentBuilder(source.limits))
    for block in document.iter_inner_content():
        if isinstance(block, Table):
            body.add_table(block)
        else:
            body.add_paragraph(block)
    properties = document.core_properties
    return body.build(properties.title or "", source.stem, properties.author or "")


class _Body:
    """Gathers the blocks below one heading into one section."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._blocks: list[str] = []
        self._title = ""

    def add_paragraph(self, paragraph: Paragraph) -> None:
        text = paragraph.text
        if not text.strip():
            return
        style = (paragraph.style.name if paragraph.style else None) or ""
        heading = _HEADING_STYLE.fullmatch(style)
        if heading:
            self._flush()
            self._builder.heading(int(heading[1]), text)
        elif style == "Title" and not self._title:
            self._title = text
        elif _LIST_STYLE.match(style):
            self._blocks.append(f"- {text}")
        else:
            self._blocks.append(text)

    def add_table(self, table: Table) -> None:
        lines = []
        for row in table.rows:
            cells: list[str] = []
            seen = set()
            for cell in row.cells:
                if cell._tc not in seen:  # noqa: SLF001 - a merged cell comes once for each column
                    seen.add(cell._tc)  # noqa: SLF001
                    cells.append(" ".join(cell.text.split()))
            lines.append(" | ".join(cells))
        self._blocks.append("\n".join(lines))

    def build(self, title: str, stem: str, author: str) -> ExtractedDocument:
        self._flush()
        if self._title and not title:
            title = self._title
        return self._builder.build(title, stem, {"author": author})

    def _flush(self) -> None:
        self._builder.add("\n\n".join(self._blocks))
        self._blocks.clear()
