"""Counting tokens for engines that do not count for us before they generate."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tokenizers import Tokenizer

_BYTES_OF_THE_LONGEST_TOKENS = 8.0
"""No tokenizer averages more bytes a token than this over natural text."""


class TokenCounter:
    """Exact with the model's own `tokenizer.json`; without it, two bounds from the byte length.

    `bytes_per_token` is the bound's safety: English prose has 4 to 4.5 bytes a token, code and
    other languages 2.5 to 3.5, base64 about 1.5. One byte a token is the strict bound.
    """

    def __init__(self, tokenizer_path: str | None, bytes_per_token: float) -> None:
        self._tokenizer = Tokenizer.from_file(tokenizer_path) if tokenizer_path else None
        self._bytes_per_token = bytes_per_token

    def at_most(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text: exact, or a bound from above."""
        if self._tokenizer is None:
            return [math.ceil(len(text.encode()) / self._bytes_per_token) for text in texts]
        return self._exactly(texts)

    def at_least(self, texts: Sequence[str]) -> int:
        """Tokens of all texts together: exact, or a bound from below."""
        if self._tokenizer is None:
            return int(sum(len(text.encode()) for text in texts) / _BYTES_OF_THE_LONGEST_TOKENS)
        return sum(self._exactly(texts))

    def _exactly(self, texts: Sequence[str]) -> list[int]:
        assert self._tokenizer is not None  # noqa: S101 - both callers have checked
        encodings = self._tokenizer.encode_batch(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]
