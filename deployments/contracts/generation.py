"""A conversation in, a stream of tokens out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """What to generate, and when it stops being of use (`timeout_s` from now)."""

    messages: tuple[Message, ...]
    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens counted by the engine's own tokenizer."""

    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer. The last piece of a stream carries `usage` and `finish_reason`."""

    text: str
    usage: Usage | None = None
    finish_reason: Literal["stop", "length"] | None = None


@dataclass(frozen=True, slots=True)
class GenerationModel:
    """The model behind a generator; prompt and answer together fit in `context_tokens`."""

    name: str
    context_tokens: int


class Generator(Protocol):
    """Streams an answer to a conversation."""

    async def model(self) -> GenerationModel:
        """The model behind this generator."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text by the model's own tokenizer, or a bound from above."""
        ...

    def stream(self, request: GenerationRequest) -> AsyncIterator[Token]:
        """Yield pieces of text as they are computed, then one last token with the usage.

        Closing the iterator stops the engine at once: nothing is computed for a caller who left.

        Raises:
            GenerationUnavailable: the engine cannot be reached or failed.
            ModelNotFound: the engine does not hold the model.
            ContextLengthExceeded: the prompt is longer than the model's context.
            Overloaded: the engine's queue is full.
        """
        ...
