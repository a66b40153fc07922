"""What can go wrong between a caller and ragserve, as one tree.

ClientError
├── ConnectionFailed         nothing answered, or the connection broke
├── UnexpectedAnswer         what answered is not ragserve
├── UploadFailed             a file could not be read, or changed while it was sent
├── WaitTimeout              the job had not ended in the time given
└── ApiError                 ragserve said no: carries status, code, request_id
    ├── InvalidRequest       400, 413, 415, 422
    ├── AuthenticationFailed 401
    ├── PermissionDenied     403
    ├── NotFound             404
    ├── Conflict             409
    ├── RateLimited          429
    └── ServerFailed         5xx
        └── Unavailable      502, 503, 504: trying later may help
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
from pydantic import ValidationError

from serve_app.schemas import ProblemDocument


class ClientError(Exception):
    """The root. Its text is a sentence that can be shown to a person."""


class ConnectionFailed(ClientError):
    """Nothing answered, or the connection broke before the answer was complete."""


class UnexpectedAnswer(ClientError):
    """The answer is not what ragserve's API sends."""


class UploadFailed(ClientError):
    """A file could not be read, or changed while it was being sent."""


class WaitTimeout(ClientError):
    """The job had not ended in the time given; it goes on."""


class ApiError(ClientError):
    """ragserve refused or failed. `code` is stable: programs may depend on it."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        code: str = "",
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class InvalidRequest(ApiError):
    """The request itself is wrong."""


class AuthenticationFailed(ApiError):
    """The API key is missing, unknown or revoked."""


class PermissionDenied(ApiError):
    """The API key does not allow this."""


class NotFound(ApiError):
    """The collection, document or job does not exist."""


class Conflict(ApiError):
    """The request does not fit the present state."""


class RateLimited(ApiError):
    """Too many requests; `retry_after_s` says when to come back."""


class ServerFailed(ApiError):
    """ragserve failed; `request_id` finds the reason in its logs."""


class Unavailable(ServerFailed):
    """Something is out or full just now."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationFailed,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def error_of(
    status: int,
    body: bytes | str,
    headers: httpx.Headers | None = None,
    now: datetime | None = None,
) -> ApiError:
    """The error for a response that is not a success, or for the problem inside a stream."""
    headers = headers if headers is not None else httpx.Headers()
    try:
        problem = ProblemDocument.model_validate_json(body)
    except ValidationError:
        problem = ProblemDocument(
            title=f"HTTP {status}", status=status, detail=_plain(body), code=f"http_{status}"
        )
    cls = _BY_STATUS.get(status, ServerFailed if status >= 500 else InvalidRequest)
    return cls(
        problem.detail or problem.title,
        status=status,
        code=problem.code,
        request_id=problem.request_id or headers.get("x-request-id", ""),
        retry_after_s=retry_after_s(headers.get("retry-after"), now),
    )


def problem_error(data: str) -> ApiError:
    """The error that an `error` event of a stream carries, whose status is in its body."""
    try:
        status = int(json.loads(data)["status"])
    except (ValueError, KeyError, TypeError):
        status = 500
    return error_of(status, data)


def retry_after_s(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds to wait by a Retry-After header, in either of RFC 9110's forms."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())


def _plain(body: bytes | str) -> str:
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    text = " ".join(text.split())
    if not text or text.startswith("<"):
        return "The server answered without saying why."
    return text[:300]
