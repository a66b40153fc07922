"""Embeddings by the model that the collections use."""

from __future__ import annotations

import asyncio
import base64
import json

from fastapi import APIRouter, Depends, Request, Response

from deployments.contracts.embedding import Lane, Vectors
from deployments.errors import InvalidRequest
from deployments.query.deadline import Deadline
from serve_app.openai_schemas import MAX_INPUTS, EmbeddingsIn, EmbeddingsOut
from serve_app.routes.access import UsesServices, needs
from serve_app.routes.listening import while_heard
from serve_app.routes.openai.errors import OpenAIRoute, error_responses
from serve_app.routes.openai.models import unknown_model

router = APIRouter(prefix="/embeddings", route_class=OpenAIRoute)

CHARS_PER_TOKEN = 4
"""OpenAI's own rule of thumb; only the usage is estimated with it."""


@router.post(
    "",
    response_model=EmbeddingsOut,
    responses=error_responses(404, 429, 503, 504),
    dependencies=[Depends(needs("query", bucket="search"))],
)
async def embed(body: EmbeddingsIn, request: Request, services: UsesServices) -> Response:
    """One unit vector a text. A text longer than the model takes is cut."""
    model = await services.embedder.model()
    if body.model != model.name:
        raise unknown_model(body.model)
    if body.dimensions not in (None, model.dimension):
        raise InvalidRequest(
            f"The model's vectors have {model.dimension} dimensions.", param="dimensions"
        )
    texts = _texts(body)
    # Many texts are somebody's indexing: a person's question does not wait behind them.
    lane = Lane.QUERY if len(texts) == 1 else Lane.INGESTION
    async with Deadline.after(services.args.query.deadline_s).within("embed"):
        vectors = await while_heard(request, services.embedder.embed(texts, lane))
    tokens = sum(-(-len(text) // CHARS_PER_TOKEN) for text in texts)
    content = await asyncio.to_thread(_written, vectors, body, tokens)
    return Response(content, media_type="application/json")


def _texts(body: EmbeddingsIn) -> list[str]:
    given = [body.input] if isinstance(body.input, str) else body.input
    if not given or len(given) > MAX_INPUTS:
        raise InvalidRequest(f"Send between 1 and {MAX_INPUTS} texts.", param="input")
    texts = [text for text in given if isinstance(text, str)]
    if len(texts) != len(given):
        raise InvalidRequest(
            "Send texts: token ids are another model's, and mean nothing to this one "
            "(LangChain: check_embedding_ctx_length=False).",
            param="input",
        )
    if not all(texts):
        raise InvalidRequest("A text is empty.", param="input")
    return texts


def _written(vectors: Vectors, body: EmbeddingsIn, tokens: int) -> bytes:
    """The response's body. Thousands of vectors take long to write: not on the replica's loop."""
    rows = vectors.astype("<f4", copy=False)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": base64.b64encode(row.tobytes()).decode()
            if body.encoding_format == "base64"
            else row.tolist(),
        }
        for index, row in enumerate(rows)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps(
        {"object": "list", "data": data, "model": body.model, "usage": usage}
    ).encode()
