"""What both clients do with httpx: its settings, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import httpx

from serve_app.client.calls import Call, ModelT, job_of
from serve_app.client.errors import ConnectionFailed, error_of
from serve_app.client.sse import ServerEvent
from serve_app.schemas import JobOut

DEFAULT_URL = "http://127.0.0.1:3400"
ENDED = frozenset({"COMPLETED", "FAILED", "CANCELLED"})

# A stream that says nothing for so long is opened again.
EVENTS_READ_TIMEOUT_S = 60.0


def client_options(url: str, api_key: str | None, timeout_s: float) -> dict[str, Any]:
    """The arguments that httpx.Client and httpx.AsyncClient share."""
    headers = {"User-Agent": f"ragserve-client/{_version()}"}
    if api_key:
        headers["Authorization"] = f"Bearer {api_key}"
    return {
        "base_url": url.rstrip("/"),
        "headers": headers,
        "timeout": httpx.Timeout(timeout_s, connect=5.0),
        # A machine's own services are never behind its HTTP proxy.
        "mounts": dict.fromkeys(("all://127.0.0.1", "all://localhost", "all://[::1]")),
    }


def _version() -> str:
    try:
        return version("ragserve")
    except PackageNotFoundError:
        return "0"


@contextmanager
def httpx_errors(url: httpx.URL | str) -> Iterator[None]:
    """Translate what httpx raises.

    Raises:
        ConnectionFailed: nothing answered, or the connection broke.
    """
    try:
        yield
    except httpx.TimeoutException as failure:
        raise ConnectionFailed(f"{url} did not answer in time.") from failure
    except httpx.ConnectError as failure:
        raise ConnectionFailed(f"Cannot connect to {url}.") from failure
    except (httpx.TransportError, httpx.DecodingError) as failure:
        raise ConnectionFailed(
            f"The connection to {url} broke before the answer ended."
        ) from failure
    except httpx.InvalidURL as failure:
        raise ConnectionFailed(f"{url} is not an address: {failure}.") from failure


def is_done_already(call: Call[ModelT], attempt: int, status: int) -> bool:
    """Whether a repeated DELETE found nothing because its lost first try had done it."""
    return call.method == "DELETE" and attempt > 1 and status == httpx.codes.NOT_FOUND


def raise_for(call: Call[ModelT], response: httpx.Response, body: bytes) -> None:
    """Raise the error of a response that is neither a success nor expected.

    Raises:
        ApiError: the server refused or failed.
    """
    if not response.is_success and response.status_code not in call.also_accepts:
        raise error_of(response.status_code, body, response.headers)


@dataclass(slots=True)
class EventCursor:
    """Where a reader of a job's events is, and how often in a row it had to start again."""

    last_event_id: str | None = None
    ended: bool = False
    drops: int = 0

    def take(self, event: ServerEvent) -> JobOut | None:
        """The job that `event` carries; None for another kind of event."""
        if event.id:
            self.last_event_id = event.id
        if event.event != "job":
            return None
        self.drops = 0
        job = job_of(event.data)
        self.ended = job.state in ENDED
        return job
