from __future__ import annotations

import pickle
from typing import Any

import pytest
from chunk_samples import chunk, document
from hypothesis import given
from hypothesis import strategies as st

from deployments.errors import InvalidFilter
from deployments.retrieval.expressions import expression, quoted, visible
from deployments.retrieval.filters import parse
from deployments.retrieval.predicates import matches

METADATA = {"year": 2024, "lang": "en", "draft": True, "tags": ["a", 1], "none": [], "title": "own"}
CHUNK = chunk(document("guide", metadata=METADATA), page=3)


def _passes(source: dict[str, object]) -> bool:
    return matches(parse(source), CHUNK)


@pytest.mark.parametrize(
    ("source", "passes"),
    [
        ({"field": "year", "gte": 2024}, True),
        ({"field": "year", "gt": 2024}, False),
        ({"field": "year", "gt": 2020, "lt": 2030}, True),
        ({"field": "year", "gt": 2020, "lt": 2022}, False),
        ({"field": "year", "eq": 2024.0}, True),
        ({"field": "year", "eq": "2024"}, False),
        ({"field": "year", "ne": "2024"}, True),
        ({"field": "lang", "in": ["de", "en"]}, True),
        ({"field": "lang", "lt": "f"}, True),
        ({"field": "draft", "eq": True}, True),
        ({"field": "draft", "eq": 1}, False),
        ({"field": "tags", "eq": "a"}, True),
        ({"field": "tags", "in": ["b", 1]}, True),
        ({"field": "tags", "eq": True}, False),
        ({"field": "tags", "ne": "b"}, True),
        ({"field": "tags", "gt": 0}, False),
        ({"field": "none", "exists": True}, True),
        ({"field": "missing", "exists": False}, True),
        ({"field": "missing", "ne": 1}, True),
        ({"field": "missing", "lt": 1}, False),
        ({"not": {"field": "missing", "lt": 1}}, True),
        ({"field": "title", "eq": "Title of guide"}, True),
        ({"field": "metadata.title", "eq": "own"}, True),
        ({"field": "page", "in": [3, 4]}, True),
        ({"field": "page", "lt": 3}, False),
        ({"field": "ingested_at", "gt": "2023-11-14"}, True),
        ({"field": "ingested_at", "gt": "2023-11-14T23:13:20+01:00"}, True),
        ({"field": "ingested_at", "gt": 1_700_000_001}, False),
        ({"or": [{"field": "year", "lt": 0}, {"field": "lang", "eq": "en"}]}, True),
        ({"and": [{"field": "year", "gt": 0}, {"not": {"field": "lang", "eq": "en"}}]}, False),
    ],
)
def test_a_filter_means_what_it_says(source: dict[str, object], passes: bool) -> None:
    assert _passes(source) is passes


DEEP: dict[str, Any] = {"field": "year", "eq": 1}
for _ in range(8):
    DEEP = {"not": DEEP}


@pytest.mark.parametrize(
    ("source", "path", "says"),
    [
        ({}, "filter", "expected"),
        ({"year": 2024}, "filter", "'year'"),
        ({"field": "year"}, "filter", "no operator"),
        ({"field": "year", "like": "x"}, "filter.like", "unknown operator 'like'"),
        ({"field": 5, "eq": 1}, "filter.field", "name"),
        ({"field": 'x"] or true', "eq": 1}, "filter.field", "cannot be filtered"),
        ({"field": "", "eq": 1}, "filter.field", "cannot be filtered"),
        ({"field": "year", "eq": None}, "filter.eq", "expected a text"),
        ({"field": "year", "eq": [1]}, "filter.eq", "expected a text"),
        ({"field": "year", "eq": 2**60}, "filter.eq", "2^53"),
        ({"field": "year", "eq": float("nan")}, "filter.eq", "finite"),
        ({"field": "lang", "eq": "a\x00"}, "filter.eq", "control"),
        ({"field": "lang", "eq": "\ud800"}, "filter.eq", "surrogate"),
        ({"field": "lang", "eq": "x" * 2000}, "filter.eq", "longer"),
        ({"field": "draft", "gt": True}, "filter.gt", "order"),
        ({"field": "lang", "in": []}, "filter.in", "at least one"),
        ({"field": "lang", "in": "en"}, "filter.in", "list"),
        ({"field": "lang", "in": ["a", {}]}, "filter.in[1]", "expected"),
        ({"field": "lang", "in": ["a"] * 101}, "filter.in", "more than 100"),
        ({"field": "lang", "exists": 1}, "filter.exists", "true or false"),
        ({"field": "title", "eq": 1}, "filter.eq", "title is a text"),
        ({"field": "page", "eq": "1"}, "filter.eq", "page is a number"),
        ({"field": "ingested_at", "gt": "soon"}, "filter.gt", "ISO 8601"),
        ({"and": []}, "filter.and", "at least one"),
        ({"or": {"field": "a", "eq": 1}}, "filter.or", "list"),
        ({"and": [{"field": "a", "eq": 1}, 7]}, "filter.and[1]", "object"),
        ({"and": [{"field": "a", "eq": 1}] * 65}, "filter.and[64].eq", "more than 64"),
        (DEEP, "filter" + ".not" * 8, "deeper"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong_and_where(
    source: dict[str, object], path: str, says: str
) -> None:
    with pytest.raises(InvalidFilter) as error:
        parse(source)
    assert error.value.details["path"] == path
    assert error.value.message.startswith(path + ": ")
    assert says in error.value.message
    assert pickle.loads(pickle.dumps(error.value)).message == error.value.message


def test_a_filter_as_an_expression() -> None:
    tree = parse({"and": [{"field": "year", "gte": 2024}, {"field": "title", "ne": 'a"b'}]})
    assert expression(tree) == '(($meta["n:year"] >= 2024) and (not (title == "a\\"b")))'
    assert visible(None, frozenset()) == ""
    assert visible(None, frozenset({3, 1})) == "version not in [1, 3]"
    assert visible(tree, {2}) == expression(tree) + " and version not in [2]"


@given(st.text())
def test_a_quoted_text_ends_where_it_should(text: str) -> None:
    literal = quoted(text)
    assert not {"\n", "\r"} & set(literal)
    inner = literal[1:-1]
    escaped = False
    for character in inner:
        assert escaped or character != '"'
        escaped = character == "\\" and not escaped
    assert not escaped


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["field", "and", "or", "not", "eq", "in", "gt", "exists", "year"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["field", "and", "or", "not", "eq", "in"]), JSON))
def test_any_json_is_a_filter_or_is_refused(source: dict[str, Any]) -> None:
    try:
        tree = parse(source)
    except InvalidFilter:
        return
    expression(tree)
    matches(tree, CHUNK)
