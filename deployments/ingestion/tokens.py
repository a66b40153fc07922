"""Counting with the embedding model's own tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from deployments.errors import ConfigurationError


def load_token_counter(tokenizer_json: Path) -> Callable[[str], int]:
    """A counter from a `tokenizer.json`, special tokens left out and nothing cut.

    Raises:
        ConfigurationError: the file is missing or is no tokenizer.
    """
    # Deferred: the module that counts with it has no other need of the package.
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_json))
    except Exception as error:  # tokenizers raises bare exceptions
        raise ConfigurationError(f"{tokenizer_json} is not a readable tokenizer.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()

    def count_tokens(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count_tokens
