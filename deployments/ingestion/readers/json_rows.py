"""JSON lines and JSON: a section an object."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from deployments.errors import DamagedDocument
from deployments.ingestion.readers.content_types import JSONL
from deployments.ingestion.readers.decoding import read_text
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source
from deployments.ingestion.readers.rows import flatten, metadata_of, text_of

_TEXT_FIELDS = ("text", "content", "body")


def read(source: Source) -> ExtractedDocument:
    """An object's `text`, `content` or `body` is its text and the rest its metadata.

    Without such a field all fields are text; `title` is the heading.
    """
    text = read_text(source.path)
    rows = _lines(text) if source.content_type == JSONL else _values(text)
    builder = DocumentBuilder(source.limits)
    for number, value in rows:
        row = value if isinstance(value, dict) else {"value": value}
        _add(builder, number, flatten(row, source.limits.max_depth))
    return builder.build(source.stem, source.stem)


def _lines(text: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, _parse(line, f"Line {number}")


def _values(text: str) -> Iterator[tuple[int, Any]]:
    if not text.strip():
        return
    value = _parse(text, "The file")
    yield from enumerate(value if isinstance(value, list) else [value], 1)


def _parse(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:  # also a number of thousands of digits
        raise DamagedDocument(f"{what} is not valid JSON.") from error


def _add(builder: DocumentBuilder, number: int, row: dict[str, object]) -> None:
    builder.leave_headings()
    title = row.get("title")
    if isinstance(title, str):
        builder.heading(1, title)
    field = next((name for name in _TEXT_FIELDS if isinstance(row.get(name), str)), None)
    if field is None:
        builder.add(text_of(row), metadata={"row": number, **metadata_of(row)})
        return
    rest = {name: value for name, value in row.items() if name != field}
    builder.add(str(row[field]), metadata={"row": number, **metadata_of(rest)})
