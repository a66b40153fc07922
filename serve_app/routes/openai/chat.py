"""Chat completions, from the documents or from the language model itself."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from deployments.contracts.generation import GenerationRequest, Message, Usage
from deployments.contracts.identity import Principal
from deployments.contracts.query import QueryRequest
from deployments.errors import GenerationUnavailable, InvalidRequest
from deployments.query.deadline import Deadline
from serve_app.openai_schemas import MAX_QUESTION_CHARS, ChatCompletion, ChatIn, ChatMessageIn
from serve_app.problems import request_id_of
from serve_app.routes.access import UsesServices, needs
from serve_app.routes.events import EventStream
from serve_app.routes.listening import while_heard
from serve_app.routes.openai.completions import Completion
from serve_app.routes.openai.errors import OpenAIRoute, error_responses
from serve_app.routes.openai.models import collections_of, unknown_model
from serve_app.routes.openai.replies import Piece, from_documents, from_model
from serve_app.routes.query import scope_of
from serve_app.routes.spending import HasBudget, charged
from serve_app.routes.translate import options_of
from serve_app.services import Services

router = APIRouter(prefix="/chat", route_class=OpenAIRoute)

Asker = Annotated[Principal, Depends(needs("query", bucket="generation"))]

DEFAULT_ANSWER_TOKENS = 256
DEFAULT_CHAT_TOKENS = 512
MAX_TOKENS = 4096
MAX_TURNS = 50
_MARKERS = re.compile(r"(?:\s*\[\d+\])+\s*$")


@router.post(
    "/completions",
    response_model=ChatCompletion,
    responses=error_responses(404, 429, 503, 504)
    | {
        200: {
            "description": "The reply; with `stream: true` its chunks, then `[DONE]`.",
            "content": {"text/event-stream": {}},
        }
    },
)
async def complete(
    body: ChatIn, request: Request, caller: Asker, services: UsesServices, budget: HasBudget
) -> ChatCompletion | StreamingResponse:
    """A reply to a conversation: `rag:<collection>` answers from the documents and cites them,
    `rag:<one>,<other>` from those of several collections.
    """
    completion = Completion(
        model=body.model,
        request_id=request_id_of(request),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
    )
    await budget.open()
    most_tokens = body.max_completion_tokens or body.max_tokens or DEFAULT_CHAT_TOKENS
    pieces = await _pieces(body, caller, services)
    pieces = charged(pieces, _usage_of, budget, min(most_tokens, MAX_TOKENS))
    if not body.stream:
        return await while_heard(request, completion.whole(pieces))
    # Until the first words are there, what goes wrong is an HTTP error, which clients try again.
    first = await while_heard(request, anext(pieces))
    return EventStream(completion.chunks(first, pieces))


def _usage_of(piece: Piece) -> Usage | None:
    if piece.ending is None:
        return None
    answer = piece.ending.answer
    return Usage(0, 0) if answer is not None and answer.cached else piece.ending.usage


async def _pieces(
    body: ChatIn, caller: Principal, services: Services
) -> AsyncGenerator[Piece, None]:
    """Whoever the model's name means, before their first word."""
    deadline = Deadline.after(body.ragserve.deadline_s or services.args.query.deadline_s)
    collections = collections_of(caller, body.model)
    if collections:
        limit = await _limit(services, DEFAULT_ANSWER_TOKENS, body)
        request = _question(body, collections, limit, scope_of(caller))
        return from_documents(services.pipeline, request, deadline)
    if body.model != (await services.generator.model()).name:
        raise unknown_model(body.model)
    limit = await _limit(services, DEFAULT_CHAT_TOKENS, body)
    return from_model(services.generator, _conversation(body, limit, deadline))


async def _limit(services: Services, default: int, body: ChatIn) -> int:
    """How long the reply may get. Clients ask for more than there is: half stays for the prompt."""
    asked = min(body.max_completion_tokens or body.max_tokens or default, MAX_TOKENS)
    try:
        return min(asked, (await services.generator.model()).context_tokens // 2)
    except GenerationUnavailable:
        return asked  # the documents' own answer does without the model


def _question(body: ChatIn, collections: Sequence[str], limit: int, scope: str) -> QueryRequest:
    """The last message, with the turns before it; instructions are the platform's own."""
    asked = body.messages[-1].text()
    if body.messages[-1].role != "user" or not asked.strip():
        raise InvalidRequest("The last message must be the user's question.", param="messages")
    if len(asked) > MAX_QUESTION_CHARS:
        raise InvalidRequest(
            f"A question has at most {MAX_QUESTION_CHARS} characters.", param="messages"
        )
    turns = [_turn(message) for message in body.messages[:-1]]
    spoken = [turn for turn in turns if turn.role != "system" and turn.content]
    return QueryRequest(
        collection=collections[0],
        also=tuple(collections[1:]),
        question=asked,
        history=tuple(spoken[-MAX_TURNS:]),
        options=options_of(body.ragserve),
        answer=body.ragserve.answer,
        max_tokens=limit,
        temperature=body.temperature or 0.0,
        cache=body.ragserve.cache,
        on_degraded=body.ragserve.on_degraded,
        scope=scope,
    )


def _conversation(body: ChatIn, limit: int, deadline: Deadline) -> GenerationRequest:
    return GenerationRequest(
        messages=tuple(_message(message) for message in body.messages),
        max_tokens=limit,
        temperature=body.temperature or 0.0,
        top_p=body.top_p or 1.0,
        stop=body.stops(),
        seed=body.seed,
        timeout_s=deadline.remaining_s(),
    )


def _message(message: ChatMessageIn) -> Message:
    role = "system" if message.role == "developer" else message.role
    return Message(role, message.text())


def _turn(message: ChatMessageIn) -> Message:
    """An earlier turn, without the numbers at its end: they were other passages'."""
    turn = _message(message)
    return turn if turn.role == "user" else Message(turn.role, _MARKERS.sub("", turn.content))
