"""The FastAPI application over a set of services. Knows nothing of Ray."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from starlette.middleware import Middleware
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from deployments.errors import RagserveError
from serve_app import __version__, description, problems
from serve_app.audit import AuditTrail
from serve_app.auth.authenticator import INTERNAL
from serve_app.door import Door
from serve_app.middleware import (
    AnnouncedHeaders,
    BodyLimit,
    LastResort,
    RequestIdentity,
    SecurityHeaders,
)
from serve_app.request_metrics import RequestMetrics, refused
from serve_app.routes import collections, documents, health, jobs, keys, me, openai, query
from serve_app.routes.access import Caller
from serve_app.routes.openai.errors import error_response
from serve_app.services import Services

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Of requests that bring no documents: the longest question with its history fits."""
OPENAI_PATHS = ("/v1/chat/", "/v1/embeddings", "/v1/models")


def create_app(services: Services) -> FastAPI:
    """The application: the request's path is the middleware list, then one route."""
    app = FastAPI(
        title="ragserve",
        version=__version__,
        description=description.ABOUT,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        middleware=[
            Middleware(RequestMetrics, metrics=services.metrics),
            Middleware(RequestIdentity),
            Middleware(SecurityHeaders),
            Middleware(AnnouncedHeaders),
            Middleware(LastResort, refuse=_refusal),
            Middleware(
                Door,
                authenticator=services.authenticator,
                limiter=services.limiter,
                log=services.audit,
                trusted_proxies=services.args.limits.trusted_proxies,
                refuse=_refusal,
            ),
            Middleware(
                AuditTrail,
                log=services.audit,
                trusted_proxies=services.args.limits.trusted_proxies,
            ),
            Middleware(BodyLimit, max_bytes=MAX_BODY_BYTES, refuse=_refusal),
        ],
    )
    app.state.services = services
    problems.install(app)
    for room in (health, me, collections, documents, jobs, query, openai, keys):
        app.include_router(room.router)
    for room in (collections, documents, jobs, query):
        app.include_router(room.router, prefix=INTERNAL.rstrip("/"))
    _serve_description(app)
    _serve_console(app)
    return app


def _refusal(scope: Scope, error: RagserveError) -> Response:
    """What a middleware answers, in the shape that the clients of that path read."""
    refused(scope, error)
    if scope["path"].startswith(OPENAI_PATHS):
        return error_response(error)
    request_id = scope.get("state", {}).get("request_id", "")
    return problems.respond(problems.problem_of(error, request_id))


def _serve_description(app: FastAPI) -> None:
    """The OpenAPI document, for callers only: strangers learn nothing of the API's shape."""

    @app.get("/v1/openapi.json", include_in_schema=False)
    async def openapi(caller: Caller) -> dict[str, Any]:  # noqa: ARG001 - named to be required
        return description.of(app)


def _serve_console(app: FastAPI) -> None:
    console = str(files("serve_app") / "console")
    app.mount("/static", StaticFiles(directory=console), name="console")

    @app.get("/", include_in_schema=False)
    async def page() -> FileResponse:
        return FileResponse(f"{console}/index.html", headers={"Cache-Control": "no-cache"})
