"""The smoke query: what passes for an answer."""

from __future__ import annotations

import json

import httpx
import pytest

from serve_app.releases.rollout import SmokeFailed
from serve_app.releases.smoke import QUESTIONS, SmokeQuery


def smoke(answer: httpx.Response, ready: int = 200, collection: str | None = "c") -> list[str]:
    """The paths that were asked for."""
    asked = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/health/ready":
            return httpx.Response(ready, json={"status": "degraded"})
        body = json.loads(request.content)
        assert body["on_degraded"] == "fail"
        assert body["cache"] is False
        return answer

    SmokeQuery(
        "http://ragserve",
        "key",
        collection,
        transport=httpx.MockTransport(handle),
        sleep=lambda _: None,
    )()
    return asked


def test_an_answer_passes_and_is_asked_for_more_than_once() -> None:
    asked = smoke(httpx.Response(200, json={"answer": "Leave."}))
    assert asked == ["/health/ready"] + ["/v1/query"] * QUESTIONS


def test_without_a_collection_every_part_must_be_ready() -> None:
    assert smoke(httpx.Response(500), collection=None) == ["/health/ready"]


@pytest.mark.parametrize("answer", [httpx.Response(500), httpx.Response(200, json={"answer": ""})])
def test_an_error_or_an_empty_answer_fails(answer: httpx.Response) -> None:
    with pytest.raises(SmokeFailed):
        smoke(answer)


def test_a_version_that_does_not_become_ready_fails() -> None:
    with pytest.raises(SmokeFailed, match="degraded"):
        smoke(httpx.Response(200, json={"answer": "x"}), ready=503)


def test_a_server_that_is_not_there_fails() -> None:
    with pytest.raises(SmokeFailed, match="ConnectError"):
        SmokeQuery("http://127.0.0.1:1")()
