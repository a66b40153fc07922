"""A filter as a Milvus boolean expression, and the few other expressions the store asks.

Milvus Lite has no expression parameters, so values are written into the text. Every name in it is
from a fixed list or has passed the filter language's pattern; every text goes through `quoted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from deployments.retrieval.facets import TYPES, member_key, value_key
from deployments.retrieval.filters import AllOf, AnyOf, Condition, Filter, Not, Operator, Value

NO_PAGE: Final = -1
"""How a row says that its chunk is on no page."""

_SYMBOLS: Final[Mapping[Operator, str]] = {
    Operator.EQ: "==",
    Operator.GT: ">",
    Operator.GTE: ">=",
    Operator.LT: "<",
    Operator.LTE: "<=",
}
_ESCAPES: Final = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"},
)


def expression(tree: Filter) -> str:
    """The filter as a Milvus expression that means what `predicates.matches` means."""
    return _write(tree, negated=False)


def visible(tree: Filter | None, hidden_versions: Iterable[int]) -> str:
    """Rows that pass the filter and are not of a hidden version; "" for all rows."""
    parts = [expression(tree)] if tree is not None else []
    hidden = ", ".join(str(int(version)) for version in sorted(hidden_versions))
    if hidden:
        parts.append(f"version not in [{hidden}]")
    return " and ".join(parts)


def quoted(text: str) -> str:
    """`text` as a string literal."""
    return f'"{text.translate(_ESCAPES)}"'


def _write(tree: Filter, *, negated: bool) -> str:
    match tree:
        case AllOf(parts):
            return "(" + " and ".join(_write(part, negated=negated) for part in parts) + ")"
        case AnyOf(parts):
            return "(" + " or ".join(_write(part, negated=negated) for part in parts) + ")"
        case Not(part):
            return f"(not {_write(part, negated=True)})"
        case Condition(field, _, _) if field.in_metadata:
            return _metadata(tree, negated=negated)
        case Condition():
            return _document(tree)


def _document(condition: Condition) -> str:
    name = condition.field.name
    if condition.operator is Operator.EXISTS:
        held = f"page != {NO_PAGE}" if name == "page" else "number >= 0"
    elif condition.operator is Operator.IN:
        held = f"{name} in [{', '.join(_literal(value) for value in condition.values)}]"
    else:
        held = f"{name} {_SYMBOLS[condition.operator]} {_literal(condition.values[0])}"
    if name == "page" and condition.operator is not Operator.EXISTS:
        return f"(page != {NO_PAGE} and {held})"
    return f"({held})"


def _metadata(condition: Condition, *, negated: bool) -> str:
    key = condition.field.name
    if condition.operator is Operator.EXISTS:
        return "(" + " or ".join(f'exists $meta["{letter}:{key}"]' for letter in TYPES) + ")"
    if condition.operator in {Operator.EQ, Operator.IN}:
        ways = [
            way
            for value in condition.values
            for way in (
                _compared(key, "==", value, negated=negated),
                f'exists $meta["{member_key(key, value)}"]',
            )
        ]
        return "(" + " or ".join(ways) + ")"
    (value,) = condition.values
    return _compared(key, _SYMBOLS[condition.operator], value, negated=negated)


def _compared(key: str, symbol: str, value: Value, *, negated: bool) -> str:
    path = f'$meta["{value_key(key, value)}"]'
    compared = f"{path} {symbol} {_literal(value)}"
    # Comparing a missing key is "unknown", and so is its negation: under `not` it must be false.
    return f"(exists {path} and {compared})" if negated else f"({compared})"


def _literal(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return quoted(value) if isinstance(value, str) else repr(value)
