"""A deployment handle over a plain object: everything crosses it pickled, as between replicas."""

from __future__ import annotations

import asyncio
import pickle
import warnings
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from ray.exceptions import RayTaskError

with warnings.catch_warnings():
    # Ray Serve's own models use a spelling that pydantic has deprecated.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ray.serve  # noqa: F401


class FakeHandle:
    """`handle.method.remote(...)` over `server`; `failing_with` is raised in its place.

    `message_bytes` holds the size of every argument list and answer, `cancelled` the methods
    whose callers left.
    """

    def __init__(self, server: Any, failing_with: Exception | None = None) -> None:
        self.server = server
        self.failing_with = failing_with
        self.message_bytes: list[int] = []
        self.calls: list[str] = []
        self.cancelled: list[str] = []

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    def crossed(self, value: Any) -> Any:
        message = pickle.dumps(value)
        self.message_bytes.append(len(message))
        return pickle.loads(message)


class _Method:
    def __init__(self, handle: FakeHandle, name: str) -> None:
        self._handle, self._name = handle, name

    def remote(self, *arguments: Any) -> _Response:
        self._handle.calls.append(self._name)
        method = getattr(self._handle.server, self._name)
        return _Response(self._handle, self._name, method, self._handle.crossed(arguments))


class _Response:
    def __init__(
        self,
        handle: FakeHandle,
        name: str,
        method: Callable[..., Awaitable[Any]],
        arguments: tuple[Any, ...],
    ) -> None:
        self._handle, self._name = handle, name
        # As on a replica, the work starts at once and a caller's leaving alone does not end it.
        self._work = asyncio.ensure_future(self._answer(method, arguments))

    def __await__(self) -> Generator[Any, None, Any]:
        return asyncio.shield(self._work).__await__()

    def cancel(self) -> None:
        self._handle.cancelled.append(self._name)
        self._work.cancel()

    async def _answer(
        self, method: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]
    ) -> Any:
        if self._handle.failing_with is not None:
            raise self._handle.failing_with
        try:
            return self._handle.crossed(await method(*arguments))
        except Exception as error:
            raise as_it_arrives(error) from error


def as_it_arrives(error: Exception) -> Exception:
    """The exception that Ray raises for `error` on the caller's side."""
    wrapped = RayTaskError(
        "method", "Traceback of the other side", pickle.loads(pickle.dumps(error))
    )
    arriving: Exception = wrapped.as_instanceof_cause()
    return arriving
