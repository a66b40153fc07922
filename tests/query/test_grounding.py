from __future__ import annotations

from dataclasses import replace

import pytest
from query_room import WordsEmbedder, document

from deployments.contracts.embedding import Vectors
from deployments.contracts.retrieval import Chunk, Passage
from deployments.query.citations import MarkerFilter, answer_sentences
from deployments.query.evidence import SentenceVectors, compare, weigh
from deployments.query.extract import extract
from deployments.query.grounding import Grounding, claims, ground


def chunk(key: str, text: str) -> Chunk:
    return Chunk(key, 0, text, document(7, "C", 1))


PASSAGES = [
    Passage(
        Chunk(
            "a", 0, "The trash keeps files for 45 days. Buckets are encrypted.", document(1, "A", 1)
        ),
        1.0,
    ),
    Passage(
        Chunk(
            "b",
            0,
            "Backups are copied to Lyon every night. Restoring needs a ticket.",
            document(2, "B", 1),
        ),
        0.9,
    ),
]


async def grounded(
    raw: str, question: str = "What happens to files?", *, vectors: bool = True
) -> tuple[str, Grounding]:
    markers = MarkerFilter(len(PASSAGES))
    text = markers.feed(raw) + markers.flush()
    sentences = answer_sentences(text, markers.markers)
    evidence = weigh(question, PASSAGES, 40)
    embedder = WordsEmbedder()
    rows: Vectors | None = None
    if vectors:
        texts = [sentence.text for sentence in evidence.sentences]
        asked = (await embedder.embed([question]))[0]
        evidence = compare(evidence, await SentenceVectors(embedder).of(texts), asked)
        rows = await embedder.embed(claims(question, sentences))
    return text, ground(question, sentences, rows, evidence, PASSAGES)


@pytest.mark.parametrize("vectors", [True, False])
async def test_each_sentence_is_attributed_to_the_words_that_support_it(vectors: bool) -> None:
    raw = "Trash keeps the files for 45 days. Every night backups are copied to Lyon."
    text, result = await grounded(raw, vectors=vectors)
    assert [c.passage for c in result.citations] == [1, 2]
    quotes = [
        PASSAGES[c.passage - 1].chunk.text[c.quote_start : c.quote_end] for c in result.citations
    ]
    assert quotes == [
        "The trash keeps files for 45 days.",
        "Backups are copied to Lyon every night.",
    ]
    assert [text[s.start : s.end] for s in result.sentences] == [
        "Trash keeps the files for 45 days.", "Every night backups are copied to Lyon.",
    ]  # fmt: skip


@pytest.mark.parametrize("vectors", [True, False])
async def test_a_number_the_passage_does_not_hold_is_not_supported(vectors: bool) -> None:
    _, right = await grounded("The trash keeps files for 45 days.", vectors=vectors)
    _, wrong = await grounded("The trash keeps files for 90 days.", vectors=vectors)
    assert right.sentences[0].grounded
    assert not wrong.sentences[0].grounded
    assert wrong.citations == ()


async def test_a_wrong_marker_of_the_model_stays_its_own_and_the_platform_adds_the_right_one() -> (
    None
):
    _, result = await grounded("The trash keeps files for 45 days [2].")
    assert [(c.passage, c.origin) for c in result.citations] == [(2, "model"), (1, "platform")]


async def test_a_right_marker_needs_no_second_citation() -> None:
    _, result = await grounded("The trash keeps files for 45 days [1].")
    assert [(c.passage, c.origin) for c in result.citations] == [(1, "model")]


async def test_a_short_answer_is_read_together_with_the_question() -> None:
    _, result = await grounded("45 days.", "How long are files kept in the trash?")
    assert result.sentences[0].grounded


async def test_a_sentence_that_says_nothing_is_not_judged() -> None:
    _, result = await grounded("Yes. The trash keeps files for 45 days.")
    assert len(result.sentences) == 1


async def test_an_empty_answer_has_no_support() -> None:
    _, result = await grounded("")
    assert result == Grounding()


def test_an_extract_quotes_the_sentence_with_the_asked_words_once() -> None:
    copies = [
        *PASSAGES,
        Passage(Chunk("c", 0, "The trash keeps files for 45 days!", document(3, "C", 1)), 0.8),
    ]
    quoted = extract(weigh("How long does the trash keep files?", copies, 40))
    assert quoted.text == "The trash keeps files for 45 days."
    assert quoted.grounding.score == 1.0


def test_no_evidence_gives_no_extract() -> None:
    assert extract(weigh("Why?", [], 40)).text == ""


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_the_number_of_sentences_weighed_is_bounded_and_shared(limit: int) -> None:
    evidence = weigh(
        "Where are backups copied and how long does the trash keep files?", PASSAGES, limit
    )
    assert len(evidence.sentences) == limit
    if limit > 1:
        assert {sentence.passage for sentence in evidence.sentences} == {1, 2}


async def test_a_sentence_is_embedded_once_and_the_least_used_forgotten() -> None:
    embedder = WordsEmbedder()
    vectors = SentenceVectors(embedder, keep=2)
    await vectors.of(["one", "two", "one"])
    await vectors.of(["one", "three"])
    await vectors.of(["one", "two"])
    assert embedder.calls == [["one", "two"], ["three"], ["two"]]


def test_a_sentence_of_the_better_found_passage_is_quoted_first() -> None:
    """The words of the question stand in a passage that a search found much less fitting."""
    found = [
        Passage(chunk("ports", "HTTP is on 3400, the edge on 8202 and 8201."), 0.62),
        Passage(chunk("other", "Which ports the appliance uses depends on the appliance."), 0.31),
    ]
    quoted = extract(weigh("Which ports does the server use?", found, 40))
    assert quoted.text.startswith("HTTP is on 3400")


async def test_a_sentence_is_compared_together_with_its_heading() -> None:
    below = replace(chunk("ports", "3400, 8202 and 8201."), heading="Set-up > Open ports")
    evidence = weigh("Which ports are open?", [Passage(below, 0.5)], 40)
    assert [sentence.in_context for sentence in evidence.sentences] == [
        "Open ports\n3400, 8202 and 8201."
    ]
    assert evidence.sentences[0].text == "3400, 8202 and 8201."
