"""What every vector store does, checked on the real one and on its twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from chunk_samples import (
    DIMENSION,
    MODEL,
    axis,
    chunk,
    collection,
    document,
    stacked,
    with_metadata,
)

from deployments.contracts.retrieval import Fusion, SearchMode, SearchRequest, VectorStore
from deployments.errors import (
    CollectionExists,
    CollectionNotFound,
    InvalidFilter,
    InvalidRequest,
)

BEES = "Bees make honey in the hive."
WASPS = "Wasps build paper nests under the roof."
TRAINS = "Trains leave the station on time."


async def _fill(store: VectorStore, name: str) -> None:
    texts = {"bees": BEES, "wasps": WASPS, "trains": TRAINS}
    chunks = [chunk(document(key), text=text) for key, text in texts.items()]
    await store.upsert(name, chunks, stacked(axis(0), axis(0, 0.5), axis(4)))


def _search(name: str, mode: SearchMode, text: str = "honey", **changes: object) -> SearchRequest:
    request = SearchRequest(name, text, axis(0), mode)
    return replace(request, **changes)  # type: ignore[arg-type]


async def test_a_collection_is_recalled_as_it_was_created(store: VectorStore, name: str) -> None:
    assert await store.get_collection(name) == collection(name)
    assert collection(name) in await store.list_collections()


async def test_a_name_is_given_once(store: VectorStore, name: str) -> None:
    with pytest.raises(CollectionExists):
        await store.create_collection(collection(name))


async def test_a_dropped_collection_is_gone_and_its_name_free(
    store: VectorStore, name: str
) -> None:
    await _fill(store, name)
    await store.drop_collection(name)
    with pytest.raises(CollectionNotFound):
        await store.search(_search(name, SearchMode.DENSE))
    await store.create_collection(collection(name))
    assert await store.count_chunks(name) == 0


async def test_a_collection_made_anew_may_have_another_dimension(
    store: VectorStore, name: str
) -> None:
    await _fill(store, name)
    await store.drop_collection(name)
    await store.create_collection(replace(collection(name), model=replace(MODEL, dimension=3)))
    await store.upsert(name, [chunk(document("a"))], np.ones((1, 3), np.float32))
    found = await store.search(_search(name, SearchMode.DENSE, vector=np.ones(3, np.float32)))
    assert [passage.chunk.document.id for passage in found] == ["a"]


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.get_collection("missing"),
        lambda store: store.drop_collection("missing"),
        lambda store: store.upsert("missing", [chunk(document("a"))], stacked(axis(0))),
        lambda store: store.delete_version("missing", 1),
        lambda store: store.search(_search("missing", SearchMode.HYBRID)),
        lambda store: store.get_chunks("missing", "a", 1, [0]),
        lambda store: store.find_documents("missing", "a"),
        lambda store: store.list_documents("missing"),
        lambda store: store.count_chunks("missing"),
        lambda store: store.count_documents("missing", frozenset({1})),
    ],
)
async def test_a_missing_collection_is_said_to_be_missing(store: VectorStore, call: object) -> None:
    with pytest.raises(CollectionNotFound) as error:
        await call(store)  # type: ignore[operator]
    assert "missing" in error.value.message


async def test_a_chunk_comes_back_whole(store: VectorStore, name: str) -> None:
    metadata = {"year": 2024, "ratio": 0.5, "draft": True, "lang": "en", "tags": ["a", 1, False]}
    whole = chunk(
        document(
            "whole", chunks=2, metadata=metadata, title='The "title"\nof \\it', size_bytes=2**40
        ),
        number=1,
        text="Ünïcode 🐝 and\nnewlines \x00 too",
        page=7,
    )
    await store.upsert(name, [whole], stacked(axis(0)))
    (found,) = await store.search(_search(name, SearchMode.DENSE))
    assert found.chunk == whole
    assert await store.get_chunks(name, "whole", 1, [1]) == [whole]


async def test_a_dense_search_ranks_by_cosine(store: VectorStore, name: str) -> None:
    await _fill(store, name)
    found = await store.search(_search(name, SearchMode.DENSE, limit=2))
    assert [passage.chunk.document.id for passage in found] == ["bees", "wasps"]
    assert found[0].score == pytest.approx(1.0, abs=1e-4)
    assert found[1].score == pytest.approx(1 / np.sqrt(1.25), abs=1e-4)
    assert all(p.dense_score == p.score and p.lexical_score is None for p in found)


async def test_a_lexical_search_finds_the_words_and_needs_no_vector(
    store: VectorStore, name: str
) -> None:
    await _fill(store, name)
    found = await store.search(_search(name, SearchMode.LEXICAL, "PAPER roof", vector=None))
    assert [passage.chunk.document.id for passage in found] == ["wasps"]
    assert found[0].lexical_score == found[0].score > 0
    assert found[0].dense_score is None


@pytest.mark.parametrize("text", ["", "the and of", "?!", "zeppelin"])
async def test_a_lexical_search_without_known_words_finds_nothing(
    store: VectorStore, name: str, text: str
) -> None:
    await _fill(store, name)
    assert await store.search(_search(name, SearchMode.LEXICAL, text)) == []


@pytest.mark.parametrize("fusion", list(Fusion))
async def test_a_hybrid_search_reports_both_scores(
    store: VectorStore, name: str, fusion: Fusion
) -> None:
    await _fill(store, name)
    found = await store.search(_search(name, SearchMode.HYBRID, "trains", fusion=fusion))
    by_id = {passage.chunk.document.id: passage for passage in found}
    assert set(by_id) == {"bees", "wasps", "trains"}
    assert by_id["trains"].lexical_score is not None
    assert by_id["bees"].lexical_score is None
    assert by_id["bees"].dense_score == pytest.approx(1.0, abs=1e-4)
    assert [p.score for p in found] == sorted((p.score for p in found), reverse=True)


async def test_the_lexical_weight_decides_between_words_and_vectors(
    store: VectorStore, name: str
) -> None:
    await _fill(store, name)
    for weight, first in ((0.0, "bees"), (0.25, "bees"), (1.0, "trains")):
        found = await store.search(
            _search(name, SearchMode.HYBRID, "trains", lexical_weight=weight, limit=1)
        )
        assert [passage.chunk.document.id for passage in found] == [first]


async def test_more_of_the_words_make_a_better_match(store: VectorStore, name: str) -> None:
    texts = {
        "one": "honey and wax",
        "two": "honey honey bees",
        "none": "trains",
        "all": "honey bees hive",
    }
    chunks = [chunk(document(key), text=text) for key, text in texts.items()]
    await store.upsert(name, chunks, stacked(*(axis(i) for i in range(4))))
    for mode, weight in ((SearchMode.LEXICAL, 0.0), (SearchMode.HYBRID, 1.0)):
        found = await store.search(
            _search(name, mode, "honey bees hive", vector=axis(7), lexical_weight=weight)
        )
        assert [p.chunk.document.id for p in found][:2] == ["all", "two"]


async def test_equal_scores_keep_one_order(store: VectorStore, name: str) -> None:
    chunks = [chunk(document(key), text="same words") for key in ("c", "a", "b")]
    await store.upsert(name, chunks, stacked(axis(0), axis(0), axis(0)))
    for mode in SearchMode:
        found = await store.search(_search(name, mode, "words"))
        assert [passage.chunk.document.id for passage in found] == ["a", "b", "c"]


async def test_hidden_versions_are_in_no_answer(store: VectorStore, name: str) -> None:
    for version in (1, 2):
        of = document("doc", version, chunks=2)
        chunks = [chunk(of, number, text="honey") for number in (0, 1)]
        await store.upsert(name, chunks, stacked(axis(0), axis(1)))
    hidden = frozenset({1, 77})
    for mode in SearchMode:
        found = await store.search(_search(name, mode, hidden_versions=hidden))
        assert {passage.chunk.document.version for passage in found} == {2}
        assert len(found) == 2
    assert await store.count_chunks(name) == 4
    assert await store.count_chunks(name, hidden) == 2
    assert await store.count_documents(name) == 2
    assert await store.count_documents(name, hidden) == 1
    listed = await store.list_documents(name, hidden_versions=hidden)
    assert [document.version for document in listed] == [2]


async def test_deleting_a_version_leaves_the_others(store: VectorStore, name: str) -> None:
    for version in (1, 2):
        await store.upsert(name, [chunk(document("doc", version))], stacked(axis(0)))
    await store.delete_version(name, 1)
    await store.delete_version(name, 99)
    found = await store.search(_search(name, SearchMode.DENSE))
    assert [passage.chunk.document.version for passage in found] == [2]
    assert await store.count_chunks(name) == 1
    assert await store.find_documents(name, "doc") == [document("doc", 2)]


async def test_writing_a_chunk_again_replaces_it(store: VectorStore, name: str) -> None:
    of = document("doc", metadata={"year": 1, "tags": ["old"]})
    await store.upsert(name, [chunk(of, text="honey")], stacked(axis(0)))
    new = chunk(replace(of, metadata={"lang": "en"}), text="wax")
    await store.upsert(name, [new], stacked(axis(3)))
    assert await store.count_chunks(name) == 1
    assert await store.search(_search(name, SearchMode.LEXICAL, "honey")) == []
    (found,) = await store.search(_search(name, SearchMode.DENSE, vector=axis(3)))
    assert found.chunk == new
    assert found.score == pytest.approx(1.0, abs=1e-4)
    kept = await store.search(
        _search(name, SearchMode.DENSE, filter={"field": "year", "exists": True})
    )
    assert kept == []


async def test_chunks_are_fetched_by_number_in_order(store: VectorStore, name: str) -> None:
    of = document('doc\'s "own"', 3, chunks=5)
    chunks = [chunk(of, number) for number in range(5)]
    await store.upsert(name, chunks, stacked(*(axis(i) for i in range(5))))
    found = await store.get_chunks(name, of.id, 3, [3, 1, 9, 1])
    assert found == [chunks[1], chunks[3]]
    assert await store.get_chunks(name, of.id, 2, [1]) == []
    assert await store.get_chunks(name, of.id, 3, []) == []


async def test_documents_are_listed_by_title_in_pages(store: VectorStore, name: str) -> None:
    titles = ["pear", "apple", "fig", "apple"]
    documents = [document(f"d{i}", title=title, chunks=2) for i, title in enumerate(titles)]
    chunks = [chunk(of, number) for of in documents for number in (0, 1)]
    await store.upsert(name, chunks, stacked(*(axis(i) for i in range(8))))
    listed = [d.id for d in await store.list_documents(name)]
    assert listed == ["d1", "d3", "d2", "d0"]
    pages = [await store.list_documents(name, offset=o, limit=3) for o in (0, 3, 6)]
    assert [[d.id for d in page] for page in pages] == [["d1", "d3", "d2"], ["d0"], []]


async def test_every_version_of_a_document_is_found_oldest_first(
    store: VectorStore, name: str
) -> None:
    for version in (9, 2, 4):
        of = document("doc", version, chunks=2)
        await store.upsert(name, [chunk(of, 1), chunk(of)], stacked(axis(0), axis(1)))
    found = await store.find_documents(name, "doc")
    assert [d.version for d in found] == [2, 4, 9]
    assert await store.find_documents(name, "other") == []


async def test_a_filter_narrows_every_mode(store: VectorStore, name: str) -> None:
    chunks = [
        with_metadata("old", {"year": 1999, "tags": ["x"]}),
        with_metadata("new", {"year": 2024, "tags": ["y", "z"]}),
        with_metadata("undated", {}),
    ]
    await store.upsert(name, chunks, stacked(axis(0), axis(0), axis(0)))
    for narrowed, expected in (
        ({"field": "year", "gte": 2000}, {"new"}),
        ({"field": "tags", "in": ["x", "z"]}, {"old", "new"}),
        ({"not": {"field": "year", "lt": 2000}}, {"new", "undated"}),
        ({"field": "document_id", "ne": "old"}, {"new", "undated"}),
    ):
        for mode in SearchMode:
            found = await store.search(_search(name, mode, "text", filter=narrowed))
            assert {passage.chunk.document.id for passage in found} == expected


async def test_a_filter_finds_a_row_by_its_own_columns_and_its_documents(
    store: VectorStore, name: str
) -> None:
    table = document("table", chunks=3, metadata={"team": "birds", "shared": "document"})
    rows = [replace(chunk(table, n), metadata={"wingspan": n, "shared": "row"}) for n in range(3)]
    await store.upsert(name, rows, stacked(axis(0), axis(0), axis(0)))
    for narrowed, expected in (
        ({"field": "wingspan", "gte": 1}, {1, 2}),
        ({"field": "team", "eq": "birds"}, {0, 1, 2}),
        ({"field": "shared", "eq": "row"}, set()),
    ):
        found = await store.search(_search(name, SearchMode.DENSE, filter=narrowed))
        assert {passage.chunk.number for passage in found} == expected
    (second,) = await store.get_chunks(name, "table", 1, [1])
    assert second == rows[1]
    assert await store.list_documents(name) == [table]


async def test_a_filter_that_is_wrong_is_refused(store: VectorStore, name: str) -> None:
    with pytest.raises(InvalidFilter):
        await store.search(_search(name, SearchMode.DENSE, filter={"field": "year", "is": 1}))


@pytest.mark.parametrize(
    "changes",
    [
        {"vector": None},
        {"vector": np.ones(DIMENSION + 1, np.float32)},
        {"limit": 0},
        {"candidates": 100_000},
        {"lexical_weight": 1.5},
    ],
)
async def test_a_search_that_cannot_be_answered_is_refused(
    store: VectorStore, name: str, changes: dict[str, object]
) -> None:
    with pytest.raises(InvalidRequest):
        await store.search(_search(name, SearchMode.HYBRID, **changes))


async def test_what_cannot_be_stored_is_refused(store: VectorStore, name: str) -> None:
    good = chunk(document("a"))
    for chunks, vectors in (
        ([good], np.ones((1, DIMENSION + 1), np.float32)),
        ([good], np.ones((2, DIMENSION), np.float32)),
        ([chunk(document("a"), text="é" * 40_000)], stacked(axis(0))),
        ([with_metadata("a", {"note": "x" * 70_000})], stacked(axis(0))),
    ):
        with pytest.raises(InvalidRequest):
            await store.upsert(name, chunks, vectors)
    assert await store.count_chunks(name) == 0


async def test_broken_unicode_and_endless_titles_do_not_fail_a_document(
    store: VectorStore, name: str
) -> None:
    of = document("a", title="é" * 5_000)
    await store.upsert(name, [chunk(of, text="half a \ud83d bee")], stacked(axis(0)))
    (found,) = await store.search(_search(name, SearchMode.DENSE))
    assert found.chunk.text == "half a ? bee"
    assert of.title.startswith(found.chunk.document.title)


async def test_nothing_to_write_is_fine(store: VectorStore, name: str) -> None:
    await store.upsert(name, [], np.zeros((0, DIMENSION), np.float32))
    assert await store.count_chunks(name) == 0


async def test_a_living_store_answers_a_ping(store: VectorStore) -> None:
    await store.ping()


async def test_the_nearest_of_three_thousand_chunks_are_found(
    store: VectorStore, name: str
) -> None:
    random = np.random.default_rng(7)
    vectors = random.standard_normal((3_000, DIMENSION)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    documents = [document(f"d{i}", chunks=30) for i in range(100)]
    chunks = [chunk(documents[i // 30], i % 30, text=f"word{i} common") for i in range(3_000)]
    await store.upsert(name, chunks, vectors)
    assert await store.count_chunks(name) == 3_000
    assert await store.count_documents(name) == 100
    query = vectors[1234]
    exact = np.argsort(-(vectors @ query))[:10]
    found = await store.search(_search(name, SearchMode.DENSE, vector=query, limit=10))
    overlap = {p.chunk.id for p in found} & {chunks[i].id for i in exact}
    assert len(overlap) >= 9
    assert found[0].chunk.id == chunks[1234].id
    (only,) = await store.search(_search(name, SearchMode.LEXICAL, "word77"))
    assert only.chunk.id == chunks[77].id
