from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pytest

from serve_app.client import (
    AuthenticationFailed,
    Conflict,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerFailed,
    Unavailable,
)
from serve_app.client.errors import ApiError, error_of, problem_error, retry_after_s


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, AuthenticationFailed),
        (403, PermissionDenied),
        (404, NotFound),
        (409, Conflict),
        (413, InvalidRequest),
        (422, InvalidRequest),
        (429, RateLimited),
        (500, ServerFailed),
        (503, Unavailable),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[ApiError]) -> None:
    assert type(error_of(status, b"{}")) is kind


def test_an_error_carries_what_the_problem_document_says() -> None:
    body = b'{"title":"T","status":409,"detail":"It exists.","code":"collection_exists",'
    error = error_of(409, body + b'"request_id":"r1","extra":1}')
    assert (str(error), error.code, error.request_id) == ("It exists.", "collection_exists", "r1")


def test_a_page_of_a_proxy_is_not_shown_as_the_reason() -> None:
    error = error_of(502, b"<html>Bad gateway</html>", httpx.Headers({"x-request-id": "r2"}))
    assert "html" not in str(error)
    assert (error.code, error.request_id) == ("http_502", "r2")


def test_retry_after_may_be_seconds_or_a_date() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert retry_after_s("7") == 7
    assert retry_after_s("Thu, 01 Jan 2026 12:00:30 GMT", now) == 30
    assert retry_after_s("Thu, 01 Jan 2026 11:00:00 GMT", now) == 0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


def test_an_error_inside_a_stream_has_the_class_of_its_status() -> None:
    body = '{"title":"t","status":503,"detail":"d","code":"generation_unavailable"}'
    assert type(problem_error(body)) is Unavailable
    assert type(problem_error("garbage")) is ServerFailed
