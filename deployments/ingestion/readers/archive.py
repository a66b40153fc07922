"""ZIP containers, looked through before a byte of them is unpacked."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager

from deployments.errors import DamagedDocument, DocumentTooLarge, EncryptedDocument
from deployments.ingestion.readers.content_types import label
from deployments.ingestion.readers.document import MIB, ReadLimits, Source

_ENCRYPTED_FLAG = 0x1
_PROLOG_BYTES = 4096


@contextmanager
def open_archive(source: Source, needed_member: str) -> Iterator[zipfile.ZipFile]:
    """Open the container of a document that must hold `needed_member`.

    `zipfile` reads no member past its declared size, so that checking the declared sizes bounds
    what unpacking can give.

    Raises:
        DamagedDocument: no ZIP archive, or not of this kind of document.
        EncryptedDocument: members are locked with a password.
        DocumentTooLarge: it would unpack to more than the limits allow (a zip bomb).
    """
    try:
        archive = zipfile.ZipFile(source.path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise DamagedDocument(f"The file is not {label(source.content_type)}.") from error
    with archive:
        members = archive.infolist()
        if any(member.flag_bits & _ENCRYPTED_FLAG for member in members):
            raise EncryptedDocument("The file is protected by a password.")
        _check_sizes(members, source.limits)
        if needed_member not in archive.NameToInfo:
            raise DamagedDocument(f"The file is not {label(source.content_type)}.")
        yield archive


def refuse_entities(archive: zipfile.ZipFile) -> None:
    """Office formats allow no document type declaration: one is there only to do harm.

    Raises:
        DamagedDocument: a part declares XML entities.
    """
    for member in archive.infolist():
        if not member.filename.endswith((".xml", ".rels")):
            continue
        with archive.open(member) as part:
            prolog = part.read(_PROLOG_BYTES).replace(b"\x00", b"")
        if b"<!DOCTYPE" in prolog or b"<!ENTITY" in prolog:
            raise DamagedDocument("The file declares XML entities, which such files never need.")


def _check_sizes(members: list[zipfile.ZipInfo], limits: ReadLimits) -> None:
    if len(members) > limits.max_members:
        raise DocumentTooLarge(f"The file packs more than {limits.max_members:,} parts.")
    if sum(member.file_size for member in members) > limits.max_unpacked_bytes:
        raise DocumentTooLarge(
            f"The file unpacks to more than {limits.max_unpacked_bytes:,} bytes.",
            limit_bytes=limits.max_unpacked_bytes,
        )
    for member in members:
        ratio = member.file_size / max(1, member.compress_size)
        if member.file_size > MIB and ratio > limits.max_compression_ratio:
            raise DocumentTooLarge(
                f"A part of the file unpacks to {ratio:.0f} times its size: a zip bomb.",
                limit_ratio=limits.max_compression_ratio,
            )
