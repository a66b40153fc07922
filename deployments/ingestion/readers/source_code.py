"""Source code: kept as it is, with its language."""

from __future__ import annotations

from deployments.ingestion.readers.content_types import SOURCE_CODE
from deployments.ingestion.readers.decoding import read_text
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source


def read(source: Source) -> ExtractedDocument:
    """One verbatim section; metadata `language`; titled by the file's whole name."""
    builder = DocumentBuilder(source.limits)
    builder.add(read_text(source.path), verbatim=True)
    return builder.build(source.name, source.name, {"language": SOURCE_CODE[source.content_type]})
