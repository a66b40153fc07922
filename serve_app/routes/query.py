"""Questions: passages that match, and answers that cite them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse

from deployments.contracts.identity import Principal
from deployments.contracts.query import (
    DoneEvent,
    PassagesEvent,
    QueryEvent,
    QueryRequest,
    TokenEvent,
)
from deployments.query.deadline import Deadline
from deployments.query.pipeline import whole_answer
from serve_app import problems as problem_documents
from serve_app.routes.access import UsesServices, needs, problems, require_collections
from serve_app.routes.events import EventStream, event, failure
from serve_app.routes.listening import while_heard
from serve_app.routes.spending import HasBudget, charged, usage_of
from serve_app.routes.translate import answer_out, options_of, passages_out, query_of
from serve_app.schemas import QueryIn, QueryOut, SearchIn, SearchOut

router = APIRouter(prefix="/v1", tags=["query"])

Searcher = Annotated[Principal, Depends(needs("query", bucket="search"))]
Asker = Annotated[Principal, Depends(needs("query", bucket="generation"))]


@router.post("/search", responses=problems(404, 429, 503, 504))
async def search(
    body: SearchIn, request: Request, caller: Searcher, services: UsesServices
) -> SearchOut:
    """The passages that match best, without asking the language model."""
    require_collections(caller, body.names)
    result = await while_heard(
        request,
        services.pipeline.search(
            QueryRequest(
                collection=body.names[0],
                also=body.names[1:],
                question=body.query,
                options=options_of(body),
                on_degraded=body.on_degraded,
            ),
            Deadline.after(services.args.query.deadline_s),
        ),
    )
    return SearchOut(
        passages=passages_out(result.passages),
        timings_ms=dict(result.timings_ms),
        degraded=list(result.degraded),
        request_id=problem_documents.request_id_of(request),
    )


@router.post(
    "/query",
    response_model=QueryOut,
    responses=problems(404, 429, 503, 504)
    | {
        200: {
            "description": "The answer; with `stream: true` the events `passages`, `token`..., "
            "`done` (the whole answer) or `error` (a problem document).",
            "content": {"text/event-stream": {}},
        }
    },
)
async def query(
    body: QueryIn, request: Request, caller: Asker, services: UsesServices, budget: HasBudget
) -> QueryOut | StreamingResponse:
    """An answer from the documents, cited sentence by sentence."""
    require_collections(caller, body.names)
    request_id = problem_documents.request_id_of(request)
    question = query_of(body, scope=scope_of(caller))
    deadline = Deadline.after(body.deadline_s or services.args.query.deadline_s)
    most_tokens = body.max_tokens if body.answer == "generate" else 0
    if most_tokens:
        await budget.open()
    stream = charged(services.pipeline.stream(question, deadline), usage_of, budget, most_tokens)
    if not body.stream:
        return answer_out(await while_heard(request, whole_answer(stream)), request_id)
    # What goes wrong before the first event is an HTTP error; later ones are `error` events.
    first = await anext(stream)
    return EventStream(_as_events(first, stream, request_id))


def scope_of(caller: Principal) -> str:
    """What the caller may see: answers are shared between callers of one scope only."""
    return ",".join(sorted(caller.collections))


async def _as_events(
    first: QueryEvent, rest: AsyncGenerator[QueryEvent, None], request_id: str
) -> AsyncGenerator[bytes, None]:
    async with aclosing(rest):
        try:
            yield _as_event(first, request_id)
            async for item in rest:
                yield _as_event(item, request_id)
        except Exception as error:  # noqa: BLE001 - the response has begun: it must end as one
            yield failure(error, request_id)


def _as_event(item: QueryEvent, request_id: str) -> bytes:
    match item:
        case PassagesEvent():
            passages = [p.model_dump(mode="json") for p in passages_out(item.passages)]
            body = {
                "passages": passages,
                "degraded": list(item.degraded),
                "request_id": request_id,
            }
            return event("passages", json.dumps(body))
        case TokenEvent():
            return event("token", json.dumps({"text": item.text}))
        case DoneEvent():
            return event("done", answer_out(item.answer, request_id).model_dump_json())
