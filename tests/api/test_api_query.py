"""Questions over HTTP: whole answers, streams of events, and what becomes of either."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.desk import ANSWER, QUESTION, Desk, out, problem
from api.exchange import Exchange, HangUp

from deployments.contracts.generation import GenerationRequest, Token
from deployments.errors import (
    EmbeddingUnavailable,
    GenerationUnavailable,
    Overloaded,
    StoreUnavailable,
)
from deployments.generation.memory import ScriptedGenerator
from serve_app.routes import events
from serve_app.routes.events import EventStream

QUERY = {"collection": "handbook", "question": QUESTION}
STREAM = {**QUERY, "stream": True}


class WatchedGenerator(ScriptedGenerator):
    """Knows how many of its streams were begun and how many were closed before their end."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.begun = 0
        self.broken_off = 0

    async def stream(self, request: GenerationRequest) -> AsyncGenerator[Token, None]:
        self.begun += 1
        ended = False
        try:
            async for token in super().stream(request):
                yield token
            ended = True
        finally:
            self.broken_off += not ended


async def slow_desk(folder: Path) -> tuple[Desk, WatchedGenerator]:
    generator = WatchedGenerator(answers=["word " * 2000], token_ms=2)
    desk = Desk(folder, generator=generator)
    await desk.furnish()
    return desk, generator


async def test_an_answer_comes_with_its_passages_citations_and_timings(
    root: httpx.AsyncClient,
) -> None:
    answer = (await root.post("/v1/query", json=QUERY)).json()
    assert answer["answer"] == ANSWER
    assert answer["answered"]
    cited = answer["passages"][answer["citations"][0]["passage"] - 1]
    assert cited["document_id"] == answer["citations"][0]["document_id"] == "doc_1"
    assert answer["timings_ms"]["total"] > 0
    assert answer["degraded"] == []
    assert (answer["model"], answer["finish_reason"]) == ("scripted", "stop")


async def test_a_search_numbers_its_passages(root: httpx.AsyncClient) -> None:
    body = {"collection": "handbook", "query": "holiday", "top_k": 2}
    answer = await root.post("/v1/search", json=body)
    found = answer.json()
    assert [passage["number"] for passage in found["passages"]] == [1, 2]
    assert found["passages"][0]["document_id"] == "doc_1"
    assert found["request_id"] == answer.headers["x-request-id"]


async def test_a_stream_gives_passages_then_tokens_then_the_whole_answer(desk: Desk) -> None:
    async with Exchange(desk.app, "POST", "/v1/query", body=STREAM) as exchange:
        assert exchange.status == 200
        assert exchange.headers["content-type"].startswith("text/event-stream")
        assert exchange.headers["cache-control"] == "no-store"
        found = [event async for event in exchange.events()]
    names = [name for name, _ in found]
    assert names == ["passages", *["token"] * (len(names) - 2), "done"]
    whole = found[-1][1]
    assert "".join(data["text"] for name, data in found if name == "token") == whole["answer"]
    assert whole["passages"] == found[0][1]["passages"]
    assert whole["request_id"] == found[0][1]["request_id"] == exchange.headers["x-request-id"]


async def test_a_model_that_fails_in_mid_answer_ends_the_stream_with_a_problem(desk: Desk) -> None:
    desk.generator.fail_with(GenerationUnavailable("The model is out."), after_tokens=3)
    async with Exchange(desk.app, "POST", "/v1/query", body=STREAM) as exchange:
        found = [event async for event in exchange.events()]
    assert [name for name, _ in found] == ["passages", "token", "token", "token", "error"]
    error = found[-1][1]
    assert (error["code"], error["status"]) == ("generation_unavailable", 503)
    assert error["request_id"] == exchange.headers["x-request-id"]


async def test_a_surprise_in_mid_answer_ends_the_stream_and_tells_nothing(desk: Desk) -> None:
    desk.generator.fail_with(ZeroDivisionError("secret"), after_tokens=2)
    async with Exchange(desk.app, "POST", "/v1/query", body=STREAM) as exchange:
        name, data = [event async for event in exchange.events()][-1]
    assert (name, data["code"]) == ("error", "internal_error")
    assert "secret" not in json.dumps(data)


@pytest.mark.parametrize("hang_up", ["message", "send", "cancel"])
@pytest.mark.parametrize("cache", [True, False])
async def test_a_caller_who_leaves_stops_the_model(
    tmp_path: Path, hang_up: HangUp, cache: bool
) -> None:
    desk, generator = await slow_desk(tmp_path)
    body = {**STREAM, "cache": cache}
    async with Exchange(desk.app, "POST", "/v1/query", body=body, hang_up=hang_up) as exchange:
        async for name, _ in exchange.events():
            if name == "token":
                break
    async with asyncio.timeout(2):
        while not generator.broken_off:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)
    computed = await generator.tokens_computed()
    await asyncio.sleep(0.05)
    assert generator.begun == generator.broken_off == 1
    assert await generator.tokens_computed() == computed < 200


async def test_one_of_two_who_ask_the_same_may_leave(tmp_path: Path) -> None:
    generator = WatchedGenerator(answers=[ANSWER], token_ms=5)
    desk = Desk(tmp_path, generator=generator)
    await desk.furnish()
    async with Exchange(desk.app, "POST", "/v1/query", body=STREAM) as stays:
        async with Exchange(desk.app, "POST", "/v1/query", body=STREAM) as leaves:
            await anext(leaves.events())
        found = [event async for event in stays.events()]
    assert found[-1][1]["answer"] == ANSWER
    assert generator.begun == 1


@pytest.mark.parametrize(
    ("part", "error", "status"),
    [("store", StoreUnavailable("out"), 503), ("generator", Overloaded("full"), 503)],
)
async def test_what_fails_before_the_first_event_is_a_real_http_error(
    desk: Desk, root: httpx.AsyncClient, part: str, error: Any, status: int
) -> None:
    if part == "store":
        with out(desk.store, error):
            problem(await root.post("/v1/query", json=STREAM), status, error.code)
        return
    desk.generator.fail_with(error)
    problem(await root.post("/v1/query", json=QUERY), status, error.code)


async def test_the_embedder_out_is_labelled_and_answered_by_words(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    with out(desk.embedder, EmbeddingUnavailable("out")):
        answer = (await root.post("/v1/query", json=QUERY)).json()
        assert answer["degraded"] == ["lexical_only"]
        assert answer["passages"][0]["document_id"] == "doc_1"
        found = await root.post("/v1/search", json={"collection": "handbook", "query": "holiday"})
        assert found.json()["degraded"] == ["lexical_only"]


async def test_the_model_out_is_labelled_and_answered_by_quotation(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    desk.generator.fail_with(GenerationUnavailable("out"))
    answer = (await root.post("/v1/query", json=QUERY)).json()
    assert answer["degraded"] == ["extractive"]
    assert "29 days" in answer["answer"]
    assert answer["finish_reason"] == "extract"


@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_who_wants_no_lesser_answer_gets_the_error(
    desk: Desk, root: httpx.AsyncClient, stream: bool
) -> None:
    body = {**QUERY, "stream": stream, "on_degraded": "fail"}
    with out(desk.embedder, EmbeddingUnavailable("out")):
        problem(await root.post("/v1/query", json=body), 503, "embedding_unavailable")
    desk.generator.fail_with(GenerationUnavailable("out"))
    answer = await root.post("/v1/query", json={**body, "question": QUESTION + " Please."})
    if stream:
        assert answer.text.rpartition("event: ")[2].startswith("error")
        assert '"generation_unavailable"' in answer.text
    else:
        problem(answer, 503, "generation_unavailable")


async def test_a_deadline_is_kept_and_names_the_stage(tmp_path: Path) -> None:
    desk, generator = await slow_desk(tmp_path)
    async with desk.client() as client:
        began = time.perf_counter()
        answer = await client.post("/v1/query", json={**QUERY, "deadline_s": 0.3})
        assert time.perf_counter() - began < 3
        problem(answer, 504, "deadline_exceeded")
    assert generator.broken_off == 1


async def test_a_question_the_documents_do_not_answer_is_told_so(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    body = {"collection": "handbook", "question": "Who won the chess olympiad in Elista?"}
    answer = (await root.post("/v1/query", json=body)).json()
    assert not answer["answered"]
    assert answer["citations"] == []
    assert desk.generator.requests == []


async def test_a_kept_answer_says_so_and_ends_with_the_next_commit(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    cached = [(await root.post("/v1/query", json=QUERY)).json()["cached"] for _ in range(2)]
    assert cached == [False, True]
    await root.delete("/v1/collections/handbook/documents/doc_2")
    assert not (await root.post("/v1/query", json=QUERY)).json()["cached"]


async def test_a_quiet_stream_is_kept_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE_S", 0.02)
    desk = Desk(tmp_path, generator=ScriptedGenerator(answers=[ANSWER], token_ms=50))
    await desk.furnish()
    async with Exchange(desk.app, "POST", "/v1/query", body=STREAM) as exchange:
        found = [event async for event in exchange.events()]
    comments = [data for name, data in found if name == ""]
    assert len(comments) >= 5
    assert all(comment.startswith(":") for comment in comments)
    assert found[-1][0] == "done"


async def test_a_stream_cancelled_again_and_again_still_closes_its_source() -> None:
    closed = asyncio.Event()

    async def source() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            closed.set()

    async def read() -> None:
        async for _ in EventStream(source()).body_iterator:
            pass

    reader = asyncio.create_task(read())
    await asyncio.sleep(0.01)
    for _ in range(5):
        reader.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await reader
    async with asyncio.timeout(1):
        await closed.wait()
