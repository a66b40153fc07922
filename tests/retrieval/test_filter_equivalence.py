"""A filter finds the same rows in Milvus as in memory, whatever is in the filter and the rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from chunk_samples import axis, chunk, collection, document, stacked
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.contracts.retrieval import Chunk, SearchMode, SearchRequest
from deployments.retrieval.filters import parse
from deployments.retrieval.milvus import MilvusStore
from deployments.retrieval.predicates import matches

HOSTILE = [
    'a"b',
    "a'b",
    "back\\slash",
    "\\",
    '" or true or "',
    '\\" or 1 == 1 or "',
    "line\nbreak\r\n\ttab",
    "ünïcode 🐝 \u2028",
    "%",
    "{x}",
    "",
    "en",
]
NAME = "filter_equivalence"
KEYS = ["year", "lang", "tags", "a.b-c", "_x", "and", "n"]

text = st.sampled_from(HOSTILE)
number = st.sampled_from([0, 1, -1, 2024, 2.5, -0.5, 1e-7, 1e300, 2**53])
scalar = text | number | st.booleans()
kept = scalar | st.lists(scalar, max_size=3)
metadata = st.dictionaries(st.sampled_from(KEYS), kept, max_size=4)


def _one(field: st.SearchStrategy[str], value: Any, ordered: Any) -> st.SearchStrategy[Any]:
    equal = st.tuples(field, st.sampled_from(["eq", "ne"]), value)
    ranged = st.tuples(field, st.sampled_from(["gt", "gte", "lt", "lte"]), ordered)
    within = st.tuples(field, st.just("in"), st.lists(value, min_size=1, max_size=3))
    there = st.tuples(field, st.just("exists"), st.booleans())
    return (equal | ranged | within | there).map(lambda t: {"field": t[0], t[1]: t[2]})


condition = (
    _one(st.sampled_from(KEYS), scalar, text | number)
    | _one(st.sampled_from(["title", "source", "document_id", "content_type"]), text, text)
    | _one(st.sampled_from(["page", "ingested_at"]), number, number)
)
a_filter = st.recursive(
    condition,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"and": parts})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"or": parts})
        | inner.map(lambda part: {"not": part})
    ),
    max_leaves=4,
)


def _rows() -> list[Chunk]:
    """Every hostile text in every place, every type under every key, and rows without any."""
    values: list[Any] = [*HOSTILE, 0, 1, 2024, 2.5, -1, True, False, ["en", 1], [True, ""], []]
    rows = []
    for i in range(len(values)):
        of = document(
            f"d{i}",
            title=HOSTILE[i % len(HOSTILE)],
            source=HOSTILE[(i + 5) % len(HOSTILE)],
            ingested_at_s=float(i),
            metadata={key: values[(i + n) % len(values)] for n, key in enumerate(KEYS[: i % 8])},
        )
        rows.append(chunk(of, page=None if i % 3 == 0 else i % 4))
    return rows


ROWS = _rows()


@pytest.fixture(scope="session", params=["unflushed", "flushed"])
async def filled(request: pytest.FixtureRequest, milvus_store: MilvusStore) -> AsyncIterator[str]:
    """The rows in Milvus, which reads them in another way once they are flushed."""
    name = f"{NAME}_{request.param}"
    await milvus_store.create_collection(collection(name))
    await milvus_store.upsert(name, ROWS, stacked(*(axis(0) for _ in ROWS)))
    if request.param == "flushed":
        await milvus_store._lite.close()
    else:
        milvus_store._lite.forget(f"ragserve_{name}")
    yield name
    await milvus_store.drop_collection(name)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(source=a_filter)
async def test_a_filter_finds_the_same_in_milvus_as_in_memory(
    filled: str, milvus_store: MilvusStore, source: dict[str, Any]
) -> None:
    tree = parse(source)
    expected = {row.id for row in ROWS if matches(tree, row)}
    for mode in (SearchMode.DENSE, SearchMode.LEXICAL):
        request = SearchRequest(filled, "text", axis(0), mode, limit=100, filter=source)
        found = await milvus_store.search(request)
        assert {passage.chunk.id for passage in found} == expected


async def test_metadata_of_any_kind_comes_back_as_it_was(
    filled: str, milvus_store: MilvusStore
) -> None:
    found = await milvus_store.search(
        SearchRequest(filled, "text", axis(0), SearchMode.DENSE, limit=100)
    )
    assert sorted((p.chunk for p in found), key=lambda c: c.id) == sorted(ROWS, key=lambda c: c.id)
