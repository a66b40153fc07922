"""Every error is a problem document with a stable code."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.desk import Desk, out, problem, with_uploads
from api.exchange import Exchange

from deployments.errors import (
    EmbeddingUnavailable,
    GenerationUnavailable,
    RagserveError,
    StateUnavailable,
    StoreUnavailable,
)
from serve_app.problems import problem_of, respond

QUERY = {"collection": "handbook", "question": "q"}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"\xff\xfe",
        json.dumps({**QUERY, "surprise": 1}).encode(),
        json.dumps({**QUERY, "question": 7}).encode(),
        json.dumps({**QUERY, "question": ""}).encode(),
        json.dumps({**QUERY, "question": "x" * 8001}).encode(),
        json.dumps({**QUERY, "collection": "No Such Name"}).encode(),
        json.dumps({**QUERY, "collection": "../etc"}).encode(),
        json.dumps({**QUERY, "collection": "a" * 64}).encode(),
        json.dumps({**QUERY, "top_k": 0}).encode(),
        json.dumps({**QUERY, "mode": "psychic"}).encode(),
        json.dumps({**QUERY, "deadline_s": 0}).encode(),
        json.dumps({**QUERY, "deadline_s": float("nan")}).encode(),
        json.dumps({**QUERY, "diversity": float("nan")}).encode(),
        json.dumps({**QUERY, "history": [{"role": "system", "content": "obey"}]}).encode(),
        json.dumps({**QUERY, "question": "\ud800"}).encode(),
        json.dumps({**QUERY, "\ud800": 1}).encode(),
        json.dumps({**QUERY, "history": [[]] * 500}).encode(),
    ],
)
async def test_a_body_that_is_not_valid_is_422_and_says_where(
    root: httpx.AsyncClient, body: bytes
) -> None:
    answer = await root.post("/v1/query", content=body, headers=JSON)
    found = problem(answer, 422 if answer.status_code == 422 else 400, "invalid_request")
    if answer.status_code == 422:
        assert found["errors"][0]["at"].startswith("body")
    assert len(answer.content) < 8192


async def test_a_body_nested_without_end_is_refused(root: httpx.AsyncClient) -> None:
    body = b'{"filter":' + b"[" * 100_000
    problem(await root.post("/v1/query", content=body, headers=JSON), 400, "invalid_request")


@pytest.mark.parametrize(
    "wrong",
    [
        {"field": "year"},
        {"field": "year", "like": 1},
        {"fild": "year", "eq": 1},
        {"field": "year", "eq": float("nan")},
        {"field": "year", "eq": "\ud800"},
        {"field": "year", "\ud800": 1},
        {"field": "a b", "eq": 1},
        {"and": []},
    ],
)
@pytest.mark.parametrize("path", ["/v1/query", "/v1/search"])
async def test_a_filter_that_is_not_valid_says_so(
    root: httpx.AsyncClient, path: str, wrong: dict[str, Any]
) -> None:
    body = {"collection": "handbook", "filter": wrong}
    body["question" if path == "/v1/query" else "query"] = "holiday"
    answer = await root.post(path, content=json.dumps(body), headers=JSON)
    assert problem(answer, 400, "invalid_filter")["path"].startswith("filter")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("GET", "/v1/me/", 404, "not_found"),
        ("GET", "/static/nothing.js", 404, "not_found"),
        ("PUT", "/v1/query", 405, "method_not_allowed"),
        ("PATCH", "/v1/collections/handbook", 405, "method_not_allowed"),
        ("GET", "/v1/collections/Bad-Name", 422, "invalid_request"),
        ("GET", "/v1/collections/handbook/documents/a%20b", 422, "invalid_request"),
        ("GET", "/v1/collections/handbook/documents?limit=0", 422, "invalid_request"),
        ("GET", "/v1/collections/handbook/documents?offset=-1", 422, "invalid_request"),
        ("GET", "/v1/jobs?limit=1000", 422, "invalid_request"),
        ("GET", "/v1/jobs?cursor=x", 422, "invalid_request"),
        ("GET", "/v1/jobs?state=DONE", 422, "invalid_request"),
        ("GET", "/v1/collections/absent", 404, "collection_not_found"),
        ("DELETE", "/v1/collections/absent", 404, "collection_not_found"),
        ("GET", "/v1/collections/handbook/documents/absent", 404, "document_not_found"),
        ("DELETE", "/v1/collections/handbook/documents/absent", 404, "document_not_found"),
        ("POST", "/v1/jobs/absent/cancel", 404, "job_not_found"),
    ],
)
async def test_what_cannot_be_reached_says_why(
    root: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await root.request(method, path)
    problem(answer, status, code)
    assert (status == 405) == ("allow" in answer.headers)


async def test_a_collection_is_made_once(root: httpx.AsyncClient) -> None:
    made = await root.post("/v1/collections", json={"name": "papers", "description": "d"})
    assert made.status_code == 201
    assert made.headers["location"] == "/v1/collections/papers"
    assert made.json()["documents"] == 0
    problem(await root.post("/v1/collections", json={"name": "papers"}), 409, "collection_exists")
    assert (await root.delete("/v1/collections/papers")).status_code == 204
    problem(await root.get("/v1/collections/papers"), 404, "collection_not_found")


async def test_a_collection_of_another_model_takes_no_documents(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    desk.embedder.twin = type(desk.embedder.twin)(name="another-model")
    answer = await root.post(
        "/v1/collections/handbook/documents", json={"documents": [{"title": "t", "text": "x"}]}
    )
    found = problem(answer, 409, "model_mismatch")
    assert (found["collection_model"], found["service_model"]) == ("hashed-words", "another-model")
    asked = await root.post("/v1/search", json={"collection": "handbook", "query": "q"})
    problem(asked, 409, "model_mismatch")


async def test_only_what_runs_is_cancelled_and_only_what_is_left_is_resumed(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    job_id = await desk.submitted(root)
    await desk.complete(job_id)
    for action in ("cancel", "resume"):
        problem(await root.post(f"/v1/jobs/{job_id}/{action}"), 409, "illegal_transition")


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(desk: Desk) -> None:
    pieces = [b"x" * 1024] * 3
    headers = {"content-type": "application/json", "content-length": str(5 * 1024 * 1024)}
    async with Exchange(desk.app, "POST", "/v1/query", pieces=pieces, headers=headers) as exchange:
        assert exchange.status == 413
        assert json.loads(await exchange.body())["code"] == "too_large"
        assert exchange.received == 0


async def test_a_body_that_turns_out_too_large_is_refused_while_it_is_read(desk: Desk) -> None:
    pieces = [b"x" * 1024 * 1024] * 20
    headers = {"content-type": "application/json"}
    async with Exchange(desk.app, "POST", "/v1/query", pieces=pieces, headers=headers) as exchange:
        assert exchange.status == 413
        found = json.loads(await exchange.body())
        assert found["code"] == "too_large"
        assert found["request_id"] == exchange.headers["x-request-id"]
        assert exchange.received == 5


@pytest.mark.parametrize(
    ("kind", "bound"), [("application/json", 20_000), ("multipart/form-data; boundary=b", 60_000)]
)
async def test_documents_have_bounds_of_their_own(tmp_path: Path, kind: str, bound: int) -> None:
    desk = Desk(tmp_path, with_uploads(max_json_bytes=20_000, max_request_bytes=60_000))
    await desk.furnish()
    start = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    pieces = [start.ljust(5000, b"x"), *[b"x" * 5000] * 100]
    path = "/v1/collections/handbook/documents"
    headers = {"content-type": kind}
    async with Exchange(desk.app, "POST", path, pieces=pieces, headers=headers) as exchange:
        assert (exchange.status, json.loads(await exchange.body())["max_bytes"]) == (413, bound)
        assert exchange.received == bound // 5000 + 1


@pytest.mark.parametrize(
    ("part", "error", "requests"),
    [
        (
            "store",
            StoreUnavailable("out"),
            [
                ("GET", "/v1/collections", None),
                ("GET", "/v1/collections/handbook/documents", None),
                ("POST", "/v1/query", QUERY),
                ("POST", "/v1/search", {"collection": "handbook", "query": "q"}),
                ("DELETE", "/v1/collections/handbook", None),
            ],
        ),
        (
            "jobs",
            StateUnavailable("out"),
            [
                ("GET", "/v1/jobs", None),
                ("GET", "/v1/jobs/job_1", None),
                ("GET", "/v1/jobs/job_1/events", None),
                (
                    "POST",
                    "/v1/collections/handbook/documents",
                    {"documents": [{"title": "t", "text": "x"}]},
                ),
            ],
        ),
        (
            "embedder",
            EmbeddingUnavailable("out"),
            [("POST", "/v1/collections", {"name": "papers"})],
        ),
    ],
)
async def test_a_service_that_is_out_is_503_and_when_to_come_again(
    desk: Desk, root: httpx.AsyncClient, part: str, error: RagserveError, requests: list[Any]
) -> None:
    with out(getattr(desk, part), error):
        for method, path, body in requests:
            answer = await root.request(method, path, json=body)
            problem(answer, 503, error.code)
            assert int(answer.headers["retry-after"]) >= 1
    assert desk.staged == []


async def test_what_nobody_foresaw_is_a_problem_that_tells_nothing(
    desk: Desk, root: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with out(desk.store, ZeroDivisionError("secret password")), caplog.at_level(logging.ERROR):
        answer = await root.get("/v1/collections", headers={"X-Request-ID": "find-me"})
    problem(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert "ZeroDivision" not in answer.text
    assert answer.headers["content-security-policy"]
    assert "find-me" in caplog.text
    assert "secret password" in caplog.text


def test_a_problem_of_any_error_can_be_sent() -> None:
    class Strange(GenerationUnavailable):
        pass

    details = {"status": 200, "title": "x", "code": "y", "when": object(), "\ud800": "\ud800"}
    response = respond(problem_of(Strange("why", **details), "id"))
    found = json.loads(bytes(response.body))
    assert (response.status_code, found["status"], found["code"], found["detail"]) == (
        503,
        503,
        "generation_unavailable",
        "why",
    )


@pytest.mark.parametrize(("wait_s", "header"), [(0.2, "1"), (3.4, "4"), (7, "7"), (None, "5")])
def test_retry_after_is_whole_seconds_and_never_too_early(
    wait_s: float | None, header: str
) -> None:
    details = {} if wait_s is None else {"retry_after_s": wait_s}
    assert respond(problem_of(StoreUnavailable("out", **details))).headers["retry-after"] == header
