"""EPUB: its chapters in reading order."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote

from lxml import etree

from deployments.errors import DamagedDocument, EncryptedDocument
from deployments.ingestion.readers.archive import open_archive
from deployments.ingestion.readers.decoding import decode
from deployments.ingestion.readers.document import DocumentBuilder, ExtractedDocument, Source
from deployments.ingestion.readers.web_page import add_page

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_FONT_METHODS = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_PAGE_TYPES = ("application/xhtml+xml", "text/html")


def read(source: Source) -> ExtractedDocument:
    """Headings come from the chapters' own headings."""
    builder = DocumentBuilder(source.limits)
    with open_archive(source, _CONTAINER) as archive:
        _refuse_rights_management(archive)
        package_path = _package_path(archive)
        package = _parse(archive, package_path)
        for path in _chapters(package, posixpath.dirname(package_path)):
            if path in archive.NameToInfo:
                add_page(builder, decode(archive.read(path)))
        title = package.findtext(".//{*}metadata/{*}title") or ""
        author = package.findtext(".//{*}metadata/{*}creator") or ""
        language = package.findtext(".//{*}metadata/{*}language") or ""
    return builder.build(title, source.stem, {"author": author, "language": language})


def _refuse_rights_management(archive: zipfile.ZipFile) -> None:
    """Only fonts may be obfuscated; anything else encrypted is rights management."""
    if _ENCRYPTION not in archive.NameToInfo:
        return
    methods = _parse(archive, _ENCRYPTION).iter("{*}EncryptionMethod")
    if any(method.get("Algorithm") not in _FONT_METHODS for method in methods):
        raise EncryptedDocument("The book is protected by rights management.")


def _package_path(archive: zipfile.ZipFile) -> str:
    root_file = _parse(archive, _CONTAINER).find(".//{*}rootfile")
    path = root_file.get("full-path") if root_file is not None else None
    if not path or path not in archive.NameToInfo:
        raise DamagedDocument("The book does not say where its contents are.")
    return str(path)


def _chapters(package: etree._Element, folder: str) -> Iterator[str]:
    items = {
        item.get("id"): item
        for item in package.iterfind(".//{*}manifest/{*}item")
        if item.get("media-type") in _PAGE_TYPES
    }
    for reference in package.iterfind(".//{*}spine/{*}itemref"):
        item = items.get(reference.get("idref"))
        if item is not None and "nav" not in (item.get("properties") or "").split():
            yield posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))


def _parse(archive: zipfile.ZipFile, path: str) -> etree._Element:
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False
    )
    root = etree.fromstring(archive.read(path), parser)
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise DamagedDocument("The book declares XML entities, which books never need.")
    return root
