"""Bytes to text: byte order marks, then UTF-8, then what the bytes most likely are."""

from __future__ import annotations

import codecs
from pathlib import Path

from deployments.errors import DamagedDocument

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES = 64 * 1024
_MAX_CHAOS = 0.2
"""The share of implausible characters above which a guess is no text."""


def read_text(path: Path, declared: str | None = None) -> str:
    """The text of a file.

    Raises:
        DamagedDocument: the bytes are no text in any encoding that can be told.
    """
    return decode(path.read_bytes(), declared)


def decode(data: bytes, declared: str | None = None) -> str:
    """Decode `data`; `declared` is the encoding that the file itself names, if any.

    Raises:
        DamagedDocument: the bytes are no text in any encoding that can be told.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _strictly(data, encoding).removeprefix("\ufeff")
    if b"\x00" in data:
        return _decode_wide(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _strictly(data, declared if _is_text_codec(declared) else _guess(data))


def _decode_wide(data: bytes) -> str:
    """UTF-16 without a mark shows as zeros in every second byte; other zeros are no text."""
    zeros = (data[0:_SAMPLE_BYTES:2].count(0), data[1:_SAMPLE_BYTES:2].count(0))
    pairs = max(1, min(len(data), _SAMPLE_BYTES) // 2)
    if zeros[1] / pairs > 0.4 and zeros[0] / pairs < 0.05:
        return _strictly(data, "utf-16-le")
    if zeros[0] / pairs > 0.4 and zeros[1] / pairs < 0.05:
        return _strictly(data, "utf-16-be")
    raise DamagedDocument("The file is binary, not text.")


def _strictly(data: bytes, encoding: str | None) -> str:
    if encoding is None:
        raise DamagedDocument("The file is not text in any known encoding; save it as UTF-8.")
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError) as error:
        raise DamagedDocument(
            f"The file is not valid {encoding} text; save it as UTF-8."
        ) from error


def _guess(data: bytes) -> str | None:
    # Deferred: most text is UTF-8, and this import takes 60 ms.
    from charset_normalizer import from_bytes

    best = from_bytes(data[:_SAMPLE_BYTES], threshold=_MAX_CHAOS).best()
    if best is None:
        return None
    return "utf-8" if best.encoding == "ascii" else best.encoding


def _is_text_codec(name: str | None) -> bool:
    """Whether `name` is an encoding of text: Python also calls zip and hex codecs."""
    try:
        return name is not None and isinstance(b"a".decode(name), str)
    except (LookupError, UnicodeError, ValueError):
        return False
