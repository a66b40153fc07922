"""The error tree as HTTP: RFC 9457 problem documents with stable codes."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from deployments import errors
from serve_app.schemas import ProblemDocument

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

# The nearest class in an error's ancestry decides.
STATUSES: dict[type[errors.RagserveError], tuple[int, str]] = {
    errors.CallerError: (400, "The request is not valid"),
    errors.Unauthenticated: (401, "Who is calling is not known"),
    errors.Forbidden: (403, "The caller may not do this"),
    errors.NotFound: (404, "Not found"),
    errors.Conflict: (409, "The request conflicts with what is there"),
    errors.TooLarge: (413, "The request is too large"),
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


def problem_of(error: errors.RagserveError, request_id: str = "") -> ProblemDocument:
    """The problem document that describes an error; its details become extra members."""
    status, title = next(STATUSES[cls] for cls in type(error).__mro__ if cls in STATUSES)
    return ProblemDocument(
        title=title,
        status=status,
        detail=error.message or title,
        code=error.code,
        request_id=request_id,
        **error.details,
    )


def respond(problem: ProblemDocument) -> JSONResponse:
    """The response that carries a problem document."""
    headers = {}
    if problem.status in (429, 503, 507):
        wait_s = (problem.model_extra or {}).get("retry_after_s", DEFAULT_RETRY_AFTER_S)
        headers["Retry-After"] = str(max(1, round(float(wait_s))))
    if problem.status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="ragserve"'
    return JSONResponse(
        problem.model_dump(exclude_none=True, exclude_defaults=False),
        status_code=problem.status,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Make every error of the application leave as a problem document."""

    async def on_ragserve_error(request: Request, error: Any) -> JSONResponse:
        return respond(problem_of(error, request_id_of(request)))

    async def on_invalid_body(request: Request, error: Any) -> JSONResponse:
        problems = [
            {"at": ".".join(map(str, item["loc"])), "problem": item["msg"]}
            for item in error.errors()
        ]
        detail = "; ".join(f"{item['at']}: {item['problem']}" for item in problems)
        invalid = errors.InvalidRequest(detail, errors=problems)
        problem = problem_of(invalid, request_id_of(request))
        return respond(problem.model_copy(update={"status": 422}))

    async def on_http_exception(request: Request, error: Any) -> JSONResponse:
        code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "http_error")
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

    async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
        logger.exception("request %s failed", request_id_of(request), exc_info=error)
        unexpected = errors.RagserveError("The request failed here; the log has the reason.")
        return respond(problem_of(unexpected, request_id_of(request)))

    app.add_exception_handler(errors.RagserveError, on_ragserve_error)
    app.add_exception_handler(RequestValidationError, on_invalid_body)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(Exception, on_unexpected)


def request_id_of(request: Request) -> str:
    """The id that this request carries in responses, logs and traces."""
    return str(request.scope.get("state", {}).get("request_id", ""))
