"""One collection, one embedding model: vectors of two models must not meet in one index."""

from __future__ import annotations

from deployments.contracts.embedding import EmbeddingModel
from deployments.contracts.retrieval import Collection
from deployments.errors import ModelMismatch


def require_model(collection: Collection, model: EmbeddingModel) -> None:
    """Raises ModelMismatch where the collection was embedded with another model."""
    if collection.model.name != model.name or collection.model.dimension != model.dimension:
        raise ModelMismatch(
            f"The collection was embedded with {collection.model.name}; this service embeds "
            f"with {model.name}. Make a new collection.",
            collection_model=collection.model.name,
            service_model=model.name,
        )
