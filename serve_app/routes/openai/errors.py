"""The error tree in OpenAI's shape, on the OpenAI-compatible routes alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from deployments import errors
from serve_app.openai_schemas import ErrorBody, ErrorOut
from serve_app.problems import LONGEST_PLACE_CHARS, MOST_PROBLEMS, problem_of, respond
from serve_app.request_metrics import refused

# What OpenAI calls the same thing; its clients look at these words. Others keep our own code.
CODES: dict[type[errors.RagserveError], str] = {
    errors.Unauthenticated: "invalid_api_key",
    errors.NotFound: "model_not_found",
    errors.RateLimited: "rate_limit_exceeded",
}


class OpenAIRoute(APIRoute):
    """A route whose errors leave in OpenAI's shape. What nobody foresaw is the middleware's."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def translated(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                return answered(request, invalid_body(error))
            except HTTPException as error:  # FastAPI's word for a body that cannot be read
                return answered(request, errors.InvalidRequest(str(error.detail)))
            except errors.RagserveError as error:
                return answered(request, error)

        def answered(request: Request, error: errors.RagserveError) -> Response:
            refused(request.scope, error)
            return error_response(error)

        return translated


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of a route that may end in these statuses."""
    return {
        status: {"model": ErrorBody, "description": "An error in OpenAI's shape."}
        for status in (400, 401, 403, *statuses)
    }


def error_response(error: errors.RagserveError) -> Response:
    """The response that carries an error, with the headers its problem document would have."""
    problem = respond(problem_of(error))
    kept = {"retry-after", "www-authenticate"}
    return JSONResponse(
        error_body(error).model_dump(),
        status_code=problem.status_code,
        headers={name: value for name, value in problem.headers.items() if name in kept},
    )


def error_body(error: errors.RagserveError) -> ErrorBody:
    """An error as OpenAI's clients read it, in a response or in a stream."""
    problem = problem_of(error)
    named = next((CODES[cls] for cls in type(error).__mro__ if cls in CODES), error.code)
    return ErrorBody(
        error=ErrorOut(
            message=problem.detail,
            type=_type(problem.status),
            param=error.details.get("param"),
            code=named,
        )
    )


def _type(status: int) -> Literal["invalid_request_error", "requests", "server_error"]:
    if status >= 500:
        return "server_error"
    # OpenAI's word for too many of them, as opposed to "tokens".
    return "requests" if status == 429 else "invalid_request_error"


def invalid_body(error: RequestValidationError) -> errors.InvalidRequest:
    """A body that is not valid: OpenAI answers 400 and names the first field at fault."""
    faults = error.errors()[:MOST_PROBLEMS]
    places = [_place(fault) for fault in faults]
    problems = [
        f"{place}: {fault['msg']}" if place else str(fault["msg"])
        for place, fault in zip(places, faults, strict=True)
    ]
    return errors.InvalidRequest("; ".join(problems), param=places[0] or None)


def _place(fault: dict[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return ""
    place = ".".join(map(str, fault["loc"][1:]))[:LONGEST_PLACE_CHARS]
    # The name of a field may be the caller's, unpaired surrogates included.
    return place.encode(errors="replace").decode()
