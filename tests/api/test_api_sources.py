"""Documents that callers name by URL: fetched within the operator's allow-list, or refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from api.desk import Desk

from deployments.ingestion.source_policy import SourcePolicy
from deployments.ingestion.sources import Sources
from serve_app.app import create_app
from serve_app.settings import RagArgs, SourceArgs

PATH = "/v1/collections/handbook/documents"


class Pages(BaseHTTPRequestHandler):
    """Two pages and one that never comes."""

    def do_GET(self) -> None:
        body = {"/guide": b"<!doctype html><p>Kestrels", "/a.txt": b"alpha"}.get(self.path)
        if self.path == "/never":
            threading.Event().wait(1.0)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def pages() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    threading.Thread(target=server.serve_forever, args=(0.02,)).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with pages() as port:
        yield port


def allow(desk: Desk, *, limits: SourceArgs | None = None, **policy: Any) -> None:
    """Let the desk's application fetch; every name of the web leads to loopback."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    services = replace(
        desk.services(),
        args=desk.args.model_copy(update={"sources": limits or SourceArgs()}),
        sources=Sources(SourcePolicy(**policy), resolve),
    )
    desk.app = create_app(services)


def allow_web(desk: Desk, port: int, **policy: Any) -> None:
    allow(desk, web=True, private_networks=("127.0.0.0/8",), ports=(port,), **policy)


async def ask(desk: Desk, *sources: str, **body: Any) -> httpx.Response:
    async with desk.client() as client:
        return await client.post(PATH, json={"sources": list(sources), **body})


@pytest.mark.parametrize("url", ["https://example.org/", "/etc/passwd", "s3://bucket/key"])
async def test_by_default_nothing_is_fetched(desk: Desk, url: str) -> None:
    assert RagArgs().sources.roots == ()
    answer = await ask(desk, url)
    assert (answer.status_code, answer.json()["code"]) == (403, "source_forbidden")
    assert desk.staged == []


async def test_pages_become_a_job_with_their_addresses_as_sources(desk: Desk, port: int) -> None:
    allow_web(desk, port)
    base = f"http://docs.example:{port}"
    answer = await ask(desk, f"{base}/guide", f"{base}/a.txt", metadata={"year": 2026})
    assert answer.status_code == 202, answer.text
    specs = [status.spec for status in await desk.jobs.twin.files(answer.json()["id"])]
    assert [spec.source for spec in specs] == [f"{base}/guide", f"{base}/a.txt"]
    assert [spec.content_type for spec in specs] == ["text/html", "text/plain"]
    assert [spec.name for spec in specs] == ["guide", "a.txt"]
    assert {spec.metadata["year"] for spec in specs} == {2026}
    assert (desk.blob_folder / desk.staged[1]).read_bytes() == b"alpha"


async def test_a_folder_becomes_the_files_in_it(desk: Desk, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("a.md", "b.md"):
        (docs / name).write_text(f"# {name}")
    allow(desk, roots=(str(docs),))
    answer = await ask(desk, str(docs))
    assert [file["name"] for file in answer.json()["files"]] == ["a.md", "b.md"]
    answer = await ask(desk, str(tmp_path))
    assert (answer.status_code, answer.json()["code"]) == (403, "source_forbidden")


async def test_what_is_not_there_is_said_and_leaves_nothing(desk: Desk, port: int) -> None:
    allow_web(desk, port)
    base = f"http://docs.example:{port}"
    answer = await ask(desk, f"{base}/a.txt", f"{base}/none")
    assert (answer.status_code, answer.json()["code"]) == (422, "source_not_found")
    assert desk.staged == []
    assert desk.jobs.calls["submit"] == 0


async def test_bytes_files_and_time_are_bounded_a_request(desk: Desk, port: int) -> None:
    base = f"http://docs.example:{port}"
    web = {"web": True, "private_networks": ("127.0.0.0/8",), "ports": (port,)}
    allow(desk, limits=SourceArgs(max_request_bytes=20), **web)
    answer = await ask(desk, f"{base}/a.txt", f"{base}/guide")
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    allow(desk, **web, max_files=1)
    answer = await ask(desk, f"{base}/a.txt", f"{base}/guide")
    assert (answer.status_code, answer.json()["limit_files"]) == (400, 1)
    allow(desk, limits=SourceArgs(request_timeout_s=0.1), **web)
    answer = await ask(desk, f"{base}/never")
    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert desk.staged == []


async def test_a_server_that_is_out_is_a_503(desk: Desk) -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    allow_web(desk, port)
    answer = await ask(desk, f"http://docs.example:{port}/a.txt")
    assert (answer.status_code, answer.json()["code"]) == (503, "source_unavailable")


@pytest.mark.parametrize(
    "body",
    [{"sources": []}, {"sources": [1]}, {"sources": "x"}, {"sources": ["x"], "documents": []}],
)
async def test_a_crooked_list_is_a_422(desk: Desk, body: dict[str, Any]) -> None:
    async with desk.client() as client:
        answer = await client.post(PATH, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
