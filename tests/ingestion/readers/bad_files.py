"""Files that must fail alone: (name, bytes, the exact code), made when a test asks for them."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable

import good_files as good

_LAUGHS = "<!DOCTYPE d [<!ENTITY a 'ha'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
_DRM = """<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container"
 xmlns:enc="http://www.w3.org/2001/04/xmlenc#"><enc:EncryptedData><enc:EncryptionMethod
 Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></enc:EncryptedData></encryption>"""


def _with_member(source: bytes, name: str, change: Callable[[bytes], bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(source)) as old, zipfile.ZipFile(out, "w", 8) as new:
        for member in old.infolist():
            data = old.read(member)
            new.writestr(member.filename, change(data) if member.filename == name else data)
    return out.getvalue()


def _declaring_entities(source: bytes, name: str) -> bytes:
    return _with_member(source, name, lambda data: data.replace(b"?>", b"?>" + _LAUGHS.encode(), 1))


def _bomb(source: bytes, name: str) -> bytes:
    return _with_member(source, name, lambda data: data + b" " * 50_000_000)


def _locked(source: bytes) -> bytes:
    """The flag that says `needs a password`, set in every local and central header."""
    data = bytearray(source)
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(signature)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(signature, at + 4)
    return bytes(data)


def _nested_docx() -> bytes:
    deep = b"<w:p>" * 5_000 + b"</w:p>" * 5_000
    return _with_member(
        good.word(), "word/document.xml", lambda data: data.replace(b"<w:body>", b"<w:body>" + deep)
    )


def _nested_mail() -> bytes:
    lines = ["Subject: x"]
    for number in range(300):
        lines += [f'Content-Type: multipart/mixed; boundary="b{number}"', "", f"--b{number}"]
    return "\n".join(lines).encode()


def _zip(names: list[str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600
_NOISE = random.Random(7).randbytes(4_000)
_PNG = b"\x89PNG\r\n\x1a\n" + _NOISE
_LOCKED_OFFICE = _OLE + "EncryptedPackage".encode("utf-16-le")

BAD: dict[str, tuple[str, bytes, str]] = {
    "text: no bytes": ("a.txt", b"", "empty_document"),
    "text: only blanks": ("a.txt", b" \n\t\n", "empty_document"),
    "text: random bytes": ("a.txt", _NOISE, "damaged_document"),
    "text: an image": ("a.txt", _PNG, "unsupported_format"),
    "text: odd UTF-16": ("a.txt", b"\xff\xfeA\x00B", "damaged_document"),
    "text: a gzip": ("a.txt", b"\x1f\x8b\x08" + _NOISE, "unsupported_format"),
    "text: a program": ("a.txt", b"\x7fELF\x02\x01\x01" + _NOISE, "unsupported_format"),
    "markdown: random bytes": ("a.md", _NOISE, "damaged_document"),
    "markdown: only front matter": ("a.md", b"---\ntitle: x\n---\n", "empty_document"),
    "html: no text": ("a.html", b"<html><script>x()</script></html>", "empty_document"),
    "html: random bytes": ("a.html", _NOISE, "damaged_document"),
    "html: only a comment": ("a.html", b"<!-- -->", "empty_document"),
    "pdf: password": ("a.pdf", good.pdf(password="secret"), "encrypted_document"),
    "pdf: cut short": ("a.pdf", good.pdf()[:300], "damaged_document"),
    "pdf: random bytes": ("a.pdf", b"%PDF-1.7\n" + _NOISE, "damaged_document"),
    "pdf: really text": ("a.pdf", b"Kestrels hover.", "damaged_document"),
    "pdf: scanned": ("a.pdf", good.scanned_pdf(), "empty_document"),
    "docx: cut short": ("a.docx", good.word()[:5_000], "damaged_document"),
    "docx: password": ("a.docx", _LOCKED_OFFICE, "encrypted_document"),
    "docx: zip password": ("a.docx", _locked(good.word()), "encrypted_document"),
    "docx: really a zip": ("a.docx", _zip(["readme.txt"]), "damaged_document"),
    "docx: really text": ("a.docx", b"Kestrels hover.", "damaged_document"),
    "docx: really an old doc": ("a.docx", _OLE, "unsupported_format"),
    "docx: no words": (
        "a.docx",
        _with_member(
            good.word(),
            "word/document.xml",
            lambda data: data[: data.index(b"<w:body>") + 8] + b"</w:body></w:document>",
        ),
        "empty_document",
    ),
    "docx: entities": (
        "a.docx",
        _declaring_entities(good.word(), "word/document.xml"),
        "damaged_document",
    ),
    "docx: bomb": ("a.docx", _bomb(good.word(), "word/document.xml"), "document_too_large"),
    "docx: nested": ("a.docx", _nested_docx(), "damaged_document"),
    "docx: broken part": (
        "a.docx",
        _with_member(good.word(), "word/document.xml", lambda data: data[:-50]),
        "damaged_document",
    ),
    "pptx: cut short": ("a.pptx", good.slides()[:9_000], "damaged_document"),
    "pptx: password": ("a.pptx", _LOCKED_OFFICE, "encrypted_document"),
    "pptx: entities": (
        "a.pptx",
        _declaring_entities(good.slides(), "ppt/slides/slide1.xml"),
        "damaged_document",
    ),
    "pptx: bomb": ("a.pptx", _bomb(good.slides(), "ppt/slides/slide1.xml"), "document_too_large"),
    "epub: cut short": ("a.epub", good.book()[:400], "damaged_document"),
    "epub: rights management": ("a.epub", good.book(encryption=_DRM), "encrypted_document"),
    "epub: entities": ("a.epub", good.book(dtd=_LAUGHS, entity="&b;"), "damaged_document"),
    "epub: bomb": ("a.epub", _bomb(good.book(), "OEBPS/one.xhtml"), "document_too_large"),
    "epub: really a zip": ("a.epub", _zip(["readme.txt"]), "damaged_document"),
    "csv: no rows": ("a.csv", b"name,wingspan\n", "empty_document"),
    "csv: random bytes": ("a.csv", _NOISE, "damaged_document"),
    "jsonl: a broken line": ("a.jsonl", b'{"text": "x"}\n{"text": \n', "damaged_document"),
    "jsonl: nested": (
        "a.jsonl",
        b'{"a":' * 150 + b"1" + b"}" * 150,
        "damaged_document",
    ),
    "json: nested": ("a.json", b"[" * 200_000, "damaged_document"),
    "json: huge number": ("a.json", b'{"a": ' + b"9" * 10_000 + b"}", "damaged_document"),
    "json: no rows": ("a.json", json.dumps([]).encode(), "empty_document"),
    "eml: no headers": ("a.eml", b"\n\nKestrels hover.", "damaged_document"),
    "eml: nested": ("a.eml", _nested_mail(), "damaged_document"),
    "code: binary": ("a.py", b"\x00\x01\x02" * 99, "damaged_document"),
    "code: no bytes": ("a.py", b"", "empty_document"),
    "any: unknown": ("a.bin", b"\x00\x01\x02\x03", "unsupported_format"),
    "any: a zip": ("a.zip", _zip(["a.txt"]), "unsupported_format"),
    "any: a workbook": ("a.xlsx", _zip(["xl/workbook.xml"]), "unsupported_format"),
    "any: RTF": ("a.rtf", b"{\\rtf1 Kestrels}", "unsupported_format"),
}
