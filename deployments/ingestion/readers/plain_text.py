"""Plain text."""

from __future__ import annotations

from deployments.ingestion.readers.decoding import read_text
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source


def read(source: Source) -> ExtractedDocument:
    """One section holding the whole text."""
    builder = DocumentBuilder(source.limits)
    builder.add(read_text(source.path))
    return builder.build("", source.stem)
