"""A filter as a question to a chunk in memory: what the filter language means."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from deployments.contracts.retrieval import Chunk, Scalar
from deployments.retrieval.facets import facets, held, member_key, value_key
from deployments.retrieval.filters import AllOf, AnyOf, Condition, Filter, Not, Operator, Value

_COMPARE: Final[Mapping[Operator, Callable[[Any, Any], bool]]] = {
    Operator.GT: operator.gt,
    Operator.GTE: operator.ge,
    Operator.LT: operator.lt,
    Operator.LTE: operator.le,
}


def matches(tree: Filter, chunk: Chunk) -> bool:
    """Whether the chunk passes the filter."""
    return _matches(tree, chunk, facets(chunk.filterable))


def _matches(tree: Filter, chunk: Chunk, spread: Mapping[str, Scalar]) -> bool:
    match tree:
        case AllOf(parts):
            return all(_matches(part, chunk, spread) for part in parts)
        case AnyOf(parts):
            return any(_matches(part, chunk, spread) for part in parts)
        case Not(part):
            return not _matches(part, chunk, spread)
        case Condition(field, _, _) if field.in_metadata:
            return _in_metadata(tree, spread)
        case Condition():
            return _in_document(tree, chunk)


def _in_document(condition: Condition, chunk: Chunk) -> bool:
    value = _document_value(chunk, condition.field.name)
    if value is None or condition.operator is Operator.EXISTS:
        return value is not None
    if condition.operator in {Operator.EQ, Operator.IN}:
        return value in condition.values
    return _COMPARE[condition.operator](value, condition.values[0])


def _in_metadata(condition: Condition, spread: Mapping[str, Scalar]) -> bool:
    key = condition.field.name
    if condition.operator is Operator.EXISTS:
        return held(spread, key)
    if condition.operator in {Operator.EQ, Operator.IN}:
        return any(_equal(spread, key, value) for value in condition.values)
    (value,) = condition.values
    kept = spread.get(value_key(key, value))
    return kept is not None and _COMPARE[condition.operator](kept, value)


def _equal(spread: Mapping[str, Scalar], key: str, value: Value) -> bool:
    return spread.get(value_key(key, value)) == value or member_key(key, value) in spread


def _document_value(chunk: Chunk, name: str) -> Value | None:
    if name == "page":
        return chunk.page
    if name == "document_id":
        return chunk.document.id
    if name == "ingested_at":
        return chunk.document.ingested_at_s
    value: str = getattr(chunk.document, name)
    return value
