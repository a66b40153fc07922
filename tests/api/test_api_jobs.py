"""Jobs over HTTP: as records, page by page, and as a stream of events."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from api.desk import Desk, out, problem
from api.exchange import Exchange, HangUp

from deployments.errors import StateUnavailable


async def test_a_job_shows_its_files_progress_and_history(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    job_id = await desk.submitted(root)
    await desk.complete(job_id, fail=True)
    job = (await root.get(f"/v1/jobs/{job_id}")).json()
    assert job["state"] == "COMPLETED"
    assert [step["state"] for step in job["transitions"]] == ["PENDING", "PROCESSING", "COMPLETED"]
    assert job["progress"]["files_failed"] == 1
    (file,) = job["files"]
    assert (file["state"], file["error_code"]) == ("FAILED", "damaged_document")


async def test_a_cancelled_job_can_be_resumed(desk: Desk, root: httpx.AsyncClient) -> None:
    job_id = await desk.submitted(root)
    cancelled = (await root.post(f"/v1/jobs/{job_id}/cancel")).json()
    assert (cancelled["state"], cancelled["cancel_requested"]) == ("CANCELLED", True)
    assert (await root.post(f"/v1/jobs/{job_id}/resume")).json()["state"] == "PENDING"


async def test_pages_hold_every_job_once_newest_first(desk: Desk, root: httpx.AsyncClient) -> None:
    made = [await desk.submitted(root) for _ in range(7)]
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(4):
        parameters = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = (await root.get("/v1/jobs", params=parameters)).json()
        seen += [job["id"] for job in page["jobs"]]
        assert all(job["files"] is None for job in page["jobs"])
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert cursor is None
    assert seen == made[::-1]


async def test_jobs_are_found_by_state_and_collection(desk: Desk, root: httpx.AsyncClient) -> None:
    await desk.furnish("other")
    first, second = await desk.submitted(root), await desk.submitted(root, "other")
    await desk.complete(first)
    for query, expected in [
        ("state=PENDING", [second]),
        ("state=COMPLETED", [first]),
        ("collection=other", [second]),
        ("collection=other&state=COMPLETED", []),
    ]:
        page = (await root.get(f"/v1/jobs?{query}")).json()
        assert [job["id"] for job in page["jobs"]] == expected, query


async def test_callers_see_their_own_jobs_and_an_admin_everyones(
    desk: Desk, root: httpx.AsyncClient, alice: httpx.AsyncClient
) -> None:
    mine, hers = await desk.submitted(root), await desk.submitted(alice)
    assert [job["id"] for job in (await alice.get("/v1/jobs")).json()["jobs"]] == [hers]
    assert [job["id"] for job in (await root.get("/v1/jobs")).json()["jobs"]] == [hers, mine]


async def followed(desk: Desk, job_id: str, **headers: str) -> list[tuple[str, Any]]:
    path = f"/v1/jobs/{job_id}/events"
    async with Exchange(desk.app, "GET", path, headers=headers) as exchange:
        assert exchange.status == 200
        return [event async for event in exchange.events()]


async def test_a_job_can_be_followed_to_its_end(desk: Desk, root: httpx.AsyncClient) -> None:
    job_id = await desk.submitted(root)
    path = f"/v1/jobs/{job_id}/events"
    async with Exchange(desk.app, "GET", path) as exchange:
        events = exchange.events()
        assert (await anext(events))[1]["state"] == "PENDING"
        await desk.complete(job_id)
        states = [data["state"] async for _, data in events]
    assert states[0] == "PROCESSING"
    assert states[-1] == "COMPLETED"


async def test_a_lost_connection_goes_on_where_it_was(desk: Desk, root: httpx.AsyncClient) -> None:
    job_id = await desk.submitted(root)
    await desk.complete(job_id)
    whole = await followed(desk, job_id)
    ids = [data["event_id"] for _, data in whole]
    assert len(set(ids)) == len(ids) > 3
    for seen in range(len(ids)):
        rest = await followed(desk, job_id, **{"last-event-id": ids[seen]})
        assert [data["event_id"] for _, data in rest] == ids[seen + 1 :]


@pytest.mark.parametrize("event_id", ["x", "-1", "1-", "1-2-3", "9" * 20, "1;2"])
async def test_an_event_id_that_is_not_ours_is_refused(
    desk: Desk, root: httpx.AsyncClient, event_id: str
) -> None:
    job_id = await desk.submitted(root)
    answer = await root.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": event_id})

    problem(answer, 422, "invalid_request")


@pytest.mark.parametrize("hang_up", ["message", "send", "cancel"])
async def test_a_follower_who_leaves_ends_the_following(
    desk: Desk, root: httpx.AsyncClient, hang_up: HangUp
) -> None:
    job_id = await desk.submitted(root)
    path = f"/v1/jobs/{job_id}/events"
    async with Exchange(desk.app, "GET", path, hang_up=hang_up) as exchange:
        await anext(exchange.events())
        if hang_up == "send":  # noticed with the next event
            await root.post(f"/v1/jobs/{job_id}/cancel")
    assert [t for t in asyncio.all_tasks() if "_kept_alive" in repr(t.get_coro())] == []


async def test_the_state_store_lost_in_the_middle_is_an_event_with_a_problem(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    job_id = await desk.submitted(root)
    async with Exchange(desk.app, "GET", f"/v1/jobs/{job_id}/events") as exchange:
        events = exchange.events()
        await anext(events)
        with out(desk.jobs, StateUnavailable("Redis is out.")):
            await desk.complete(job_id)
            name, data = await anext(events)
    assert (name, data["code"], data["detail"]) == ("error", "state_unavailable", "Redis is out.")
    assert data["request_id"] == exchange.headers["x-request-id"]
