"""Floods and slow callers: whoever sends too much or too slowly is stopped, and others are not."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from api.desk import QUESTION, Desk
from starlette.responses import Response

from deployments.errors import RagserveError, RequestTimeout
from serve_app import problems
from serve_app.middleware import BodyLimit
from serve_app.settings import RagArgs

ASKED = {"collection": "handbook", "question": QUESTION, "cache": False}


async def test_one_callers_flood_is_cut_off_and_another_is_served(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RagArgs())
    await desk.furnish()
    async with desk.client() as root, desk.client("alice") as alice:
        flood = [root.post("/v1/query", json=ASKED) for _ in range(60)]
        answers = await asyncio.gather(*flood, alice.post("/v1/query", json=ASKED))
    *flooded, other = [answer.status_code for answer in answers]
    assert sorted(flooded) == [200] * 10 + [429] * 50
    assert other == 200


async def test_a_flood_of_jobs_is_cut_off_and_leaves_nothing_behind(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RagArgs())
    await desk.furnish()
    documents = "/v1/collections/handbook/documents"
    body = {"documents": [{"title": "t", "text": "x"}]}
    async with desk.client() as root:
        answers = [await root.post(documents, json=body) for _ in range(80)]
    taken = [answer for answer in answers if answer.status_code == 202]
    assert len(taken) == 60
    assert {answer.status_code for answer in answers} == {202, 429}
    assert len(desk.staged) == len(taken)


def refuse(scope: Any, error: RagserveError) -> Response:
    return problems.respond(problems.problem_of(error))


async def test_a_body_that_stalls_is_given_up(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def reads(scope: Any, receive: Any, send: Any) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
        finally:
            ended.set()

    limited = BodyLimit(reads, 1000, refuse, silence_s=0.05)
    pieces = [{"type": "http.request", "body": b"x", "more_body": True}] * 3

    async def receive() -> Any:
        if pieces:
            await asyncio.sleep(0.02)
            return pieces.pop()
        return await asyncio.sleep(60)

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async with asyncio.timeout(2):
        with pytest.raises(RequestTimeout) as refused:
            await limited({"type": "http", "headers": []}, receive, send)
    assert problems.problem_of(refused.value).status == 408
    assert ended.is_set()
    assert pieces == []


async def test_listening_for_the_caller_to_leave_is_no_stall() -> None:
    heard = []

    async def listens(scope: Any, receive: Any, send: Any) -> None:
        heard.append(await receive())
        heard.append(await receive())

    messages = [
        {"type": "http.disconnect"},
        {"type": "http.request", "body": b"whole", "more_body": False},
    ]

    async def receive() -> Any:
        if len(messages) == 1:
            await asyncio.sleep(0.1)
        return messages.pop()

    await BodyLimit(listens, 1000, refuse, silence_s=0.02)(
        {"type": "http", "headers": []}, receive, lambda message: None
    )
    assert [message["type"] for message in heard] == ["http.request", "http.disconnect"]
