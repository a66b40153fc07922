"""How a collection looks inside Milvus."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from pymilvus import CollectionSchema, DataType, Function, FunctionType, MilvusClient
from pymilvus.milvus_client.index import IndexParams

from deployments.contracts.embedding import EmbeddingModel
from deployments.contracts.retrieval import Collection
from deployments.retrieval.lexical import K1, B
from deployments.retrieval.limits import MAX_LABEL_BYTES, MAX_TEXT_BYTES

PREFIX: Final = "ragserve_"
"""Of every collection's name in Milvus, which may hold other people's collections."""
RECORD_PROPERTY: Final = "ragserve.collection"

_MAX_NAME_BYTES: Final = 512
_ANALYZER: Final = {"tokenizer": "standard"}
"""The terms come ready, with blanks between them (`lexical.py`)."""
_HNSW: Final = {"M": 16, "efConstruction": 200}


def schema(collection: Collection) -> CollectionSchema:
    """Columns, and the function that makes BM25 vectors of the text."""
    made = MilvusClient.create_schema(
        auto_id=False, enable_dynamic_field=True, description=record(collection)
    )
    made.add_field("id", DataType.VARCHAR, is_primary=True, max_length=_MAX_NAME_BYTES)
    for name in ("document_id", "content_type", "content_hash"):
        made.add_field(name, DataType.VARCHAR, max_length=_MAX_NAME_BYTES)
    for name in ("title", "source", "heading"):
        made.add_field(name, DataType.VARCHAR, max_length=MAX_LABEL_BYTES)
    for name in (
        "version",
        "number",
        "page",
        "start_char",
        "end_char",
        "size_bytes",
        "chunk_count",
    ):
        made.add_field(name, DataType.INT64)
    made.add_field("ingested_at", DataType.DOUBLE)
    made.add_field("metadata", DataType.JSON)
    made.add_field("chunk_metadata", DataType.JSON)
    made.add_field("text", DataType.VARCHAR, max_length=MAX_TEXT_BYTES)
    made.add_field(
        "words",
        DataType.VARCHAR,
        max_length=MAX_TEXT_BYTES,
        enable_analyzer=True,
        analyzer_params=_ANALYZER,
    )
    made.add_field("sparse", DataType.SPARSE_FLOAT_VECTOR)
    made.add_field("dense", DataType.FLOAT_VECTOR, dim=collection.model.dimension)
    made.add_function(
        Function(
            name="bm25",
            function_type=FunctionType.BM25,
            input_field_names=["words"],
            output_field_names=["sparse"],
        )
    )
    return made


def indexes() -> IndexParams:
    """HNSW over the embeddings, an inverted index over the words."""
    made = MilvusClient.prepare_index_params()
    made.add_index("dense", index_type="HNSW", metric_type="COSINE", params=_HNSW)
    made.add_index(
        "sparse",
        index_type="SPARSE_INVERTED_INDEX",
        metric_type="BM25",
        params={"bm25_k1": K1, "bm25_b": B},
    )
    return made


def record(collection: Collection) -> str:
    """What Milvus keeps for us about a collection: JSON, in its description and its properties.

    Both, because Milvus Lite forgets the description.
    """
    return json.dumps(
        {
            "model": collection.model.name,
            "dimension": collection.model.dimension,
            "max_tokens": collection.model.max_tokens,
            "created_at": collection.created_at_s,
            "description": collection.description,
        }
    )


def read_record(name: str, described: Mapping[str, Any]) -> Collection | None:
    """The collection as a `describe_collection` answer records it; None if it is not ours."""
    kept: Any = described.get("properties", {}).get(RECORD_PROPERTY)
    kept = kept or described.get("description", "")
    try:
        fields = json.loads(kept) if isinstance(kept, str) else kept
        model = EmbeddingModel(fields["model"], fields["dimension"], fields["max_tokens"])
        return Collection(name, model, fields["description"], fields["created_at"])
    except (TypeError, KeyError, ValueError):
        return None
