"""Who gets in, and how far."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from api.desk import Desk, out, problem, shape
from api.exchange import Exchange

from deployments.errors import StateUnavailable

OPEN = {"/", "/health", "/health/live", "/health/ready"}
PARAMETERS = {"collection": "handbook", "document_id": "doc_1", "job_id": "job_1"}


def operations(routes: Any) -> Iterator[tuple[str, str]]:
    """(method, path) of every route, those of routers inside routers too."""
    for route in routes:
        if hasattr(route, "methods"):
            path = re.sub(r"{(\w+)[^}]*}", lambda m: PARAMETERS.get(m[1], "x"), route.path)
            yield from ((method, path) for method in sorted(route.methods))
        elif hasattr(route, "effective_route_contexts"):  # a router that was included
            yield from operations(route.effective_route_contexts())


async def test_no_route_answers_a_stranger_but_health_and_the_page(
    desk: Desk, stranger: httpx.AsyncClient
) -> None:
    found = set(operations(desk.app.routes))
    described = desk.app.openapi()["paths"]
    assert len(found) > sum(len(item) for item in described.values()) > 15
    for method, path in found:
        answer = await stranger.request(method, path)
        if path in OPEN:
            assert answer.status_code == 200, path
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/metrics", "/docs", "/openapi.json"])
async def test_a_stranger_cannot_tell_which_paths_there_are(
    stranger: httpx.AsyncClient, path: str
) -> None:
    problem(await stranger.get(path), 401, "unauthenticated")


@pytest.mark.parametrize(
    "credentials", ["", "Bearer", "Bearer ", "Bearer wrong", "Basic cm9vdA==", "root", "bearer\tx"]
)
async def test_credentials_that_are_none_open_nothing(
    stranger: httpx.AsyncClient, credentials: str
) -> None:
    answer = await stranger.get("/v1/me", headers={"Authorization": credentials})
    problem(answer, 401, "unauthenticated")


async def test_a_strangers_body_is_not_even_read(desk: Desk) -> None:
    pieces = [b"x" * 1024] * 3
    headers = {"authorization": "", "content-type": "application/json"}
    request = Exchange(desk.app, "POST", "/v1/query", pieces=pieces, headers=headers)
    async with request as exchange:
        assert exchange.status == 401
        assert exchange.received == 0


async def test_with_the_key_store_out_nobody_is_let_in_and_told_to_come_again(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    with out(desk.keys, StateUnavailable("out")):
        answer = await root.get("/v1/me")
        problem(answer, 503, "state_unavailable")
        assert int(answer.headers["retry-after"]) >= 1
        assert (await root.get("/health/live")).status_code == 200
    assert (await root.get("/v1/me")).status_code == 200


async def test_the_description_is_for_callers_only(
    root: httpx.AsyncClient, stranger: httpx.AsyncClient
) -> None:
    problem(await stranger.get("/v1/openapi.json"), 401, "unauthenticated")
    assert (await root.get("/v1/openapi.json")).json()["info"]["title"] == "ragserve"


async def test_callers_see_who_they_are(desk: Desk) -> None:
    async with desk.client("bob") as bob:
        assert (await bob.get("/v1/me")).json() == {
            "id": "key:bob",
            "name": "bob",
            "scopes": ["ingest", "query"],
            "collections": ["bobs_*"],
            "writable": ["bobs_*"],
        }


DOCUMENTS = {"documents": [{"title": "t", "text": "x"}]}
ASKED = {"collection": "handbook", "question": "q"}
NEEDS_QUERY = [
    ("GET", "/v1/collections", None),
    ("GET", "/v1/collections/handbook", None),
    ("GET", "/v1/collections/handbook/documents", None),
    ("GET", "/v1/collections/handbook/documents/doc_1", None),
    ("POST", "/v1/search", {"collection": "handbook", "query": "q"}),
    ("POST", "/v1/query", ASKED),
]
NEEDS_INGEST = [
    ("POST", "/v1/collections", {"name": "new"}),
    ("POST", "/v1/collections/handbook/documents", DOCUMENTS),
    ("DELETE", "/v1/collections/handbook/documents/doc_1", None),
    ("DELETE", "/v1/collections/handbook", None),
    ("GET", "/v1/jobs", None),
    ("GET", "/v1/jobs/job_1", None),
    ("GET", "/v1/jobs/job_1/events", None),
    ("POST", "/v1/jobs/job_1/cancel", None),
    ("POST", "/v1/jobs/job_1/resume", None),
]


@pytest.mark.parametrize(
    ("key", "refused", "allowed"),
    [("writer", NEEDS_QUERY, NEEDS_INGEST), ("reader", NEEDS_INGEST, NEEDS_QUERY)],
)
async def test_a_key_does_what_its_scopes_say_and_no_more(
    desk: Desk, key: str, refused: list[Any], allowed: list[Any]
) -> None:
    async with desk.client(key) as client:
        for method, path, body in refused:
            problem(await client.request(method, path, json=body), 403, "forbidden")
        for method, path, body in allowed:
            answer = await client.request(method, path, json=body)
            assert answer.status_code in (200, 201, 202, 204, 404), (path, answer.text)


async def test_an_admin_needs_no_other_scope(desk: Desk) -> None:
    desk.keys.give("boss", {"admin"})
    async with desk.client("boss") as boss:
        for method, path, body in NEEDS_QUERY:
            assert (await boss.request(method, path, json=body)).status_code == 200


async def test_another_tenants_collection_is_as_if_it_were_not_there(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    async with desk.client("bob") as bob:
        for name, path, body in [
            ("handbook", "", None),
            ("handbook", "/documents", None),
            ("handbook", "/documents", DOCUMENTS),
            ("handbook", "/documents/doc_1", None),
        ]:
            method = "POST" if body else "GET"
            url = "/v1/collections/{}" + path
            hidden = await bob.request(method, url.format(name), json=body)
            absent = await root.request(method, url.format("absent"), json=body)
            assert shape(problem(hidden, 404, "collection_not_found"), name) == shape(
                problem(absent, 404, "collection_not_found"), "absent"
            )
        for path, body in [("/v1/query", ASKED), ("/v1/search", NEEDS_QUERY[4][2])]:
            hidden = await bob.post(path, json=body)
            absent = await root.post(path, json={**body, "collection": "absent"})
            assert shape(problem(hidden, 404, "collection_not_found"), "handbook") == shape(
                problem(absent, 404, "collection_not_found"), "absent"
            )
        problem(await bob.delete("/v1/collections/handbook"), 404, "collection_not_found")
        assert (await bob.get("/v1/collections")).json() == {"collections": []}
    assert (await root.get("/v1/collections/handbook")).status_code == 200


async def test_another_tenants_job_is_as_if_it_were_not_there(
    desk: Desk, root: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    await desk.furnish("bobs_papers")
    job_id = await desk.submitted(alice)
    async with desk.client("bob") as bob:
        for method, path in [
            ("GET", "/v1/jobs/{}"),
            ("GET", "/v1/jobs/{}/events"),
            ("POST", "/v1/jobs/{}/cancel"),
            ("POST", "/v1/jobs/{}/resume"),
        ]:
            hidden = await bob.request(method, path.format(job_id))
            absent = await bob.request(method, path.format("job_none"))
            assert shape(problem(hidden, 404, "job_not_found"), job_id) == shape(
                problem(absent, 404, "job_not_found"), "job_none"
            )
        assert (await bob.get("/v1/jobs")).json()["jobs"] == []
    assert (await root.get(f"/v1/jobs/{job_id}")).json()["state"] == "PENDING"


async def test_a_document_of_another_collection_is_not_found_in_this_one(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    await desk.furnish("other")
    await root.delete("/v1/collections/other/documents/doc_1")
    problem(await root.get("/v1/collections/other/documents/doc_1"), 404, "document_not_found")
    assert (await root.get("/v1/collections/handbook/documents/doc_1")).status_code == 200


async def test_the_page_and_its_files_are_for_everybody_and_nothing_beside_them(
    stranger: httpx.AsyncClient, root: httpx.AsyncClient
) -> None:
    page = await stranger.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path in re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text):
        assert (await stranger.get(path)).status_code == 200, path
    for outside in ["/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"]:
        assert (await root.get(outside)).status_code in (401, 404), outside
