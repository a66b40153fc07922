"""What a model says, piece by piece, whoever says it: the documents or the language model."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, cast

from deployments.contracts.generation import GenerationRequest, Generator, Token, Usage
from deployments.contracts.query import Answer, DoneEvent, QueryRequest, TokenEvent
from deployments.errors import CollectionNotFound
from deployments.query.deadline import Deadline
from deployments.query.pipeline import QueryPipeline
from serve_app.routes.openai.models import PREFIX, unknown_model


@dataclass(frozen=True, slots=True)
class Ending:
    """How a reply ended. `answer` is set where it came from the documents."""

    finish_reason: Literal["stop", "length"]
    usage: Usage
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """Some text of a reply; the last piece has the ending."""

    text: str
    ending: Ending | None = None


async def from_documents(
    pipeline: QueryPipeline, request: QueryRequest, deadline: Deadline
) -> AsyncGenerator[Piece, None]:
    """The pipeline's answer; raises what `QueryPipeline.stream` raises.

    Raises:
        NotFound: there is no such collection.
    """
    said = ""
    try:
        async with aclosing(pipeline.stream(request, deadline)) as events:
            async for event in events:
                if isinstance(event, TokenEvent):
                    said += event.text
                    yield Piece(event.text)
                elif isinstance(event, DoneEvent):
                    answer = event.answer
                    reason: Literal["stop", "length"] = (
                        "length" if answer.finish_reason == "length" else "stop"
                    )
                    yield Piece(_rest(answer, said), Ending(reason, answer.usage, answer))
    except CollectionNotFound:
        raise unknown_model(PREFIX + ",".join(request.collections)) from None


async def from_model(
    generator: Generator, request: GenerationRequest
) -> AsyncGenerator[Piece, None]:
    """The language model's own words; raises what `Generator.stream` raises."""
    last = Token("")
    # The port promises an iterator that can be closed; every generator's is an async generator.
    stream = cast("AsyncGenerator[Token, None]", generator.stream(request))
    async with aclosing(stream) as tokens:
        async for token in tokens:
            last = token
            if token.text:
                yield Piece(token.text)
    yield Piece("", Ending(last.finish_reason or "stop", last.usage or Usage(0, 0)))


def markers(answer: Answer) -> str:
    """` [n]` for each passage that supports the answer and that its text does not name."""
    named = {c.passage for c in answer.citations if c.origin == "model"}
    found = sorted({c.passage for c in answer.citations} - named)
    return "".join(f" [{number}]" for number in found)


def _rest(answer: Answer, said: str) -> str:
    """What is still to be said: what was streamed cannot be taken back, only corrected."""
    rest = answer.text.removeprefix(said)
    if not answer.text.startswith(said):
        rest = f"\n\n{answer.text}"
    return rest + markers(answer)
