"""A row of a table as a small document: its columns as text and as metadata."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from deployments.errors import DamagedDocument

Scalar: TypeAlias = str | int | float | bool

MAX_VALUE_CHARACTERS = 500
"""Longer values are text to search, not metadata to filter by."""
MAX_COLUMNS = 64
_MAX_INTEGER = 2**63


def metadata_of(row: Mapping[str, object]) -> dict[str, Scalar]:
    """The scalars of a row that a filter can use."""
    kept: dict[str, Scalar] = {}
    for name, value in row.items():
        if len(kept) == MAX_COLUMNS:
            break
        if _is_filterable(value):
            kept[name] = value  # type: ignore[assignment]
    return kept


def text_of(row: Mapping[str, object]) -> str:
    """One `column: value` line for each column that holds something."""
    return "\n".join(f"{name}: {value}" for name, value in row.items() if value not in ("", None))


def flatten(value: Mapping[str, Any], max_depth: int) -> dict[str, object]:
    """Nested objects as dotted names, lists joined by commas.

    Raises:
        DamagedDocument: nested deeper than `max_depth`.
    """
    return dict(_flat(value, "", max_depth))


def _flat(value: Mapping[str, Any], prefix: str, depth: int) -> Iterator[tuple[str, object]]:
    if depth == 0:
        raise DamagedDocument("A row of the file is nested too deeply to be read.")
    for key, inner in value.items():
        name = f"{prefix}{key}"
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{name}.", depth - 1)
        elif isinstance(inner, list):
            yield name, _joined(inner, depth - 1)
        else:
            yield name, inner


def _joined(values: list[Any], depth: int) -> str:
    if depth == 0:
        raise DamagedDocument("A row of the file is nested too deeply to be read.")
    return ", ".join(
        _joined(value, depth - 1)
        if isinstance(value, list)
        else "; ".join(f"{name}: {inner}" for name, inner in _flat(value, "", depth - 1))
        if isinstance(value, Mapping)
        else str(value)
        for value in values
    )


def _is_filterable(value: object) -> bool:
    if isinstance(value, str):
        return 0 < len(value) <= MAX_VALUE_CHARACTERS
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return -_MAX_INTEGER <= value < _MAX_INTEGER
    return False
