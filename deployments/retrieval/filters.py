"""The filter language: JSON in, a checked tree out.

A filter comes from a caller and ends up inside a database's query text, so nothing of it is ever
passed on as it came: it is parsed into the frozen tree below, whose names and values are checked,
and each store writes its own query from the tree (`expressions.py`, `predicates.py`).

    {"field": "year", "gte": 2024, "lt": 2026}          several operators: all must hold
    {"field": "lang", "in": ["en", "de"]}
    {"field": "source", "exists": true}
    {"and": [...]}, {"or": [...]}, {"not": {...}}

A field is one of `document_id`, `title`, `source`, `content_type`, `page`, `ingested_at`, or else
a key of the document's metadata (`year`, or `metadata.year` where the name is taken). Operators:
`eq`, `ne`, `gt`, `gte`, `lt`, `lte`, `in`, `exists`. A comparison with a value of another type is
false; a metadata list equals each of its members; `ne` and `not` are true where the field is
missing. Numbers compare as numbers, texts by code point, so ISO dates order as dates do.
`ingested_at` takes Unix seconds or an ISO 8601 time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

from deployments.errors import InvalidFilter

Value: TypeAlias = str | int | float | bool

MAX_DEPTH: Final = 8
MAX_CONDITIONS: Final = 64
MAX_LIST_VALUES: Final = 100
MAX_TEXT_CHARS: Final = 1024
MAX_EXACT_INTEGER: Final = 2**53
"""Beyond it a JSON number is not the same number everywhere."""

METADATA_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Operator(StrEnum):
    """How a field is compared."""

    EQ = "eq"
    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    IN = "in"
    EXISTS = "exists"


_RANGES: Final = frozenset({Operator.GT, Operator.GTE, Operator.LT, Operator.LTE})


@dataclass(frozen=True, slots=True)
class Field:
    """A document field, or a key of its metadata."""

    name: str
    in_metadata: bool


@dataclass(frozen=True, slots=True)
class Condition:
    """One comparison. `values` has one member but for IN, and none for EXISTS."""

    field: Field
    operator: Operator
    values: tuple[Value, ...] = ()


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one part holds."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Filter


Filter: TypeAlias = Condition | AllOf | AnyOf | Not

DOCUMENT_FIELDS: Final[Mapping[str, type]] = {
    "document_id": str,
    "title": str,
    "source": str,
    "content_type": str,
    "page": int,
    "ingested_at": float,
}


def parse(source: Mapping[str, object]) -> Filter:
    """Check a filter and return its tree.

    Raises:
        InvalidFilter: with a message for the caller and the `path` of the part that is wrong.
    """
    return _Parser().parse(source, "filter", 1)


def _invalid(message: str, path: str) -> InvalidFilter:
    return InvalidFilter(f"{path}: {message}", path=path)


class _Parser:
    """One parse; it counts the conditions."""

    def __init__(self) -> None:
        self._conditions = 0

    def parse(self, source: object, path: str, depth: int) -> Filter:
        if not isinstance(source, Mapping):
            raise _invalid("expected an object", path)
        if depth > MAX_DEPTH:
            raise _invalid(f"nested deeper than {MAX_DEPTH} levels", path)
        if "field" in source:
            return self._comparisons(source, path)
        if len(source) != 1:
            raise _invalid('expected "field" with operators, or one of "and", "or", "not"', path)
        word, inner = next(iter(source.items()))
        if word == "not":
            return Not(self.parse(inner, f"{path}.not", depth + 1))
        if word not in {"and", "or"}:
            raise _invalid(f'unknown word {_shown(word)}; expected "and", "or" or "not"', path)
        if not isinstance(inner, Sequence) or isinstance(inner, str) or not inner:
            raise _invalid("expected a list of filters with at least one", f"{path}.{word}")
        parts = tuple(
            self.parse(part, f"{path}.{word}[{index}]", depth + 1)
            for index, part in enumerate(inner)
        )
        if len(parts) == 1:
            return parts[0]
        return AllOf(parts) if word == "and" else AnyOf(parts)

    def _comparisons(self, source: Mapping[str, object], path: str) -> Filter:
        field = _field(source["field"], f"{path}.field")
        parts = tuple(
            self._comparison(field, word, value, f"{path}.{word}")
            for word, value in source.items()
            if word != "field"
        )
        if not parts:
            raise _invalid("no operator; expected " + _operators(), path)
        return parts[0] if len(parts) == 1 else AllOf(parts)

    def _comparison(self, field: Field, word: str, value: object, path: str) -> Filter:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise _invalid(f"more than {MAX_CONDITIONS} conditions", path)
        if word == "ne":
            return Not(Condition(field, Operator.EQ, (_value(field, value, path),)))
        if word not in set(Operator):
            raise _invalid(f"unknown operator {_shown(word)}; expected " + _operators(), path)
        operator = Operator(word)
        if operator is Operator.EXISTS:
            if not isinstance(value, bool):
                raise _invalid("expected true or false", path)
            found = Condition(field, operator)
            return found if value else Not(found)
        if operator is Operator.IN:
            return Condition(field, operator, _values(field, value, path))
        checked = _value(field, value, path)
        if operator in _RANGES and isinstance(checked, bool):
            raise _invalid("true and false have no order", path)
        return Condition(field, operator, (checked,))


def _operators() -> str:
    return ", ".join(sorted({"ne", *Operator}))


def _shown(word: object) -> str:
    return repr(word)[:64]


def _field(name: object, path: str) -> Field:
    if not isinstance(name, str):
        raise _invalid("expected the name of a field", path)
    if name in DOCUMENT_FIELDS:
        return Field(name, in_metadata=False)
    key = name.removeprefix("metadata.")
    if METADATA_KEY.fullmatch(key) is None:
        raise _invalid(
            f"{_shown(name)} cannot be filtered on; names are letters, digits and _ . - and start "
            "with a letter or _, at most 64 characters",
            path,
        )
    return Field(key, in_metadata=True)


def _values(field: Field, values: object, path: str) -> tuple[Value, ...]:
    if not isinstance(values, Sequence) or isinstance(values, str) or not values:
        raise _invalid("expected a list with at least one value", path)
    if len(values) > MAX_LIST_VALUES:
        raise _invalid(f"more than {MAX_LIST_VALUES} values", path)
    return tuple(_value(field, value, f"{path}[{index}]") for index, value in enumerate(values))


def _value(field: Field, value: object, path: str) -> Value:
    checked = _scalar(value, path)
    if field.in_metadata:
        return checked
    expected = DOCUMENT_FIELDS[field.name]
    if field.name == "ingested_at" and isinstance(checked, str):
        return _seconds(checked, path)
    if expected is str and not isinstance(checked, str):
        raise _invalid(f"{field.name} is a text", path)
    if expected is not str and (isinstance(checked, str | bool)):
        raise _invalid(f"{field.name} is a number", path)
    return checked


def _scalar(value: object, path: str) -> Value:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        if len(value) > MAX_TEXT_CHARS:
            raise _invalid(f"longer than {MAX_TEXT_CHARS} characters", path)
        if _CONTROL.search(value) is not None:
            raise _invalid("contains a control character or an unpaired surrogate", path)
        return value
    if isinstance(value, int):
        if abs(value) > MAX_EXACT_INTEGER:
            raise _invalid("whole numbers reach from -2^53 to 2^53", path)
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _invalid("not a finite number", path)
        return value
    raise _invalid("expected a text, a number, true or false", path)


def _seconds(text: str, path: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise _invalid("expected Unix seconds or an ISO 8601 time", path) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
