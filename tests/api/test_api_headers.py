"""What every response carries, whatever it is."""

from __future__ import annotations

import re

import httpx
import pytest
from api.desk import QUESTION, Desk, out

RESPONSES = [
    ("GET", "/", None),
    ("GET", "/static/app.js", None),
    ("GET", "/static/absent.js", None),
    ("GET", "/health", None),
    ("GET", "/v1/me", None),
    ("GET", "/v1/nothing", None),
    ("PUT", "/v1/query", None),
    ("POST", "/v1/query", {"collection": "handbook", "question": QUESTION, "stream": True}),
    ("POST", "/v1/query", {"collection": "absent", "question": QUESTION}),
    ("POST", "/v1/query", {}),
    ("DELETE", "/v1/collections/handbook/documents/doc_1", None),
]


def secured(answer: httpx.Response) -> bool:
    policy = answer.headers["content-security-policy"]
    return (
        "default-src 'none'" in policy
        and "script-src 'self'" in policy
        and "frame-ancestors 'none'" in policy
        and "unsafe" not in policy
        and answer.headers["x-content-type-options"] == "nosniff"
        and answer.headers["referrer-policy"] == "no-referrer"
        and answer.headers["cross-origin-opener-policy"] == "same-origin"
        and answer.headers["cross-origin-resource-policy"] == "same-origin"
        and "server" not in answer.headers
    )


@pytest.mark.parametrize(("method", "path", "body"), RESPONSES)
@pytest.mark.parametrize("key", ["root", None])
async def test_every_response_is_named_and_secured(
    desk: Desk, key: str | None, method: str, path: str, body: object
) -> None:
    async with desk.client(key) as client:
        answer = await client.request(method, path, json=body, headers={"X-Request-ID": "mine-1.2"})
    assert secured(answer)
    assert answer.headers["x-request-id"] == "mine-1.2"


async def test_even_the_answer_to_a_surprise_is_named_and_secured(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    with out(desk.store, ZeroDivisionError()):
        answer = await root.get("/v1/collections", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert secured(answer)
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.parametrize("offered", ["", "a b", "x" * 65, "a\tb", "<script>", "å", 'a"b', "a/b"])
async def test_a_request_id_that_could_do_harm_is_replaced(
    stranger: httpx.AsyncClient, offered: str
) -> None:
    answers = [
        await stranger.get("/health/live", headers={"X-Request-ID": offered.encode()})
        for _ in range(2)
    ]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert all(re.fullmatch("[0-9a-f]{32}", made) for made in ids)
