"""The error tree as HTTP: RFC 9457 problem documents with stable codes."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from deployments import errors
from serve_app.request_metrics import refused
from serve_app.schemas import ProblemDocument

MEDIA_TYPE = "application/problem+json"

# The nearest class in an error's ancestry decides.
STATUSES: dict[type[errors.RagserveError], tuple[int, str]] = {
    errors.CallerError: (400, "The request is not valid"),
    errors.UnsupportedMediaType: (415, "The request's content type is not supported"),
    errors.Unauthenticated: (401, "Who is calling is not known"),
    errors.Forbidden: (403, "The caller may not do this"),
    errors.NotFound: (404, "Not found"),
    errors.SourceNotFound: (422, "A source is not there"),
    errors.Conflict: (409, "The request conflicts with what is there"),
    errors.TooLarge: (413, "The request is too large"),
    errors.RequestTimeout: (408, "The request took too long to arrive"),
    errors.RateLimited: (429, "Too many requests"),
    errors.DocumentError: (422, "The document cannot be used"),
    errors.UnsupportedFormat: (415, "The document's format is not supported"),
    errors.DependencyError: (503, "A service this one depends on is out"),
    errors.BlobsFull: (507, "No room for uploads"),
    errors.Overloaded: (503, "Too busy now"),
    errors.QueueFull: (429, "The job queue is full"),
    errors.DeadlineExceeded: (504, "The deadline has passed"),
    errors.LeaseLost: (409, "Another writer holds the collection"),
    errors.RagserveError: (500, "Something went wrong here"),
}

DEFAULT_RETRY_AFTER_S = 5
MOST_PROBLEMS = 20
"""Faults of a body that are named: its sender must not choose how long the answer gets."""
LONGEST_PLACE_CHARS = 100
_HTTP_CODES = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}


def problem_of(error: errors.RagserveError, request_id: str = "") -> ProblemDocument:
    """The problem document that describes an error; its details become extra members."""
    status, title = next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    members = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": error.message or title,
        "code": error.code,
        "request_id": request_id,
    }
    # What a caller sent may be in there, unpaired surrogates included, which no answer can hold.
    found = {_encodable(name): _encodable(value) for name, value in error.details.items()}
    return ProblemDocument(**(found | {name: _encodable(members[name]) for name in members}))


def _encodable(value: Any) -> Any:
    return value.encode(errors="replace").decode() if isinstance(value, str) else value


def as_json(problem: ProblemDocument) -> str:
    """The document on the wire, one line. Whatever its details hold, this is no second error."""
    return json.dumps(problem.model_dump(exclude_none=True), default=str)


def respond(problem: ProblemDocument) -> Response:
    """The response that carries a problem document."""
    headers = {}
    if problem.status in (429, 503, 507):
        wait_s = (problem.model_extra or {}).get("retry_after_s", DEFAULT_RETRY_AFTER_S)
        headers["Retry-After"] = str(max(1, math.ceil(float(wait_s))))
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="ragserve"'
    return Response(
        as_json(problem), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def install(app: FastAPI) -> None:
    """Make every error of the application leave as a problem document."""

    async def on_ragserve_error(request: Request, error: Any) -> Response:
        refused(request.scope, error)
        return respond(problem_of(error, request_id_of(request)))

    async def on_invalid_body(request: Request, error: Any) -> Response:
        refused(request.scope, errors.InvalidRequest())
        problem = problem_of(_named(error.errors()), request_id_of(request))
        return respond(problem.model_copy(update={"status": 422}))

    async def on_http_exception(request: Request, error: Any) -> Response:
        code = _HTTP_CODES.get(error.status_code, "http_error")
        problem = ProblemDocument(
            title=str(error.detail),
            status=error.status_code,
            detail=str(error.detail),
            code=code,
            request_id=request_id_of(request),
        )
        response = respond(problem)
        response.headers.update(error.headers or {})
        return response

    app.add_exception_handler(errors.RagserveError, on_ragserve_error)
    app.add_exception_handler(RequestValidationError, on_invalid_body)
    app.add_exception_handler(HTTPException, on_http_exception)


def _named(faults: Sequence[Any]) -> errors.InvalidRequest:
    named = [
        {"at": ".".join(map(str, fault["loc"]))[:LONGEST_PLACE_CHARS], "problem": fault["msg"]}
        for fault in faults[:MOST_PROBLEMS]
    ]
    detail = "; ".join(f"{fault['at']}: {fault['problem']}" for fault in named)
    if len(faults) > len(named):
        detail += f"; and {len(faults) - len(named)} more"
    return errors.InvalidRequest(detail, errors=named)


def request_id_of(request: Request) -> str:
    """The id that this request carries in responses, logs and traces."""
    return str(request.scope.get("state", {}).get("request_id", ""))
