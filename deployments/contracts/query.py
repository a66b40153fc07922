"""A question in, a cited answer out: the values that the query room and its callers exchange."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from deployments.contracts.generation import Message, Usage
from deployments.contracts.retrieval import Fusion, Passage, SearchMode

OnDegraded: TypeAlias = Literal["serve", "fail"]
AnswerMode: TypeAlias = Literal["generate", "extract"]
Origin: TypeAlias = Literal["model", "platform"]
FinishReason: TypeAlias = Literal["stop", "length", "extract", "not_found"]


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """How passages are found; None takes the operator's setting.

    `diversity` (0..1) asks for maximal marginal relevance: 0 keeps the order by score, 1 looks
    at novelty alone. `neighbours` widens each passage by that many chunks on either side.
    """

    mode: SearchMode = SearchMode.HYBRID
    fusion: Fusion | None = None
    lexical_weight: float | None = None
    candidates: int | None = None
    top_k: int | None = None
    rerank: bool | None = None
    neighbours: int = 0
    diversity: float = 0.0
    filter: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One question to a collection, or to several: `also` names the others.

    `history` holds earlier turns, oldest first, without the question. `scope` names what the
    caller may see: answers are cached and shared only between callers of one scope. `cache`
    False neither reads nor writes the cache, nor shares a generation with another caller.
    """

    collection: str
    question: str
    history: tuple[Message, ...] = ()
    options: SearchOptions = field(default_factory=SearchOptions)
    answer: AnswerMode = "generate"
    max_tokens: int = 256
    temperature: float = 0.0
    cache: bool = True
    on_degraded: OnDegraded = "serve"
    scope: str = ""
    also: tuple[str, ...] = ()

    @property
    def collections(self) -> tuple[str, ...]:
        """All that are searched."""
        return (self.collection, *self.also)


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Passages, best first; a citation's `passage` is a position in them, counted from 1."""

    passages: tuple[Passage, ...]
    timings_ms: Mapping[str, float]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Citation:
    """A sentence of the answer (`start`..`end`) and its support in a passage's text.

    `passage` counts from 1. `quote_start`..`quote_end` bound the supporting words in the text
    of the passage. `origin` says who cited: the model by a marker, or the platform.
    """

    passage: int
    start: int
    end: int
    quote_start: int
    quote_end: int
    score: float
    origin: Origin


@dataclass(frozen=True, slots=True)
class SentenceGrounding:
    """How well one sentence of the answer (`start`..`end`) is supported; score in 0..1."""

    start: int
    end: int
    passage: int | None
    score: float
    grounded: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with everything that speaks for it.

    `dropped_markers` counts citations by the model that pointed at no passage.
    """

    text: str
    answered: bool
    passages: tuple[Passage, ...]
    citations: tuple[Citation, ...] = ()
    grounding: tuple[SentenceGrounding, ...] = ()
    grounding_score: float = 0.0
    usage: Usage = field(default_factory=lambda: Usage(0, 0))
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()
    cached: bool = False
    model: str = ""
    finish_reason: FinishReason = "stop"
    dropped_markers: int = 0


@dataclass(frozen=True, slots=True)
class PassagesEvent:
    """The passages the answer will rest on, before its first token."""

    passages: tuple[Passage, ...]
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """A piece of the answer as it is written.

    The pieces joined are the answer's text, unless nothing of it was supported and it was replaced
    (`degraded` then holds "ungrounded").
    """

    text: str


@dataclass(frozen=True, slots=True)
class DoneEvent:
    """The whole answer, last."""

    answer: Answer


QueryEvent: TypeAlias = PassagesEvent | TokenEvent | DoneEvent


class AnswerCache(Protocol):
    """Keeps finished answers. It may forget at any time; an outage looks like forgetting."""

    @property
    def out(self) -> bool:
        """Whether it has just failed to answer, so that what is not there may be."""
        ...

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, ttl_s: float) -> bool: ...

    def flight(
        self, key: str, *, lease_s: float, wait_s: float
    ) -> AbstractAsyncContextManager[bytes | None]:
        """One replica computes, the others wait; as `Cache.flight` says."""
        ...
