"""Collections: named sets of documents embedded by one model."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from deployments.contracts.identity import Principal
from deployments.contracts.retrieval import Collection
from serve_app.routes.access import (
    UsesServices,
    api_root,
    needs,
    note,
    problems,
    require_collection,
    require_writable,
)
from serve_app.schemas import CollectionCreate, CollectionList, CollectionName, CollectionOut
from serve_app.services import Services

router = APIRouter(prefix="/v1/collections", tags=["collections"])

Reader = Annotated[Principal, Depends(needs("query"))]
Writer = Annotated[Principal, Depends(needs("ingest", bucket="ingestion"))]


@router.post("", status_code=201, responses=problems(404, 409, 429, 503))
async def create_collection(
    body: CollectionCreate,
    request: Request,
    response: Response,
    caller: Writer,
    services: UsesServices,
) -> CollectionOut:
    """Create a collection for the embedding model in use."""
    require_writable(caller, body.name)
    collection = Collection(
        name=body.name,
        model=await services.embedder.model(),
        description=body.description,
        created_at_s=time.time(),
    )
    note(request, collection=body.name)
    await services.store.create_collection(collection)
    response.headers["Location"] = f"{api_root(request)}/collections/{body.name}"
    return await _describe(services, collection)


@router.get("", responses=problems(503))
async def list_collections(caller: Reader, services: UsesServices) -> CollectionList:
    """The collections that the caller may read."""
    collections = [c for c in await services.store.list_collections() if caller.may_read(c.name)]
    return CollectionList(
        collections=await asyncio.gather(*(_describe(services, c) for c in collections))
    )


@router.get("/{collection}", responses=problems(404, 503))
async def get_collection(
    collection: CollectionName, caller: Reader, services: UsesServices
) -> CollectionOut:
    """One collection, with its counts."""
    require_collection(caller, collection)
    return await _describe(services, await services.store.get_collection(collection))


@router.delete("/{collection}", status_code=204, responses=problems(404, 429, 503))
async def delete_collection(
    collection: CollectionName, caller: Writer, services: UsesServices
) -> None:
    """Delete a collection with all its documents. Jobs that write to it end FAILED."""
    require_writable(caller, collection)
    await services.store.get_collection(collection)
    # First, too: should this process die in between, no job goes on in a new collection.
    await services.visibility.forget(collection)
    await services.store.drop_collection(collection)
    await services.visibility.forget(collection)


async def _describe(services: Services, collection: Collection) -> CollectionOut:
    snapshot = await services.visibility.snapshot(collection.name)
    documents, chunks = await asyncio.gather(
        services.holdings.documents(collection.name, snapshot),
        services.holdings.chunks(collection.name, snapshot),
    )
    return CollectionOut(
        name=collection.name,
        description=collection.description,
        embedding_model=collection.model.name,
        dimension=collection.model.dimension,
        documents=documents,
        chunks=chunks,
        created_at=collection.created_at_s,
    )
