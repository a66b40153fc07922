"""ragserve's HTTP API with canned knowledge and real manners.

It streams, makes jobs progress, drops connections and refuses, so that the page, the client and
the command line can be driven without a cluster. Words in a question or a file's name choose the
behaviour: see `fake_platform.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fake_platform import ENDED, FakePlatform, passages
from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import UploadFile

CONSOLE = Path(__file__).parents[2] / "serve_app" / "console"
KEY = "rs_test_key"
READER_KEY = "rs_reader_key"
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class Refusal(Exception):
    def __init__(self, status: int, code: str, detail: str, headers: dict[str, str] | None = None):
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers = status, code, detail, headers or {}

    def problem(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": self.code,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "request_id": "req_7f3a",
        }


def sse(event: str, data: Any, event_id: str = "") -> bytes:
    head = f"id: {event_id}\n" if event_id else ""
    return f"{head}event: {event}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def build(platform: FakePlatform) -> FastAPI:
    app = FastAPI()

    @app.exception_handler(Refusal)
    async def _refused(_: Request, refusal: Refusal) -> Response:
        return JSONResponse(
            refusal.problem(),
            refusal.status,
            headers=refusal.headers,
            media_type="application/problem+json",
        )

    @app.middleware("http")
    async def _guard(request: Request, call_next: Any) -> Response:
        path = request.url.path
        platform.requests.append((request.method, path, dict(request.headers)))
        try:
            _check(platform, request)
        except Refusal as refusal:
            return await _refused(request, refusal)
        response: Response = await call_next(request)
        response.headers["Content-Security-Policy"] = CSP
        response.headers["Cache-Control"] = "no-store"
        return response

    _collections(app, platform)
    _documents(app, platform)
    _jobs(app, platform)
    _job_events(app, platform)
    _questions(app, platform)

    @app.get("/v1/me")
    async def me(request: Request) -> dict[str, Any]:
        reader = READER_KEY in request.headers["authorization"]
        scopes = ["query"] if reader else ["query", "ingest", "admin"]
        return {
            "id": "k1",
            "name": "reader" if reader else "dev",
            "scopes": scopes,
            "collections": ["*"],
        }

    @app.get("/health/ready")
    async def ready() -> Response:
        dependencies = [
            {
                "name": name,
                "state": "down" if name == platform.unready else "up",
                "latency_ms": None if name == platform.unready else 1.3,
                "detail": "connection refused" if name == platform.unready else "",
            }
            for name in ("redis", "milvus", "embedding", "generation")
        ]
        body = {
            "status": "unavailable" if platform.unready else "ok",
            "version": "0.1.0",
            "dependencies": dependencies,
        }
        return JSONResponse(body, 503 if platform.unready else 200)

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(CONSOLE / "index.html")

    app.mount("/static", StaticFiles(directory=CONSOLE))
    return app


def _check(platform: FakePlatform, request: Request) -> None:
    path = request.url.path
    for failure in platform.failures:
        prefix, status, headers = failure
        if path.startswith(prefix):
            platform.failures.remove(failure)
            raise Refusal(status, f"injected_{status}", "Try again in a moment.", headers)
    if not path.startswith("/v1"):
        return
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    if key not in (KEY, READER_KEY):
        raise Refusal(401, "unauthenticated", "The API key is missing or unknown.")
    writes = request.method in ("POST", "DELETE") and path not in ("/v1/query", "/v1/search")
    if key == READER_KEY and writes:
        raise Refusal(403, "forbidden", "This key may not change collections.")


def _known(platform: FakePlatform, name: str) -> str:
    if name not in platform.collections:
        raise Refusal(404, "collection_not_found", f"There is no collection {name!r}.")
    return name


def _known_job(platform: FakePlatform, job_id: str) -> dict[str, Any]:
    if job_id not in platform.jobs:
        raise Refusal(404, "job_not_found", f"There is no job {job_id!r}.")
    return platform.jobs[job_id]


def _collections(app: FastAPI, platform: FakePlatform) -> None:
    @app.get("/v1/collections")
    async def collections() -> dict[str, Any]:
        return {"collections": [platform.collection(name) for name in platform.collections]}

    @app.post("/v1/collections", status_code=201)
    async def create(body: dict[str, Any]) -> dict[str, Any]:
        if body["name"] in platform.collections:
            raise Refusal(409, "collection_exists", f"Collection {body['name']!r} exists already.")
        return platform.add_collection(body["name"], body.get("description", ""))

    @app.get("/v1/collections/{name}")
    async def collection(name: str) -> dict[str, Any]:
        return platform.collection(_known(platform, name))

    @app.delete("/v1/collections/{name}", status_code=204)
    async def drop(name: str) -> None:
        del platform.collections[_known(platform, name)], platform.documents[name]


def _documents(app: FastAPI, platform: FakePlatform) -> None:
    @app.post("/v1/collections/{name}/documents", status_code=202)
    async def ingest(name: str, request: Request) -> dict[str, Any]:
        _known(platform, name)
        if request.headers["content-type"].startswith("application/json"):
            body = await request.json()
            return platform.submit(name, [(d["title"], len(d["text"])) for d in body["documents"]])
        async with request.form(max_files=5000) as form:
            files = [file for file in form.getlist("files") if isinstance(file, UploadFile)]
            return platform.submit(name, [(file.filename or "", file.size or 0) for file in files])

    @app.get("/v1/collections/{name}/documents")
    async def documents(name: str, offset: int = 0, limit: int = 50) -> dict[str, Any]:
        known = list(platform.documents[_known(platform, name)].values())
        page = known[offset : offset + limit]
        return {"documents": page, "total": len(known), "offset": offset, "limit": limit}

    @app.delete("/v1/collections/{name}/documents/{document_id}", status_code=204)
    async def delete(name: str, document_id: str) -> None:
        if platform.documents[_known(platform, name)].pop(document_id, None) is None:
            raise Refusal(404, "document_not_found", f"There is no document {document_id!r}.")


def _jobs(app: FastAPI, platform: FakePlatform) -> None:
    @app.get("/v1/jobs")
    async def jobs(state: str | None = None, limit: int = 50) -> dict[str, Any]:
        found = [platform.job(job_id) for job_id in reversed(platform.jobs)]
        return {
            "jobs": [j for j in found if state in (None, j["state"])][:limit],
            "next_cursor": None,
        }

    @app.get("/v1/jobs/{job_id}")
    async def job(job_id: str) -> dict[str, Any]:
        _known_job(platform, job_id)
        return platform.job(job_id)

    @app.post("/v1/jobs/{job_id}/cancel")
    async def cancel(job_id: str) -> dict[str, Any]:
        if _known_job(platform, job_id)["state"] in ENDED:
            raise Refusal(409, "illegal_transition", f"Job {job_id} has ended.")
        platform.jobs[job_id]["cancel_requested"] = True
        platform.note(job_id)
        return platform.job(job_id)

    @app.post("/v1/jobs/{job_id}/resume")
    async def resume(job_id: str) -> dict[str, Any]:
        record = _known_job(platform, job_id)
        left = [file for file in record["files"] if file["state"] in ("FAILED", "CANCELLED")]
        if not left:
            raise Refusal(409, "illegal_transition", f"Job {job_id} has nothing left to do.")
        for file in left:
            name = file["name"].replace("endless", "resumed").replace("damaged", "mended")
            file.update(name=name, state="PENDING", error_code=None, error_message=None)
        record["cancel_requested"] = False
        platform.start(job_id)
        return platform.job(job_id)


def _job_events(app: FastAPI, platform: FakePlatform) -> None:
    @app.get("/v1/jobs/{job_id}/events")
    async def events(job_id: str, request: Request) -> Response:
        _known_job(platform, job_id)
        after = int(request.headers.get("last-event-id", "0"))

        async def stream() -> AsyncIterator[bytes]:
            sent, position = 0, after
            yield b": alive\n\n"
            while True:
                log = platform.events[job_id]
                while position < len(log):
                    position += 1
                    yield sse("job", log[position - 1], str(position))
                    sent += 1
                    if platform.drop_events_after and sent >= platform.drop_events_after:
                        return
                if log[-1]["state"] in ENDED and position == len(log):
                    return
                await asyncio.sleep(0.01)

        return StreamingResponse(stream(), media_type="text/event-stream")


def _questions(app: FastAPI, platform: FakePlatform) -> None:
    @app.post("/v1/search")
    async def search(body: dict[str, Any]) -> dict[str, Any]:
        _known(platform, body["collection"])
        found = [] if "unknown" in body["query"] else passages()[: body.get("top_k", 5)]
        timings = {"embed": 7.1, "search": 11.8, "total": 19.4}
        return {"passages": found, "timings_ms": timings, "degraded": [], "request_id": "req_7f3a"}

    @app.post("/v1/query")
    async def query(body: dict[str, Any]) -> Any:
        _known(platform, body["collection"])
        platform.questions.append(body)
        if "too often" in body["question"]:
            raise Refusal(
                429,
                "rate_limited",
                "You have asked 10 questions this minute.",
                {"Retry-After": "7"},
            )
        answer = platform.reply(body)
        if not body.get("stream"):
            return answer

        async def stream() -> AsyncIterator[bytes]:
            try:
                head = {key: answer[key] for key in ("passages", "degraded", "request_id")}
                yield sse("passages", head)
                text = answer["answer"].replace(" [1]", "").replace(" [2]", " [9]")
                for number, word in enumerate(text.split(" ")):
                    await asyncio.sleep(
                        platform.step_s * (10 if "slow" in body["question"] else 0.3)
                    )
                    if number == 6 and "break" in body["question"]:
                        refusal = Refusal(
                            503, "generation_unavailable", "The model stopped answering."
                        )
                        yield sse("error", refusal.problem())
                        return
                    yield sse("token", {"text": word if number == 0 else f" {word}"})
                yield sse("done", answer)
            except (asyncio.CancelledError, GeneratorExit):
                platform.stopped_streams += 1
                raise

        return StreamingResponse(stream(), media_type="text/event-stream")


@dataclass
class RunningFake:
    """A fake server's address and what it knows."""

    url: str
    platform: FakePlatform


@contextlib.contextmanager
def running(platform: FakePlatform | None = None) -> Iterator[RunningFake]:
    """The fake API on a free loopback port, in a thread of its own, until the end."""
    platform = platform or FakePlatform()
    platform.reset()
    config = uvicorn.Config(
        build(platform),
        host="127.0.0.1",
        port=0,
        ws="none",
        log_level="error",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started:
        if time.monotonic() > deadline:
            raise TimeoutError("the fake API did not start")
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield RunningFake(f"http://127.0.0.1:{port}", platform)
    finally:
        server.should_exit = True
        thread.join(timeout=10)
