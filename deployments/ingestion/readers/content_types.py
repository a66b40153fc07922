"""What a file is: its first bytes beat its extension, which beats what the sender declared."""

from __future__ import annotations

import re
from pathlib import PurePath

TEXT = "text/plain"
MARKDOWN = "text/markdown"
HTML = "text/html"
XHTML = "application/xhtml+xml"
PDF = "application/pdf"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
EPUB = "application/epub+zip"
ZIP = "application/zip"
EMAIL = "message/rfc822"
CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSONL = "application/jsonl"
OLE = "application/x-ole-storage"
UNKNOWN = "application/octet-stream"

HEAD_BYTES = 8192
"""How much of a file's beginning `detect_content_type` looks at."""

_LANGUAGES = {
    "bash": "sh bash zsh",
    "c": "c h",
    "cpp": "cc cpp cxx hpp hh",
    "csharp": "cs",
    "css": "css scss",
    "go": "go",
    "ini": "ini cfg conf properties",
    "java": "java",
    "javascript": "js mjs cjs jsx",
    "kotlin": "kt kts",
    "lua": "lua",
    "perl": "pl pm",
    "php": "php",
    "powershell": "ps1",
    "python": "py pyi",
    "r": "r",
    "ruby": "rb",
    "rust": "rs",
    "scala": "scala",
    "sql": "sql",
    "swift": "swift",
    "toml": "toml",
    "typescript": "ts tsx",
    "xml": "xml",
    "yaml": "yaml yml",
}
SOURCE_CODE = {f"text/x-{language}": language for language in _LANGUAGES}

_EXTENSIONS = {
    **{
        extension: f"text/x-{language}"
        for language, extensions in _LANGUAGES.items()
        for extension in extensions.split()
    },
    **dict.fromkeys(["txt", "text", "log", "rst", "adoc", "org", "tex"], TEXT),
    **dict.fromkeys(["md", "markdown", "mdown", "mkd"], MARKDOWN),
    **dict.fromkeys(["html", "htm"], HTML),
    **dict.fromkeys(["jsonl", "ndjson"], JSONL),
    "xhtml": XHTML,
    "pdf": PDF,
    "docx": DOCX,
    "pptx": PPTX,
    "xlsx": XLSX,
    "epub": EPUB,
    "zip": ZIP,
    "eml": EMAIL,
    "csv": CSV,
    "tsv": TSV,
    "json": JSON,
}
_ALIASES = {
    "application/x-ndjson": JSONL,
    "application/x-jsonlines": JSONL,
    "text/x-markdown": MARKDOWN,
    "application/x-pdf": PDF,
    "application/csv": CSV,
    "text/xml": "text/x-xml",
    "application/xml": "text/x-xml",
    "application/yaml": "text/x-yaml",
    "application/toml": "text/x-toml",
    "application/javascript": "text/x-javascript",
    "text/javascript": "text/x-javascript",
    "text/css": "text/x-css",
}
_MAGIC = (
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", OLE),
    (0, b"\x89PNG\r\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftyp", "video/mp4"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"\x1f\x8b", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\x00", "application/x-xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"(\xb5/\xfd", "application/zstd"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"MZ\x90\x00", "application/x-executable"),
    (0, b"\xca\xfe\xba\xbe", "application/x-executable"),
    (0, b"\x00asm", "application/wasm"),
    (0, b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (0, b"PAR1", "application/vnd.apache.parquet"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"%!PS", "application/postscript"),
)
_ZIP_KINDS = (
    (b"mimetypeapplication/epub+zip", EPUB),
    (b"word/", DOCX),
    (b"ppt/", PPTX),
    (b"xl/", XLSX),
)
_LABELS = {
    TEXT: "plain text",
    MARKDOWN: "Markdown",
    HTML: "HTML",
    XHTML: "HTML",
    PDF: "PDF",
    DOCX: "a Word document (.docx)",
    PPTX: "a PowerPoint presentation (.pptx)",
    XLSX: "an Excel workbook (.xlsx)",
    EPUB: "an EPUB book",
    ZIP: "a ZIP archive",
    EMAIL: "an e-mail (.eml)",
    CSV: "CSV",
    TSV: "TSV",
    JSON: "JSON",
    JSONL: "JSON lines",
    OLE: "an old Office document (.doc, .ppt, .xls)",
    UNKNOWN: "a file of an unknown format",
}
_PAGE_START = re.compile(
    rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL
)
_WIDE_BOMS = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")


def detect_content_type(name: str, head: bytes, declared: str | None = None) -> str:
    """The content type of a file called `name` that begins with `head` (HEAD_BYTES are enough).

    Returns a type without a reader where the bytes say so (an image named `.txt`), and
    `application/octet-stream` where nothing tells.
    """
    extension = PurePath(name).suffix.lower().lstrip(".")
    by_name = _EXTENSIONS.get(extension)
    by_bytes = _by_magic(head, by_name)
    if by_bytes is not None:
        return by_bytes
    if by_name in (None, TEXT) and _PAGE_START.match(head):
        return HTML
    return by_name or _by_declaration(declared) or (TEXT if _looks_like_text(head) else UNKNOWN)


def label(content_type: str) -> str:
    """The type in words for a message."""
    if content_type in SOURCE_CODE:
        return f"{SOURCE_CODE[content_type]} source"
    return _LABELS.get(content_type, f"a file of type {content_type}")


def _by_magic(head: bytes, by_name: str | None) -> str | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"%PDF-") or (by_name == PDF and b"%PDF-" in head[:1024]):
        return PDF
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(head, by_name)
    return next(
        (kind for offset, magic, kind in _MAGIC if head[offset:].startswith(magic)),
        None,
    )


def _zip_kind(head: bytes, by_name: str | None) -> str:
    for marker, kind in _ZIP_KINDS:
        if marker in head:
            return kind
    return by_name if by_name in (DOCX, PPTX, XLSX, EPUB) else ZIP


def _by_declaration(declared: str | None) -> str | None:
    if not declared:
        return None
    plain = declared.partition(";")[0].strip().lower()
    plain = _ALIASES.get(plain, plain)
    return plain if (plain in _LABELS and plain != UNKNOWN) or plain in SOURCE_CODE else None


def _looks_like_text(head: bytes) -> bool:
    return head.startswith(_WIDE_BOMS) or b"\x00" not in head
