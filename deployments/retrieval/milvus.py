"""Chunks in Milvus: vectors by HNSW, words by BM25, one collection per collection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, Literal, TypeVar

import numpy as np
from pymilvus import AsyncMilvusClient, MilvusClient, MilvusException

from deployments.contracts.embedding import Vectors
from deployments.contracts.retrieval import (
    Chunk,
    Collection,
    Document,
    Passage,
    SearchMode,
    SearchRequest,
)
from deployments.errors import (
    CollectionExists,
    CollectionNotFound,
    ConfigurationError,
    InvalidRequest,
)
from deployments.retrieval.connection import ONCE, Connection
from deployments.retrieval.expressions import quoted, visible
from deployments.retrieval.filters import parse
from deployments.retrieval.lexical import terms
from deployments.retrieval.limits import check_search, storable
from deployments.retrieval.lite import LiteWriter
from deployments.retrieval.ranking import Ranking
from deployments.retrieval.rows import COLUMNS, to_chunk, to_document, to_row
from deployments.retrieval.schema import (
    PREFIX,
    RECORD_PROPERTY,
    indexes,
    read_record,
    record,
    schema,
)

T = TypeVar("T")

UPSERT_ROWS: Final = 500
"""A call's worth: some megabytes, well under gRPC's and Milvus' limits."""
PAGE_ROWS: Final = 5_000
"""Rows a query; Milvus gives out 16,384 at most."""
EF_SEARCH: Final = 64
"""HNSW's search width, at least; it must not be below the number of results."""

_DOCUMENT_COLUMNS: Final = [name for name in COLUMNS if name not in {"text", "chunk_metadata"}]


class MilvusStore:
    """A `VectorStore` on a Milvus server (2.5 or newer) or a Milvus Lite server.

    Made in any thread, used in one event loop. `timeout_s` bounds each call to the server;
    `consistency` is Milvus' level for new collections ("Strong": a search sees every write that
    was acknowledged before it).
    """

    def __init__(
        self,
        uri: str,
        token: str = "",
        consistency: Literal["Strong", "Bounded", "Session", "Eventually"] = "Strong",
        timeout_s: float = 10.0,
    ) -> None:
        self._connection = Connection(uri, token, timeout_s)
        self._lite = LiteWriter(self._connection)
        self._consistency = consistency
        self._dimensions: dict[str, int] = {}

    async def create_collection(self, collection: Collection) -> None:
        """Create it, with its indexes, loaded.

        Raises:
            CollectionExists: there is one of that name.
            ConfigurationError: the server is too old for lexical search.
        """
        await self._check_version()
        name = _inner(collection.name)
        if await self._connection.call(lambda client: client.has_collection(name, **ONCE)):
            raise CollectionExists(
                f"collection {collection.name} exists", collection=collection.name
            )

        def create(client: MilvusClient) -> None:
            limit = {"timeout": self._connection.timeout_s}
            client.create_collection(
                name,
                schema=schema(collection),
                consistency_level=self._consistency,
                properties={RECORD_PROPERTY: record(collection)},
                **limit,
            )
            try:
                # An empty collection's indexes are ready at once: waiting would cost a second.
                client.create_index(name, indexes(), sync=False, **limit)
                client.load_collection(name, **limit)
            except MilvusException:
                client.drop_collection(name, **limit)
                raise

        await self._connection.with_sync_client(create)
        self._dimensions[collection.name] = collection.model.dimension

    async def drop_collection(self, name: str) -> None:
        await self.get_collection(name)
        self._dimensions.pop(name, None)
        self._lite.forget(_inner(name))
        await self._call(name, lambda client: client.drop_collection(_inner(name), **ONCE))

    async def get_collection(self, name: str) -> Collection:
        described = await self._call(
            name, lambda client: client.describe_collection(_inner(name), **ONCE)
        )
        collection = read_record(name, described)
        if collection is None:
            raise _not_found(name)
        self._dimensions[name] = collection.model.dimension
        return collection

    async def list_collections(self) -> list[Collection]:
        names = await self._connection.list_names()
        ours = sorted(name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX))
        found = await asyncio.gather(*map(self._collection_if_there, ours))
        return [collection for collection in found if collection is not None]

    async def upsert(self, collection: str, chunks: Sequence[Chunk], vectors: Vectors) -> None:
        ready = await self._checked(collection, lambda size: storable(chunks, vectors, size))
        rows = [to_row(chunk, vector) for chunk, vector in zip(ready, vectors, strict=True)]
        for start in range(0, len(rows), UPSERT_ROWS):
            batch = rows[start : start + UPSERT_ROWS]
            await self._write(
                collection, len(batch), partial(self._put, name=_inner(collection), rows=batch)
            )

    async def delete_version(self, collection: str, version: int) -> None:
        # Milvus deletes from a collection that is not there without a word.
        await self.get_collection(collection)
        gone = f"version == {int(version)}"
        await self._write(
            collection, 0, lambda client: client.delete(_inner(collection), filter=gone, **ONCE)
        )

    async def search(self, request: SearchRequest) -> list[Passage]:
        await self._checked(request.collection, lambda size: check_search(request, size))
        tree = parse(request.filter) if request.filter is not None else None
        where = visible(tree, request.hidden_versions)
        dense, lexical = await asyncio.gather(
            self._dense(request, where), self._lexical(request, where)
        )
        ranking = Ranking.of(request, dense, lexical)
        keys = ranking.best(request.limit)
        return ranking.passages(keys, await self._chunks(request.collection, keys))

    async def _chunks(self, collection: str, ids: Sequence[str]) -> dict[str, Chunk]:
        """Whole rows of few chunks: to read those of all candidates takes twice the time."""
        if not ids:
            return {}
        where = f"id in [{', '.join(map(quoted, ids))}]"
        rows = await self._query(collection, where, list(COLUMNS), limit=len(ids))
        return {chunk.id: chunk for chunk in map(to_chunk, rows)}

    async def get_chunks(
        self, collection: str, document_id: str, version: int, numbers: Sequence[int]
    ) -> list[Chunk]:
        if not numbers:
            return []
        wanted = ", ".join(str(int(number)) for number in numbers)
        where = (
            f"document_id == {quoted(document_id)} and version == {int(version)} "
            f"and number in [{wanted}]"
        )
        rows = await self._query(collection, where, list(COLUMNS), limit=len(set(numbers)))
        return sorted(map(to_chunk, rows), key=lambda chunk: chunk.number)

    async def find_documents(self, collection: str, document_id: str) -> list[Document]:
        where = f"number == 0 and document_id == {quoted(document_id)}"
        rows = await self._query(collection, where, _DOCUMENT_COLUMNS, limit=PAGE_ROWS)
        return sorted(map(to_document, rows), key=lambda document: document.version)

    async def list_documents(
        self,
        collection: str,
        *,
        offset: int = 0,
        limit: int = 100,
        hidden_versions: frozenset[int] = frozenset(),
    ) -> list[Document]:
        """One page, by title, then document id, then version.

        Milvus cannot sort, so the titles of all documents are read to find the page.
        """
        where = " and ".join(filter(None, ["number == 0", visible(None, hidden_versions)]))
        rows = await self._scan(collection, where, ["id", "title", "document_id", "version"])
        rows.sort(key=lambda row: (row["title"], row["document_id"], row["version"]))
        page = [row["id"] for row in rows[offset : offset + limit]]
        if not page:
            return []
        where = f"id in [{', '.join(map(quoted, page))}]"
        found = await self._query(collection, where, _DOCUMENT_COLUMNS, limit=len(page))
        by_id = {row["id"]: to_document(row) for row in found}
        return [by_id[key] for key in page if key in by_id]

    async def count_chunks(
        self, collection: str, hidden_versions: frozenset[int] = frozenset()
    ) -> int:
        return await self._count(collection, "", hidden_versions)

    async def count_documents(
        self, collection: str, hidden_versions: frozenset[int] = frozenset()
    ) -> int:
        return await self._count(collection, "number == 0", hidden_versions)

    async def ping(self) -> None:
        await self._connection.call(lambda client: client.get_server_version(**ONCE))

    async def close(self) -> None:
        await self._lite.close()
        await self._connection.close()

    async def _dense(self, request: SearchRequest, where: str) -> dict[str, float]:
        if request.vector is None or request.mode is SearchMode.LEXICAL:
            return {}
        vector = np.ascontiguousarray(request.vector, dtype=np.float32)
        return await self._nearest(request, "dense", vector, where)

    async def _lexical(self, request: SearchRequest, where: str) -> dict[str, float]:
        asked = [] if request.mode is SearchMode.DENSE else terms(request.text)
        if not asked:
            return {}
        words = " ".join(asked)
        return await self._nearest(request, "sparse", words, where)

    async def _nearest(
        self,
        request: SearchRequest,
        column: str,
        query: Vectors | str,
        where: str,
    ) -> dict[str, float]:
        depth = request.depth
        answers = await self._call(
            request.collection,
            lambda client: client.search(
                _inner(request.collection),
                data=[query],
                anns_field=column,
                search_params={
                    "params": {"ef": max(EF_SEARCH, depth)} if column == "dense" else {}
                },
                filter=where,
                limit=depth,
                output_fields=["id"],
                **ONCE,
            ),
        )
        hits = answers[0]
        # Milvus Lite gives BM25 scores, which are never negative, with a minus.
        sign = -1.0 if column == "sparse" and hits and hits[0]["distance"] < 0 else 1.0
        return {hit["id"]: sign * hit["distance"] for hit in hits}

    async def _count(self, collection: str, where: str, hidden: frozenset[int]) -> int:
        # What is there less what is hidden: hidden rows are few, and Milvus Lite reads whatever
        # it counts by a filter.
        counts = [self._count_where(collection, where)]
        if hidden:
            versions = ", ".join(str(int(version)) for version in sorted(hidden))
            narrowed = filter(None, [where, f"version in [{versions}]"])
            counts.append(self._count_where(collection, " and ".join(narrowed)))
        there, *concealed = await asyncio.gather(*counts)
        return there - sum(concealed)

    async def _count_where(self, collection: str, where: str) -> int:
        rows = await self._call(
            collection,
            lambda client: client.query(
                _inner(collection), filter=where, output_fields=["count(*)"], **ONCE
            ),
        )
        return int(rows[0]["count(*)"])

    async def _scan(self, collection: str, where: str, columns: list[str]) -> list[dict[str, Any]]:
        """All rows, however many: page after page in the order of their ids."""
        found: list[dict[str, Any]] = []
        last = ""
        while True:
            rows = await self._query(
                collection,
                f"{where} and id > {quoted(last)}",
                columns,
                limit=PAGE_ROWS,
                iterator="True",
            )
            found.extend(rows)
            if len(rows) < PAGE_ROWS:
                return found
            last = max(row["id"] for row in rows)

    async def _query(
        self, collection: str, where: str, columns: list[str], *, limit: int, **options: str
    ) -> list[dict[str, Any]]:
        rows = await self._call(
            collection,
            lambda client: client.query(
                _inner(collection),
                filter=where,
                output_fields=columns,
                limit=limit,
                **options,
                **ONCE,
            ),
        )
        return list(rows)

    async def _collection_if_there(self, name: str) -> Collection | None:
        try:
            return await self.get_collection(name)
        except CollectionNotFound:
            return None

    async def _checked(self, name: str, check: Callable[[int], T]) -> T:
        """Check against the collection's dimension, asking again should it have been made anew."""
        if name in self._dimensions:
            try:
                return check(self._dimensions[name])
            except InvalidRequest:
                pass
        collection = await self.get_collection(name)
        return check(collection.model.dimension)

    async def _check_version(self) -> None:
        if await self._connection.is_lite():
            return
        version = await self._connection.version()
        major, minor = version.removeprefix("v").split(".")[:2]
        if (int(major), int(minor)) < (2, 5):
            raise ConfigurationError(
                f"Milvus {version} has no BM25 search; ragserve needs Milvus 2.5 or newer"
            )

    async def _put(self, client: AsyncMilvusClient, name: str, rows: list[dict[str, Any]]) -> None:
        # Milvus Lite's upsert keeps old dynamic fields that the new row lacks, while its insert
        # replaces a row of the same id; Milvus' insert would keep both rows.
        write = client.insert if await self._connection.is_lite() else client.upsert
        await write(name, rows, **ONCE)

    async def _write(
        self, collection: str, rows: int, operation: Callable[[AsyncMilvusClient], Any]
    ) -> None:
        try:
            if await self._connection.is_lite():
                await self._lite.write(_inner(collection), rows, operation)
            else:
                await self._connection.call(operation, _inner(collection))
        except CollectionNotFound:
            raise _not_found(collection) from None

    async def _call(self, collection: str, operation: Callable[[AsyncMilvusClient], Any]) -> Any:
        try:
            return await self._connection.call(operation, _inner(collection))
        except CollectionNotFound:
            raise _not_found(collection) from None


def _inner(name: str) -> str:
    """The name of a collection in Milvus."""
    return PREFIX + name


def _not_found(name: str) -> CollectionNotFound:
    return CollectionNotFound(f"there is no collection {name}", collection=name)
