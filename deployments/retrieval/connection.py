"""The line to a Milvus server: what goes wrong on it, and how it comes back.

pymilvus repeats a failed call 75 times or until its timeout; here a call gets one more try over a
fresh channel, which is what a restarted server needs, and one limit in time, kept by asyncio so
that cancelling works. A server that restarted may have its collections unloaded: a call that
meets one loads it, once for all who wait, and goes on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import grpc  # type: ignore[import-untyped]  # no stubs among the pinned packages
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException
from pymilvus.exceptions import ErrorCode

from deployments.errors import (
    CollectionNotFound,
    ConfigurationError,
    InvalidRequest,
    RagserveError,
    StoreUnavailable,
)

T = TypeVar("T")

RETRY: Final[dict[str, Any]] = {"retry_times": 1}
"""For every pymilvus call: one more try, after the channel was made anew."""

_LOAD_TIMEOUT_S: Final = 300.0
"""Milvus Lite took 59 s to load 100,000 chunks."""
_NOT_LOADED: Final = 101
_LEGACY_NOT_FOUND: Final = 4
_REFUSED_CODES: Final = frozenset({6, 1100, 1101})
"""Illegal argument: Milvus Lite's code, Milvus' two."""
_CHANNEL: Final = {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1_000,
    # A Python gRPC server hangs up on clients that ping more often than it likes.
    "grpc.keepalive_time_ms": 60_000,
    "grpc.keepalive_permit_without_calls": 0,
}


class _NotLoadedError(Exception):
    """The collection exists but answers nothing yet."""


class Connection:
    """One client of one server, connected when first used, for one event loop."""

    def __init__(self, uri: str, token: str, timeout_s: float) -> None:
        self.uri = uri
        self.timeout_s = timeout_s
        self._token = token
        self._client: AsyncMilvusClient | None = None
        self._connecting = asyncio.Lock()
        self._loads: dict[str, asyncio.Task[None]] = {}
        self._version = ""
        # Every error is translated and raised; pymilvus would log it too, with the caller's text.
        logging.getLogger("pymilvus").setLevel(logging.CRITICAL)

    async def call(
        self, operation: Callable[[AsyncMilvusClient], Awaitable[T]], collection: str = ""
    ) -> T:
        """Run one pymilvus call; `collection`, as Milvus names it, is loaded if it has to be.

        Raises:
            StoreUnavailable: no answer in time, or one that says the server cannot.
            CollectionNotFound: Milvus does not hold the collection.
            InvalidRequest: Milvus refuses the values.
        """
        try:
            return await self._try(operation)
        except _NotLoadedError:
            await self._load(collection)
        try:
            return await self._try(operation)
        except _NotLoadedError:
            raise StoreUnavailable("the collection was unloaded while in use") from None

    async def with_sync_client(self, operation: Callable[[MilvusClient], T]) -> T:
        """Run an operation that the async client has not, in a thread, on a client of its own."""

        def run() -> T:
            client = MilvusClient(
                self.uri, token=self._token, timeout=self.timeout_s, dedicated=True
            )
            try:
                return operation(client)
            finally:
                client.close()

        return await self._translated(asyncio.to_thread(run))

    async def version(self) -> str:
        """What the server calls its version."""
        if not self._version:
            self._version = await self.call(lambda client: client.get_server_version(**RETRY))
        return self._version

    async def is_lite(self) -> bool:
        return (await self.version()).startswith("milvus_lite")

    async def close(self) -> None:
        """Hang up; loading that was begun is the server's to finish."""
        for load in self._loads.values():
            load.cancel()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _try(self, operation: Callable[[AsyncMilvusClient], Awaitable[T]]) -> T:
        async def run() -> T:
            return await operation(self._client or await self._connected())

        return await self._translated(run())

    async def _connected(self) -> AsyncMilvusClient:
        async with self._connecting:
            if self._client is None:
                client = AsyncMilvusClient(
                    self.uri,
                    token=self._token,
                    timeout=self.timeout_s,
                    dedicated=True,
                    grpc_options=_CHANNEL,
                )
                await client._connect()  # noqa: SLF001 - else each of many first calls would connect
                self._client = client
            return self._client

    async def _load(self, collection: str) -> None:
        load = self._loads.get(collection)
        if load is None:
            load = asyncio.create_task(self._load_now(collection))
            self._loads[collection] = load
            load.add_done_callback(lambda _: self._loads.pop(collection, None))
        try:
            await asyncio.wait_for(asyncio.shield(load), self.timeout_s)
        except TimeoutError:
            raise StoreUnavailable("the collection is still being loaded") from None

    async def _load_now(self, collection: str) -> None:
        client = await self._connected()
        loading = client.load_collection(collection, timeout=_LOAD_TIMEOUT_S)
        await self._translated(loading, _LOAD_TIMEOUT_S)

    async def _translated(self, answer: Awaitable[T], timeout_s: float | None = None) -> T:
        try:
            async with asyncio.timeout(timeout_s or self.timeout_s):
                return await answer
        except TimeoutError as error:
            raise StoreUnavailable("the vector store did not answer in time") from error
        except MilvusException as error:
            raise _translation(error) from error
        except grpc.RpcError as error:
            if error.code() in {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}:
                raise ConfigurationError("the vector store refuses the token") from error
            raise StoreUnavailable("the vector store cannot be reached") from error


def _translation(error: MilvusException) -> RagserveError | _NotLoadedError:
    if _NOT_LOADED in {error.code, error.compatible_code}:
        return _NotLoadedError()
    if error.code == ErrorCode.COLLECTION_NOT_FOUND or error.compatible_code == _LEGACY_NOT_FOUND:
        return CollectionNotFound("the vector store does not hold the collection")
    if error.code in _REFUSED_CODES:
        return InvalidRequest(f"the vector store refuses this: {error.message}")
    return StoreUnavailable("the vector store failed or cannot be reached")
