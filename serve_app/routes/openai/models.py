"""Which models there are: the engines', and one for each collection.

A collection is asked as the model `rag:<collection>`, several as `rag:<one>,<other>`.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import Field, TypeAdapter, ValidationError

from deployments.contracts.identity import Principal
from deployments.errors import (
    CollectionNotFound,
    EmbeddingUnavailable,
    GenerationUnavailable,
    NotFound,
)
from serve_app.openai_schemas import ModelList, ModelOut
from serve_app.routes.access import UsesServices, needs, require_collections
from serve_app.routes.openai.errors import OpenAIRoute, error_responses
from serve_app.schemas import MOST_COLLECTIONS, CollectionName
from serve_app.services import Services

router = APIRouter(prefix="/models", route_class=OpenAIRoute)

Reader = Annotated[Principal, Depends(needs("query"))]

PREFIX = "rag:"
_NAMES: TypeAdapter[list[str]] = TypeAdapter(
    Annotated[list[CollectionName], Field(max_length=MOST_COLLECTIONS)]
)


def collections_of(caller: Principal, model: str) -> tuple[str, ...]:
    """The collections behind a model's name, none for a name without the prefix.

    Raises:
        NotFound: the caller may not read one of them, or its name is none.
    """
    if not model.startswith(PREFIX):
        return ()
    try:
        names = _NAMES.validate_python(model.removeprefix(PREFIX).split(","))
        require_collections(caller, names)
    except (ValidationError, CollectionNotFound):
        raise unknown_model(model) from None
    return tuple(dict.fromkeys(names))


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
    names = collections_of(caller, model)
    if not names:
        for engine in await _engines(services):
            if engine.id == model:
                return engine
        raise unknown_model(model)
    try:
        found = [await services.store.get_collection(name) for name in names]
    except CollectionNotFound:
        raise unknown_model(model) from None
    return ModelOut(id=model, created=int(max(one.created_at_s for one in found)))


async def _engines(services: Services) -> list[ModelOut]:
    """The models behind the engines that answer; one that is out cannot be used now."""
    names: list[str] = []
    with suppress(GenerationUnavailable):
        names.append((await services.generator.model()).name)
    with suppress(EmbeddingUnavailable):
        names.append((await services.embedder.model()).name)
    return [ModelOut(id=name) for name in names]
