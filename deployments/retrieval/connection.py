"""The line to a Milvus server: what goes wrong on it, and how it comes back.

pymilvus repeats a failed call 75 times or until its timeout, without letting anyone look in
between. Here it never repeats; a call that lost its server is tried again over a fresh channel,
within one limit in time that asyncio keeps, so that cancelling works.

A server that restarted has its collections unloaded, and Milvus Lite has them closed: two calls
that meet a closed one at once each open it, on the same files, and from then on some calls talk to
the one and some to the other. So after every (re)connection a collection is first touched, by one
process at a time; then it is loaded, once for all who wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import grpc  # no stubs among the pinned packages
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException
from pymilvus.exceptions import ErrorCode

from deployments.errors import (
    CollectionNotFound,
    ConfigurationError,
    InvalidRequest,
    RagserveError,
    StoreUnavailable,
)
from deployments.retrieval.turns import turn

T = TypeVar("T")

ONCE: Final[dict[str, Any]] = {"retry_times": 0}
"""For every pymilvus call: no repeats but ours."""

_TRIES: Final = 3
"""Lost the server, met an unloaded collection, done."""
_LOAD_TIMEOUT_S: Final = 300.0
"""Milvus Lite took 59 s to load 100,000 chunks."""
_CONNECT_FAILED: Final = 2
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


class _LostError(Exception):
    """The server is gone, or was for a moment."""


class Connection:
    """One client of one server, connected when first used, for one event loop."""

    def __init__(self, uri: str, token: str, timeout_s: float) -> None:
        self.uri = uri
        self.timeout_s = timeout_s
        self._token = token
        self._client: AsyncMilvusClient | None = None
        self._connecting = asyncio.Lock()
        self._touched: set[str] = set()
        self._touches: dict[str, asyncio.Task[None]] = {}
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
        for _ in range(_TRIES):
            try:
                client = self._client or await self._translated(self._connected())
                if collection:
                    await self._touch(client, collection)
                return await self._translated(operation(client))
            except _LostError:
                self._touched.clear()
            except _NotLoadedError:
                await self._joined(self._loads, collection, self._load(collection))
        raise StoreUnavailable("the vector store cannot be reached")

    async def list_names(self) -> list[str]:
        """Names of all collections, as Milvus knows them."""
        async with self._opening():  # Milvus Lite opens each for it
            names: list[str] = await self.call(lambda client: client.list_collections(**ONCE))
            return names

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

        try:
            return await self._translated(asyncio.to_thread(run))
        except _LostError:
            raise StoreUnavailable("the vector store cannot be reached") from None

    async def version(self) -> str:
        """What the server calls its version."""
        if not self._version:
            self._version = await self.call(lambda client: client.get_server_version(**ONCE))
        return self._version

    async def is_lite(self) -> bool:
        return (await self.version()).startswith("milvus_lite")

    async def close(self) -> None:
        """Hang up; loading that was begun is the server's to finish."""
        for task in (*self._touches.values(), *self._loads.values()):
            task.cancel()
        client, self._client = self._client, None
        if client is not None:
            await client.close()

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

    async def _touch(self, client: AsyncMilvusClient, collection: str) -> None:
        # A channel that broke while idle mends itself without a word.
        if client._handler._async_channel.get_state() is not grpc.ChannelConnectivity.READY:  # noqa: SLF001
            self._touched.clear()
        if collection in self._touched:
            return
        await self._joined(self._touches, collection, self._touch_now(client, collection))

    async def _touch_now(self, client: AsyncMilvusClient, collection: str) -> None:
        async with self._opening():
            await self._translated(client.describe_collection(collection, **ONCE))
        self._touched.add(collection)

    @contextlib.asynccontextmanager
    async def _opening(self) -> AsyncIterator[None]:
        if not await self.is_lite():
            yield
            return
        async with turn(f"open {self.uri}", self.timeout_s):
            yield

    async def _load(self, collection: str) -> None:
        client = await self._translated(self._connected())
        loading = client.load_collection(collection, timeout=_LOAD_TIMEOUT_S)
        await self._translated(loading, _LOAD_TIMEOUT_S)

    async def _joined(
        self, tasks: dict[str, asyncio.Task[None]], key: str, work: Coroutine[Any, Any, None]
    ) -> None:
        """Wait for the work that is under way for `key`, or begin it; it outlives who waits."""
        if key in tasks:
            work.close()
        else:
            tasks[key] = asyncio.create_task(work)
            tasks[key].add_done_callback(partial(_forget, tasks, key))
        try:
            await asyncio.wait_for(asyncio.shield(tasks[key]), self.timeout_s)
        except TimeoutError:
            raise StoreUnavailable("the collection is still being loaded") from None

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
            raise _LostError from error


def _forget(tasks: dict[str, asyncio.Task[None]], key: str, task: asyncio.Task[None]) -> None:
    tasks.pop(key, None)
    if not task.cancelled():
        task.exception()  # everyone who waited may have left; then nobody else asks for it


def _translation(error: MilvusException) -> RagserveError | _NotLoadedError | _LostError:
    if error.code in {_CONNECT_FAILED, grpc.StatusCode.UNAVAILABLE}:
        return _LostError()
    if _NOT_LOADED in {error.code, error.compatible_code}:
        return _NotLoadedError()
    if error.code == ErrorCode.COLLECTION_NOT_FOUND or error.compatible_code == _LEGACY_NOT_FOUND:
        return CollectionNotFound("the vector store does not hold the collection")
    if error.code in _REFUSED_CODES:
        return InvalidRequest(f"the vector store refuses this: {error.message}")
    return StoreUnavailable("the vector store failed or cannot be reached")
