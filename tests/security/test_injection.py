"""Filters, names, paths, headers and documents that mean to be more than data."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from api.desk import QUESTION, Desk, problem
from api.exchange import Exchange

SEARCH = {"collection": "handbook", "query": QUESTION}
DOCUMENTS = "/v1/collections/handbook/documents"


@pytest.mark.parametrize(
    "value",
    [
        'x" or 1 == 1 or "" == "',
        "x' or '1'='1",
        'x" || year > 0',
        "{x}",
        "%",
        "\\",
        '\\" or true',
        "\u0000",
    ],
)
async def test_a_value_in_a_filter_is_only_ever_a_value(
    root: httpx.AsyncClient, value: str
) -> None:
    for operator in ("eq", "prefix", "in"):
        operand: Any = [value] if operator == "in" else value
        answer = await root.post(
            "/v1/search", json={**SEARCH, "filter": {"field": "title", operator: operand}}
        )
        assert answer.status_code in (200, 400), answer.text
        assert answer.json().get("passages", []) == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"field": "year) or (1==1", "eq": 1},
        {"field": "version", "gte": 0},
        {"field": "title", "eq": {"$ne": None}},
        {"field": ["title"], "eq": 1},
        {"expr": "1 == 1"},
        {"field": "title", "$where": "1"},
        {"field": "__proto__", "raw": "1"},
    ],
)
async def test_a_filter_that_is_none_of_ours_is_refused(
    root: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    answer = await root.post("/v1/search", json={**SEARCH, "filter": wanted})
    if answer.status_code == 200:
        assert answer.json()["passages"] == []
    else:
        problem(answer, 400, "invalid_filter")


@pytest.mark.parametrize(
    "name",
    ["../handbook", "handbook;drop", "Handbook", "hand book", "handbook\x00", "%2e%2e", "_x", "é"],
)
async def test_a_name_that_could_be_more_than_a_name_is_refused(
    root: httpx.AsyncClient, name: str
) -> None:
    assert (await root.post("/v1/collections", json={"name": name})).status_code == 422
    answer = await root.post("/v1/search", json={**SEARCH, "collection": name})
    assert answer.status_code == 422
    model = {"model": f"rag:{name}", "messages": [{"role": "user", "content": "x"}]}
    assert (await root.post("/v1/chat/completions", json=model)).status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/v1/collections/..%2f..%2fetc%2fpasswd",
        "/v1/collections/handbook/documents/..%2f..%2fx",
        "/v1/jobs/..%2f..%2fkeys",
        "/v1/jobs/%00",
        "/v1/jobs/*",
        "/v1/keys/%2a%2a%2a%2a%2a%2a%2a%2a",
        "/v1/models/rag:..%2fhandbook",
        "//v1/jobs",
        "/static/..%2f..%2fsettings.py",
        "/static/%2e%2e/%2e%2e/settings.py",
    ],
)
async def test_a_path_leads_nowhere_but_to_a_route(root: httpx.AsyncClient, path: str) -> None:
    answer = await root.get(path)
    assert answer.status_code in (401, 404, 405, 422), answer.text
    assert "root:" not in answer.text
    assert "class " not in answer.text


async def test_uploads_stay_below_the_folder_of_their_job(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    before = desk.written
    for name in [
        "../../outside.md",
        "/etc/cron.d/x.md",
        "a/../../b.md",
        "..\\..\\c.md",
        "n\x00.md",
    ]:
        answer = await root.post(DOCUMENTS, files={"files": (name, b"# Text\n\ntext")})
        assert answer.status_code in (202, 400, 422), (name, answer.text)
    assert set(desk.written) <= {*before, "blobs"}
    assert all(part.startswith("job_") for part in {path.split("/")[0] for path in desk.staged})


async def test_a_header_of_the_callers_is_not_repeated_unless_it_is_harmless(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    for sent in ["x\r\nSet-Cookie: a=b", "<script>", "a" * 65, "é"]:
        asked = Exchange(desk.app, "GET", "/v1/me", headers={"x-request-id": sent})
        async with asked as exchange:
            assert exchange.status == 200
            assert exchange.headers["x-request-id"] != sent
            assert "set-cookie" not in exchange.headers
    body = {"documents": [{"title": "t", "text": "x"}]}
    answer = await root.post(DOCUMENTS, json=body, headers={"Host": "evil.example"})
    assert answer.headers["location"].startswith("/v1/jobs/")


async def test_what_was_uploaded_never_comes_back_as_a_page(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    page = "<script>alert(document.domain)</script>"
    text = {"documents": [{"title": page, "text": page, "content_type": "text/html"}]}
    answer = await root.post(DOCUMENTS, json=text)
    job = await root.get(answer.headers["location"])
    assert page in job.json()["files"][0]["name"]
    for shown in (answer, job, await root.get("/v1/jobs")):
        assert shown.headers["content-type"] == "application/json"
        assert shown.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in shown.headers["content-security-policy"]


@pytest.mark.parametrize(
    "source",
    [
        "file:///etc/passwd",
        "/etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
        "http://127.0.0.1:6379/",
        "http://[::1]/",
        "http://0x7f000001/",
        "gopher://127.0.0.1:6379/_FLUSHALL",
        "redis://127.0.0.1",
    ],
)
async def test_the_server_fetches_nothing_for_anybody_unless_it_is_allowed(
    root: httpx.AsyncClient, source: str
) -> None:
    answer = await root.post(DOCUMENTS, json={"sources": [source]})
    assert answer.status_code in (400, 403, 422), answer.text
    assert "root:" not in answer.text


async def test_json_that_is_a_bomb_is_refused(root: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    for bomb in [b"[" * 100_000, b'{"a":' * 50_000, b"9" * 100_000, b'"\\ud800"', b"\xff\xfe"]:
        for path in ("/v1/query", "/v1/chat/completions", DOCUMENTS, "/v1/keys"):
            answer = await root.post(path, content=bomb, headers=headers)
            assert 400 <= answer.status_code < 500, (path, bomb[:10], answer.text[:200])


async def test_a_filter_nested_without_end_is_refused(root: httpx.AsyncClient) -> None:
    wanted: dict[str, Any] = {"field": "year", "eq": 1}
    for _ in range(200):
        wanted = {"not": wanted}
    answer = await root.post("/v1/search", json={**SEARCH, "filter": wanted})
    problem(answer, 400, "invalid_filter")
