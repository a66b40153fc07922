"""The rerank endpoint's client against a server that speaks both dialects and can misbehave."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from deployments.errors import ConfigurationError, Overloaded, RagserveError, RerankUnavailable
from deployments.reranking.http import HttpReranker
from deployments.reranking.memory import OverlapReranker

QUESTION, PASSAGES = "a b c", ["x", "a b", "a b c", "a"]
SCORES = [0, 2 / 3, 1, 1 / 3]


class Endpoint:
    """Ranks by shared words, best first, as the real ones do; `instead` answers in its place."""

    def __init__(self) -> None:
        self.instead: Response | None = None
        self.silent = False
        self.keys: list[str | None] = []
        self.url = ""

    async def rerank(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization"))
        if self.silent:
            await asyncio.sleep(3600)
        if self.instead is not None:
            return self.instead
        body: dict[str, Any] = await request.json()
        tei = "texts" in body
        passages = body["texts"] if tei else body["documents"]
        scores = await OverlapReranker().rerank(body["query"], passages)
        ranked = sorted(enumerate(scores), key=lambda pair: -pair[1])
        if tei:
            return JSONResponse([{"index": index, "score": score} for index, score in ranked])
        assert body["model"] == "some-reranker"
        return JSONResponse(
            {"results": [{"index": i, "relevance_score": score} for i, score in ranked]}
        )


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = Endpoint()
    app = Starlette(routes=[Route("/rerank", endpoint.rerank, methods=["POST"])])
    # It listens from here on: a request that comes before the server has started just waits.
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(app, log_config=None, lifespan="off", ws="none", timeout_graceful_shutdown=0)
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    endpoint.url = f"http://127.0.0.1:{listening.getsockname()[1]}/rerank"
    yield endpoint
    server.should_exit = True
    await serving


@pytest.mark.parametrize("style", ["tei", "cohere"])
async def test_scores_come_back_in_the_passages_order(
    endpoint: Endpoint, style: Literal["tei", "cohere"]
) -> None:
    reranker = HttpReranker(url=endpoint.url, style=style, model="some-reranker")
    assert await reranker.rerank(QUESTION, PASSAGES) == pytest.approx(SCORES)
    assert await reranker.rerank(QUESTION, []) == []
    await reranker.aclose()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (PlainTextResponse("overloaded", 429, {"Retry-After": "7"}), Overloaded),
        (PlainTextResponse("loading", 503), Overloaded),
        (PlainTextResponse("broken", 500), RerankUnavailable),
        (PlainTextResponse("no JSON"), RerankUnavailable),
        (JSONResponse([{"index": 0, "score": 1.0}]), RerankUnavailable),
        (JSONResponse({"error": "no results"}), RerankUnavailable),
    ],
)
async def test_a_bad_answer_is_an_error_of_our_own(
    endpoint: Endpoint, answer: Response, error: type[RagserveError]
) -> None:
    endpoint.instead = answer
    reranker = HttpReranker(url=endpoint.url)
    with pytest.raises(error) as failed:
        await reranker.rerank(QUESTION, PASSAGES)
    assert endpoint.url in failed.value.message
    if answer.status_code == 429:
        assert failed.value.details["retry_after_s"] == 7
    await reranker.aclose()


async def test_a_silent_endpoint_is_given_up_in_time(endpoint: Endpoint) -> None:
    endpoint.silent = True
    reranker = HttpReranker(url=endpoint.url, timeout_s=0.1)
    with pytest.raises(RerankUnavailable, match="in time"):
        await reranker.rerank(QUESTION, PASSAGES)
    await reranker.aclose()


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    reranker = HttpReranker(url="http://127.0.0.1:9/rerank")
    with pytest.raises(RerankUnavailable, match="cannot be reached"):
        await reranker.rerank(QUESTION, PASSAGES)
    await reranker.aclose()


async def test_the_key_comes_from_the_environment_and_must_be_there(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigurationError, match="RERANK_KEY"):
        HttpReranker(url=endpoint.url, api_key_env="RERANK_KEY")
    monkeypatch.setenv("RERANK_KEY", "k1")
    reranker = HttpReranker(url=endpoint.url, api_key_env="RERANK_KEY")
    await reranker.rerank(QUESTION, PASSAGES)
    assert endpoint.keys == ["Bearer k1"]
    await reranker.aclose()
