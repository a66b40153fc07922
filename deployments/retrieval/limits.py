"""What a store takes in: the checks that hold whatever it runs on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from deployments.contracts.embedding import Vectors
from deployments.contracts.retrieval import Chunk, SearchMode, SearchRequest
from deployments.errors import InvalidRequest
from deployments.retrieval.facets import facets

MAX_TEXT_BYTES: Final = 65_535
"""Milvus' longest VARCHAR; its longest JSON value, too."""
MAX_LABEL_BYTES: Final = 4_096
"""Title, source and heading: shown to people, so the end of a longer one is cut off."""
MAX_RESULTS: Final = 16_384
"""Milvus' largest result window."""


def storable(chunks: Sequence[Chunk], vectors: Vectors, dimension: int) -> list[Chunk]:
    """The chunks as they can be written.

    Raises:
        InvalidRequest: a text or a document's metadata is too large, or the vectors do not fit.
    """
    if vectors.shape != (len(chunks), dimension):
        raise InvalidRequest(
            f"{len(chunks)} chunks need vectors of shape ({len(chunks)}, {dimension}), "
            f"not {vectors.shape}"
        )
    return [_storable(chunk) for chunk in chunks]


def check_search(request: SearchRequest, dimension: int) -> None:
    """Raises InvalidRequest for a search that no store can answer."""
    if not 1 <= request.limit <= MAX_RESULTS or not 1 <= request.candidates <= MAX_RESULTS:
        raise InvalidRequest(f"limit and candidates reach from 1 to {MAX_RESULTS}")
    if not 0.0 <= request.lexical_weight <= 1.0:
        raise InvalidRequest("lexical_weight reaches from 0 to 1")
    if request.mode is SearchMode.LEXICAL:
        return
    if request.vector is None:
        raise InvalidRequest(f"a {request.mode} search needs a vector")
    if request.vector.shape != (dimension,):
        raise InvalidRequest(
            f"the collection holds vectors of {dimension} dimensions, not {request.vector.shape}"
        )


def _storable(chunk: Chunk) -> Chunk:
    text = _encodable(chunk.text)
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise InvalidRequest(f"a chunk's text is longer than {MAX_TEXT_BYTES} bytes", id=chunk.id)
    metadata = chunk.filterable
    for value in (metadata, facets(metadata)):
        if len(json.dumps(value)) > MAX_TEXT_BYTES:
            raise InvalidRequest(
                f"a chunk's metadata is longer than {MAX_TEXT_BYTES} bytes",
                document_id=chunk.document.id,
            )
    document = replace(
        chunk.document, title=_label(chunk.document.title), source=_label(chunk.document.source)
    )
    return replace(chunk, text=text, document=document, heading=_label(chunk.heading))


def _label(text: str) -> str:
    return _encodable(text).encode()[:MAX_LABEL_BYTES].decode(errors="ignore")


def _encodable(text: str) -> str:
    # Damaged files yield unpaired surrogates, which no wire format takes. One for one, so that
    # character offsets stay right.
    return text.encode(errors="replace").decode()
