"""The audit log: every change and every failed authentication, by whom and with what outcome."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.desk import PEER_SECRET, Desk, out

from deployments.errors import StoreUnavailable
from serve_app import description
from serve_app.app import create_app
from serve_app.audit import AUDITED, AuditLog
from serve_app.settings import LimitArgs, RagArgs

SECRET_TEXT = "the recipe of the house"
DOCUMENTS = "/v1/collections/handbook/documents"

# Routes that change nothing, though they are asked by POST.
QUESTIONS = {"search", "query", "complete", "embed"}


def last(desk: Desk) -> dict[str, Any]:
    return desk.audited[-1]


async def test_every_change_is_recorded_with_who_and_what(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    made = (await root.post("/v1/keys", json={"name": "n", "collections": ["*"]})).json()
    text = {"documents": [{"title": SECRET_TEXT, "text": SECRET_TEXT}]}
    job_id = (await root.post(DOCUMENTS, json=text)).json()["id"]
    steps: list[tuple[str, str, Any, str, dict[str, Any]]] = [
        ("POST", "/v1/collections", {"name": "new"}, "collection.create", {"collection": "new"}),
        ("POST", DOCUMENTS, text, "document.ingest", {"collection": "handbook", "files": 1}),
        ("DELETE", f"{DOCUMENTS}/doc_1", None, "document.delete", {"document_id": "doc_1"}),
        ("POST", f"/v1/jobs/{job_id}/cancel", None, "job.cancel", {"job_id": job_id}),
        ("POST", f"/v1/jobs/{job_id}/resume", None, "job.resume", {"job_id": job_id}),
        ("DELETE", "/v1/collections/new", None, "collection.delete", {"collection": "new"}),
        ("POST", f"/v1/keys/{made['prefix']}/rotate", {"overlap_s": 9}, "key.rotate", {}),
        ("DELETE", f"/v1/keys/{made['prefix']}", None, "key.revoke", {"prefix": made["prefix"]}),
    ]
    for method, path, body, event, facts in steps:
        answer = await root.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        line = last(desk)
        assert line["event"] == event
        assert (line["outcome"], line["principal"]) == ("allowed", "key:root")
        assert line["request_id"] == answer.headers["x-request-id"]
        assert facts.items() <= line.items()
    assert {line["event"] for line in desk.audited} == set(AUDITED.values())
    written = desk.audit_file.read_text()
    assert SECRET_TEXT not in written
    assert made["key"] not in written


def test_every_route_that_changes_something_is_recorded(desk: Desk) -> None:
    known = set(AUDITED) | QUESTIONS
    seen = set()
    for path, operations in description.of(desk.app)["paths"].items():
        for method, operation in operations.items():
            if method == "get":
                continue
            named = {name for name in known if operation["operationId"].startswith(f"{name}_")}
            assert named, f"say in AUDITED, or in QUESTIONS here, what {method} {path} is"
            seen |= named
    assert seen == known


async def test_what_was_refused_and_what_failed_is_recorded_too(
    desk: Desk, root: httpx.AsyncClient
) -> None:
    async with desk.client("reader") as reader:
        await reader.delete("/v1/collections/handbook")
    assert (last(desk)["outcome"], last(desk)["principal"]) == ("refused", "key:reader")
    with out(desk.store, StoreUnavailable("out")):
        await root.delete("/v1/collections/handbook")
    assert (last(desk)["outcome"], last(desk)["status"]) == ("failed", 503)


async def test_failed_authentication_is_recorded_without_what_was_offered(desk: Desk) -> None:
    for path, headers in [
        ("/v1/jobs", {}),
        ("/v1/jobs", {"Authorization": "Bearer rsk_abcdefgh_guessed-secret"}),
        ("/internal/v1/jobs", {"X-Internal-Auth": "guessed-secret"}),
    ]:
        async with desk.client(None) as stranger:
            answer = await stranger.get(path, headers=headers)
        line = last(desk)
        assert (line["event"], line["outcome"]) == ("authentication", "refused")
        assert (line["path"], line["principal"]) == (path, "")
        assert line["request_id"] == answer.headers["x-request-id"]
        assert line["address"] == "127.0.0.1"
    assert "guessed" not in desk.audit_file.read_text()


async def test_a_service_is_recorded_by_the_caller_it_speaks_for(desk: Desk) -> None:
    async with desk.client(None) as service:
        await service.delete(
            "/internal/v1/collections/handbook", headers={"X-Internal-Auth": PEER_SECRET}
        )
    assert last(desk)["principal"] == "service:internal"


async def test_a_flood_of_bad_keys_is_stopped_and_does_not_fill_the_log(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RagArgs(limits=LimitArgs(strangers_per_minute=5)))
    await desk.furnish()
    async with desk.client("guess") as stranger:
        statuses = [(await stranger.get("/v1/me")).status_code for _ in range(50)]
    assert statuses == [401] * 5 + [429] * 45
    assert len(desk.audited) == 5
    # Who has a good key is let in, from the same address.
    async with desk.client("alice") as alice:
        assert (await alice.get("/v1/me")).status_code == 200
    # And another address begins with a count of its own; a stranger cannot borrow one.
    async with desk.client("guess") as stranger:
        elsewhere = await stranger.get("/v1/me", headers={"X-Forwarded-For": "203.0.113.9"})
        assert elsewhere.status_code == 401


async def test_a_forged_forwarding_does_not_change_the_address(tmp_path: Path) -> None:
    desk = Desk(tmp_path, RagArgs(limits=LimitArgs(trusted_proxies=())))
    async with desk.client("guess") as stranger:
        await stranger.get("/v1/me", headers={"X-Forwarded-For": "203.0.113.9"})
    assert last(desk)["address"] == "127.0.0.1"

    behind = Desk(tmp_path / "behind")
    behind.folder.mkdir()
    behind.app = create_app(behind.services())
    async with behind.client("guess") as stranger:
        for sent, believed in [
            ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
            ("203.0.113.9, 127.0.0.2", "203.0.113.9"),
            ("nonsense", "127.0.0.1"),
            ("", "127.0.0.1"),
        ]:
            await stranger.get("/v1/me", headers={"X-Forwarded-For": sent})
            assert last(behind)["address"] == believed, sent


async def test_lines_of_several_writers_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.jsonl"
    logs = [AuditLog(path) for _ in range(4)]

    def write(log: AuditLog) -> None:
        for number in range(200):
            log.record("test", "allowed", principal="p" * 150, number=number, text="é\n" * 80)

    await asyncio.gather(*(asyncio.to_thread(write, log) for log in logs))
    for log in logs:
        log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 800
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_an_injected_line_is_a_string_in_ones_own(desk: Desk) -> None:
    forged = '\n{"event": "key.create", "outcome": "allowed", "principal": "key:root"}'
    async with desk.client("guess") as stranger:
        await stranger.get("/v1/x%0a%7b%22event%22%3a1%7d")
        await stranger.get("/v1/me", headers={"Authorization": f"Bearer {forged.strip()}"})
    assert [line["event"] for line in desk.audited] == ["authentication", "authentication"]


async def test_a_log_that_cannot_be_written_is_reported_and_stops_nobody(
    desk: Desk, root: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    desk.audit._descriptor = full
    answer = await root.post("/v1/collections", json={"name": "new"})
    assert answer.status_code == 201
    assert "audit log cannot be written" in caplog.text
