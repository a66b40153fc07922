"""Answers kept for who asks the same again.

The key holds everything the answer depends on, its collections' epochs and the caller's scope
included: a commit to one of them or another scope makes another key, so a kept answer is
never stale and never leaks. Values are JSON, because a cache is no place to run code from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from deployments.contracts.generation import Usage
from deployments.contracts.query import Answer, Citation, QueryRequest, SentenceGrounding
from deployments.contracts.retrieval import Chunk, Document, Passage

_FORMAT = 2
"""Counts up whenever an answer's shape or the way to it changes."""


def answer_key(request: QueryRequest, epochs: Sequence[int], model: str, settings: str) -> str:
    """A digest over all that decides the answer; `settings` spells out the operator's.

    `epochs` are those of the request's collections, in order.
    """
    parts = {
        "format": _FORMAT,
        "epochs": list(epochs),
        "model": model,
        "settings": settings,
        "request": asdict(request),
    }
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str)
    return f"answer:{hashlib.sha256(text.encode()).hexdigest()}"


def pack(answer: Answer) -> bytes:
    """The answer as JSON."""
    return json.dumps(asdict(answer), ensure_ascii=False).encode()


def unpack(data: bytes) -> Answer | None:
    """The answer, marked as cached; None where the bytes are of another release's shape."""
    try:
        fields: dict[str, Any] = json.loads(data)
        answer = Answer(**fields)
        return replace(
            answer,
            passages=tuple(_passage(passage) for passage in fields["passages"]),
            citations=tuple(Citation(**citation) for citation in fields["citations"]),
            grounding=tuple(SentenceGrounding(**sentence) for sentence in fields["grounding"]),
            usage=Usage(**fields["usage"]),
            degraded=tuple(fields["degraded"]),
            cached=True,
        )
    except (ValueError, TypeError, KeyError):
        return None


def _passage(fields: dict[str, Any]) -> Passage:
    chunk = dict(fields["chunk"])
    document = Document(**chunk.pop("document"))
    return Passage(**{**fields, "chunk": Chunk(**chunk, document=document)})
