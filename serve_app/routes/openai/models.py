"""Which models there are: the engines', and one for each collection.

A collection is asked as the model `rag:<collection>`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import TypeAdapter, ValidationError

from deployments.contracts.identity import Principal
from deployments.errors import (
    CollectionNotFound,
    EmbeddingUnavailable,
    GenerationUnavailable,
    NotFound,
)
from serve_app.openai_schemas import ModelList, ModelOut
from serve_app.routes.access import UsesServices, needs, require_collection
from serve_app.routes.openai.errors import OpenAIRoute, error_responses
from serve_app.schemas import CollectionName
from serve_app.services import Services

router = APIRouter(prefix="/models", route_class=OpenAIRoute)

Reader = Annotated[Principal, Depends(needs("query"))]

PREFIX = "rag:"
_NAME: TypeAdapter[str] = TypeAdapter(CollectionName)


def collection_of(caller: Principal, model: str) -> str | None:
    """The collection behind a model's name; None for a name without the prefix.

    Raises:
        NotFound: the caller may not read the collection, or its name is none.
    """
    if not model.startswith(PREFIX):
        return None
    try:
        name = _NAME.validate_python(model.removeprefix(PREFIX))
        require_collection(caller, name)
    except (ValidationError, CollectionNotFound):
        raise unknown_model(model) from None
    return name


def unknown_model(model: str) -> NotFound:
    """The same for a model that is not there and for one the caller may not use."""
    return NotFound(
        f"The model '{model}' does not exist or you do not have access to it.", param="model"
    )


@router.get("", responses=error_responses(503))
async def list_models(caller: Reader, services: UsesServices) -> ModelList:
    """The language model, the embedding model, and the collections that the caller may read."""
    models = await _engines(services)
    for collection in await services.store.list_collections():
        if caller.may_read(collection.name):
            created = int(collection.created_at_s)
            models.append(ModelOut(id=f"{PREFIX}{collection.name}", created=created))
    return ModelList(data=models)


@router.get("/{model:path}", responses=error_responses(404, 503))
async def get_model(model: str, caller: Reader, services: UsesServices) -> ModelOut:
    """One model."""
    name = collection_of(caller, model)
    if name is None:
        for engine in await _engines(services):
            if engine.id == model:
                return engine
        raise unknown_model(model)
    try:
        collection = await services.store.get_collection(name)
    except CollectionNotFound:
        raise unknown_model(model) from None
    return ModelOut(id=model, created=int(collection.created_at_s))


async def _engines(services: Services) -> list[ModelOut]:
    """The models behind the engines that answer; one that is out cannot be used now."""
    names: list[str] = []
    with suppress(GenerationUnavailable):
        names.append((await services.generator.model()).name)
    with suppress(EmbeddingUnavailable):
        names.append((await services.embedder.model()).name)
    return [ModelOut(id=name) for name in names]
