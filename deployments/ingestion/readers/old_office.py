"""OLE containers: an Office document with a password, or one of the formats before 2007."""

from __future__ import annotations

from deployments.errors import EncryptedDocument, UnsupportedFormat
from deployments.ingestion.readers.document import ExtractedDocument, Source

_ENCRYPTED_PACKAGE = "EncryptedPackage".encode("utf-16-le")


def read(source: Source) -> ExtractedDocument:
    """Say which of the two it is; neither can be read.

    Raises:
        EncryptedDocument: a .docx, .pptx or .xlsx locked with a password.
        UnsupportedFormat: a .doc, .ppt, .xls or .msg.
    """
    if _ENCRYPTED_PACKAGE in source.path.read_bytes():
        raise EncryptedDocument("The file is protected by a password.")
    raise UnsupportedFormat(
        "Office files from before 2007 cannot be read; save the file as .docx or .pptx."
    )
