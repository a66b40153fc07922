"""First bytes beat the extension, which beats the declared type."""

from __future__ import annotations

import pytest

from deployments.ingestion.readers.content_types import detect_content_type


@pytest.mark.parametrize(
    ("name", "head", "declared", "expected"),
    [
        ("a.txt", b"%PDF-1.7", "text/plain", "application/pdf"),
        ("a.md", b"# x", "application/pdf", "text/markdown"),
        ("README", b"hello", "text/markdown; charset=utf-8", "text/markdown"),
        ("README", b"hello", None, "text/plain"),
        ("README", b"hello", "application/x-nobody", "text/plain"),
        ("page", b"<!-- x --><!DOCTYPE html><p>", None, "text/html"),
        ("page.txt", b"<html>", None, "text/html"),
        ("a.js", b"<html>", None, "text/x-javascript"),
        ("blob", b"\x00\x01", None, "application/octet-stream"),
        ("blob", "wide".encode("utf-16"), None, "text/plain"),
        ("photo.pdf", b"\xff\xd8\xff\xe0", None, "image/jpeg"),
        ("A.PDF", b"junk before %PDF-1.4", None, "application/pdf"),
        ("../../etc/passwd", b"root:x", None, "text/plain"),
    ],
)
def test_the_strongest_sign_wins(
    name: str, head: bytes, declared: str | None, expected: str
) -> None:
    assert detect_content_type(name, head, declared) == expected
