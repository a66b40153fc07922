"""Talking to a running ragserve from Python, with or without asyncio.

    with Ragserve("http://127.0.0.1:3400", api_key=key) as client:
        for event in client.stream_query(QueryIn(collection="handbook", question="Who signs?")):
            ...

Answers are the models of `serve_app.schemas`; everything that goes wrong is a `ClientError`.
"""

from serve_app.client.asynchronous import AsyncRagserve
from serve_app.client.errors import (
    ApiError,
    AuthenticationFailed,
    ClientError,
    Conflict,
    ConnectionFailed,
    InvalidRequest,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerFailed,
    Unavailable,
    UnexpectedAnswer,
    UploadFailed,
    WaitTimeout,
)
from serve_app.client.multipart import Upload, UploadProgress
from serve_app.client.query_events import Finished, PassagesFound, QueryEvent, TokenReceived
from serve_app.client.retrying import RetryPolicy
from serve_app.client.synchronous import Ragserve

__all__ = [
    "ApiError",
    "AsyncRagserve",
    "AuthenticationFailed",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Finished",
    "InvalidRequest",
    "NotFound",
    "PassagesFound",
    "PermissionDenied",
    "QueryEvent",
    "Ragserve",
    "RateLimited",
    "RetryPolicy",
    "ServerFailed",
    "TokenReceived",
    "Unavailable",
    "UnexpectedAnswer",
    "Upload",
    "UploadFailed",
    "UploadProgress",
    "WaitTimeout",
]
