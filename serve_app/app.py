"""The FastAPI application over a set of services. Knows nothing of Ray."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles

from serve_app import __version__, problems
from serve_app.middleware import BodyLimit, RequestIdentity, SecurityHeaders
from serve_app.routes import collections, documents, health, jobs, me, query
from serve_app.routes.access import Caller
from serve_app.services import Services

DESCRIPTION = """
Answers questions from your team's own documents.

Send an API key as `Authorization: Bearer <key>`. Errors are RFC 9457 problem documents with a
stable `code`. Limits are announced in `RateLimit` headers.
"""


def create_app(services: Services) -> FastAPI:
    """The application: the request's path is the middleware list, then one route."""
    uploads = services.args.uploads
    app = FastAPI(
        title="ragserve",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(RequestIdentity),
            Middleware(SecurityHeaders),
            Middleware(BodyLimit, max_bytes=uploads.max_request_bytes),
        ],
    )
    app.state.services = services
    problems.install(app)
    for room in (health, me, collections, documents, jobs, query):
        app.include_router(room.router)
    _serve_description(app)
    _serve_console(app)
    return app


def _serve_description(app: FastAPI) -> None:
    """The OpenAPI document, for callers only: strangers learn nothing of the API's shape."""

    @app.get("/v1/openapi.json", include_in_schema=False)
    async def description(caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - named to be required
        return app.openapi()


def _serve_console(app: FastAPI) -> None:
    console = str(files("serve_app") / "console")
    app.mount("/static", StaticFiles(directory=console), name="console")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(f"{console}/index.html", headers={"Cache-Control": "no-cache"})
