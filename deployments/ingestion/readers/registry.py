"""Which reader reads which content type, and the one place where a parser's errors end."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from deployments.errors import (
    DamagedDocument,
    DocumentError,
    DocumentTooLarge,
    EmptyDocument,
    UnsupportedFormat,
)
from deployments.ingestion.readers import content_types as types
from deployments.ingestion.readers.document import EVERY_PAGE, PageRange, ReadLimits, Source

if TYPE_CHECKING:
    from deployments.ingestion.readers.document import ExtractedDocument

READERS = {
    types.TEXT: "plain_text",
    types.MARKDOWN: "markdown",
    types.HTML: "web_page",
    types.XHTML: "web_page",
    types.PDF: "pdf",
    types.DOCX: "word",
    types.PPTX: "slides",
    types.EPUB: "book",
    types.EMAIL: "mail",
    types.CSV: "table",
    types.TSV: "table",
    types.JSON: "json_rows",
    types.JSONL: "json_rows",
    types.OLE: "old_office",
}
"""Content type -> module of this package that has `read(source) -> ExtractedDocument`."""


def read(
    path: Path,
    content_type: str,
    name: str,
    limits: ReadLimits,
    pages: PageRange = EVERY_PAGE,
) -> ExtractedDocument:
    """Read a file of a known content type. `name` serves messages and titles only.

    Raises:
        UnsupportedFormat: no reader for the type.
        DamagedDocument: the bytes are not a whole file of the type.
        EncryptedDocument: a password or rights management keeps the text away.
        EmptyDocument: no bytes, or no text in them.
        DocumentTooLarge: one of `limits` is passed.
    """
    module = _module_for(content_type)
    size = path.stat().st_size
    if size == 0:
        raise EmptyDocument("The file is empty.")
    if size > limits.max_bytes:
        raise DocumentTooLarge(
            f"The file has {size:,} bytes; the limit is {limits.max_bytes:,}.",
            limit_bytes=limits.max_bytes,
        )
    reader = import_module(f"deployments.ingestion.readers.{module}")
    try:
        document: ExtractedDocument = reader.read(Source(path, content_type, name, limits, pages))
    except DocumentError:
        raise
    except MemoryError as error:
        raise DocumentTooLarge("Reading the file takes more memory than allowed.") from error
    except RecursionError as error:
        raise DamagedDocument("The file is nested too deeply to be read.") from error
    except Exception as error:  # a parser may raise anything on a hostile file
        what = types.label(content_type)
        raise DamagedDocument(f"The file could not be read as {what}.") from error
    return document


def _module_for(content_type: str) -> str:
    if content_type in READERS:
        return READERS[content_type]
    if content_type in types.SOURCE_CODE:
        return "source_code"
    raise UnsupportedFormat(
        f"{types.label(content_type)[0].upper()}{types.label(content_type)[1:]} cannot be read.",
        content_type=content_type,
    )
