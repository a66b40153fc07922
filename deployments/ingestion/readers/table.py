"""CSV and TSV: a section a row."""

from __future__ import annotations

import csv
import io
import re

from deployments.errors import DamagedDocument
from deployments.ingestion.readers.content_types import TSV
from deployments.ingestion.readers.decoding import read_text
from deployments.ingestion.readers.document import (
    DocumentBuilder,
    ExtractedDocument,
    Source,
    clean,
)
from deployments.ingestion.readers.rows import Scalar, metadata_of, text_of

_SNIFFED_CHARACTERS = 16_384
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
_NUMBER = re.compile(r"-?[0-9]{1,15}\.[0-9]{1,15}")


def read(source: Source) -> ExtractedDocument:
    """The first row names the columns; numbers become numbers in the metadata."""
    csv.field_size_limit(source.limits.max_characters)
    text = clean(read_text(source.path))
    lines = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(text, source.content_type)
    )
    builder = DocumentBuilder(source.limits)
    try:
        names = _column_names(next(lines, []))
        for number, cells in enumerate(lines, 1):
            row = _row(names, cells)
            builder.add(text_of(row), metadata={"row": number, **metadata_of(row)})
    except csv.Error as error:
        raise DamagedDocument(f"Line {lines.line_num} is not valid CSV: {error}.") from error
    return builder.build(source.stem, source.stem)


def _delimiter(text: str, content_type: str) -> str:
    if content_type == TSV:
        return "\t"
    # Counting beats csv.Sniffer, whose patterns take quadratic time on hostile text.
    first_line = text[:_SNIFFED_CHARACTERS].partition("\n")[0]
    return max(",;\t|", key=first_line.count)


def _column_names(cells: list[str]) -> list[str]:
    names: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = " ".join(cell.split()) or f"column {number}"
        names.append(name if name not in names else f"{name} {number}")
    return names


def _row(names: list[str], cells: list[str]) -> dict[str, Scalar]:
    row: dict[str, Scalar] = {}
    for number, cell in enumerate(cells, 1):
        if cell.strip():
            name = names[number - 1] if number <= len(names) else f"column {number}"
            row[name] = _typed(cell.strip())
    return row


def _typed(cell: str) -> Scalar:
    """Numbers as numbers. A leading zero marks a code (a postcode), which stays text."""
    if _INTEGER.fullmatch(cell):
        return int(cell)
    if _NUMBER.fullmatch(cell):
        return float(cell)
    return cell
