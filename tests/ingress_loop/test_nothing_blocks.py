"""Everything a replica does runs on one event loop: who blocks it, stops every caller.

Blocking calls are found by what they are, not by how long they take: while a request runs, a call
that waits for a file, a socket, a lock or the clock raises on the loop's thread. How long the loop
computes at a stretch is measured in CPU time, which other programs do not lengthen.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from blockbuster import BlockBuster, BlockingError
from ingress_loop.conftest import COLLECTION

QUESTION = "How many days of paid holiday do full-time employees have?"
LONGEST_STEP_S = 0.05
ALLOWED = {
    # A line into the page cache, for requests that change something; it must not be lost.
    "serve_app/audit.py": "record",
    # A lock's file in the machine's own temporary folder, while a collection is being opened.
    "deployments/retrieval/turns.py": "_open_lock",
}
ASK = {"collection": COLLECTION, "question": QUESTION, "cache": False}
TEXT = "# Harbour\n\n" + "The harbour has forty ships, and its people mend nets. " * 200
MESSAGES = [{"role": "user", "content": QUESTION}]
CHAT = {"model": f"rag:{COLLECTION}", "messages": MESSAGES}
REQUESTS: dict[str, tuple[str, str, Any]] = {
    "health": ("GET", "/health", None),
    "readiness": ("GET", "/health/ready", None),
    "who am I": ("GET", "/v1/me", None),
    "description": ("GET", "/v1/openapi.json", None),
    "collections": ("GET", "/v1/collections", None),
    "one collection": ("GET", f"/v1/collections/{COLLECTION}", None),
    "documents": ("GET", f"/v1/collections/{COLLECTION}/documents", None),
    "one document": ("GET", f"/v1/collections/{COLLECTION}/documents/d1", None),
    "jobs": ("GET", "/v1/jobs", None),
    "search": ("POST", "/v1/search", {"collection": COLLECTION, "query": QUESTION}),
    "lexical search": (
        "POST", "/v1/search", {"collection": COLLECTION, "query": QUESTION, "mode": "lexical"},
    ),
    "wide search": (
        "POST", "/v1/search",
        {"collection": COLLECTION, "query": QUESTION, "neighbours": 2, "diversity": 0.5},
    ),
    "answer": ("POST", "/v1/query", ASK),
    "cached answer": ("POST", "/v1/query", ASK | {"cache": True}),
    "streamed answer": ("POST", "/v1/query", ASK | {"stream": True}),
    "extracted answer": ("POST", "/v1/query", ASK | {"answer": "extract"}),
    "chat": ("POST", "/v1/chat/completions", CHAT),
    "streamed chat": ("POST", "/v1/chat/completions", CHAT | {"stream": True}),
    "embeddings": ("POST", "/v1/embeddings", {"model": "hashed-words", "input": [QUESTION]}),
    "models": ("GET", "/v1/models", None),
    "texts taken in": (
        "POST", f"/v1/collections/{COLLECTION}/documents",
        {"documents": [{"title": "Harbour", "text": TEXT}]},
    ),
}  # fmt: skip


@contextmanager
def blocking_is_an_error() -> Iterator[None]:
    """Waiting for anything but the loop raises, on the loop's thread."""
    guard = BlockBuster()
    for function in guard.functions.values():
        for file, name in ALLOWED.items():
            function.can_block_in(file, name)
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()


@contextmanager
def steps() -> Iterator[list[float]]:
    """CPU seconds of each step that the loop of this thread makes."""
    found: list[float] = []
    run = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        begun = time.thread_time()
        run(handle)
        found.append(time.thread_time() - begun)

    asyncio.Handle._run = timed
    try:
        yield found
    finally:
        asyncio.Handle._run = run


async def send(client: httpx.AsyncClient, name: str) -> httpx.Response:
    method, path, body = REQUESTS[name]
    return await client.request(method, path, json=body)


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_request_waits_for_nothing_but_the_loop(caller, name):
    # What is made at first use (imports, connections, the API's description) is made once.
    await send(caller, name)
    with blocking_is_an_error():
        response = await send(caller, name)
    assert response.status_code < 300, response.text


async def test_an_upload_waits_for_nothing_but_the_loop(caller):
    files = [("files", (f"page{n}.md", TEXT.encode() * 200, "text/markdown")) for n in range(2)]
    path = f"/v1/collections/{COLLECTION}/documents"
    await caller.post(path, files=files)
    with blocking_is_an_error():
        response = await caller.post(path, files=files)
    assert response.status_code == 202, response.text


@pytest.mark.parametrize("name", ["search", "answer", "extracted answer", "streamed chat"])
async def test_no_step_of_a_request_holds_up_the_loop(caller, name):
    await send(caller, name)
    with steps() as found:
        response = await send(caller, name)
    assert response.status_code == 200, response.text
    assert len(found) > 1
    assert max(found) < LONGEST_STEP_S


async def test_a_sleep_in_the_path_of_a_request_is_found(caller, generator):
    await send(caller, "answer")
    generator.careless = True
    try:
        with blocking_is_an_error():
            response = await send(caller, "answer")
    finally:
        generator.careless = False
    assert response.status_code == 500


async def test_a_long_computation_in_the_path_of_a_request_is_found(caller, generator):
    generator.busy_s = 2 * LONGEST_STEP_S
    try:
        with steps() as found:
            await send(caller, "answer")
    finally:
        generator.busy_s = 0.0
    assert max(found) > LONGEST_STEP_S


def test_a_file_read_on_the_loop_is_found(tmp_path: Path):
    page = tmp_path / "page"
    page.write_text("text")

    async def read() -> str:
        return page.read_text()

    with blocking_is_an_error(), pytest.raises(BlockingError):
        asyncio.run(read())
