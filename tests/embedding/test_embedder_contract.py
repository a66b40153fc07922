"""What every embedder of our own promises; the remote ones have a suite beside their servers."""

from __future__ import annotations

import asyncio

import numpy as np
from any_embedder import AnyEmbedder

from deployments.contracts.embedding import Lane

TEXTS = [
    "The cat sat on the mat.",
    "Shares fell as the central bank raised its interest rate for the third time this year.",
    "?",
    "Ein Satz mit Umlauten: Grüße aus Zürich.",
    "The warranty covers repairs for two years after purchase. " * 20,
]


async def test_vectors_are_float32_of_length_one_and_of_the_models_dimension(
    embedder: AnyEmbedder,
) -> None:
    vectors = await embedder.embed(TEXTS)

    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), (await embedder.model()).dimension)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


async def test_each_text_gets_its_own_vector_whatever_it_is_sent_with(
    embedder: AnyEmbedder,
) -> None:
    together = await embedder.embed(TEXTS)
    alone = np.concatenate([await embedder.embed([text]) for text in TEXTS])

    similarity = together @ alone.T
    assert similarity.argmax(axis=1).tolist() == list(range(len(TEXTS)))
    # int8 activations share one scale a batch, so that company moves a vector.
    assert similarity.diagonal().min() > 0.94


async def test_no_texts_give_no_vectors(embedder: AnyEmbedder) -> None:
    vectors = await embedder.embed([])

    assert vectors.shape == (0, (await embedder.model()).dimension)
    assert await embedder.token_vectors([]) == []


async def test_an_empty_text_has_a_vector(embedder: AnyEmbedder) -> None:
    assert np.isclose(np.linalg.norm(await embedder.embed([""])), 1, atol=1e-5)


async def test_a_text_longer_than_the_model_takes_is_cut(embedder: AnyEmbedder) -> None:
    limit = (await embedder.model()).max_tokens
    long, longer = await embedder.embed(["word " * limit * 2, "word " * limit * 3])

    assert np.allclose(long, longer, atol=1e-3)
    assert len((await embedder.token_vectors(["word " * limit * 2]))[0]) <= limit


async def test_a_text_is_nearer_to_one_about_the_same_than_to_another(
    embedder: AnyEmbedder,
) -> None:
    asked, same, other = await embedder.embed(
        ["The cat sat on the mat", "A cat on a mat", "Interest rates rose sharply"]
    )

    assert asked @ same > asked @ other + 0.2


async def test_token_vectors_are_unit_rows_one_a_token(embedder: AnyEmbedder) -> None:
    short, long = await embedder.token_vectors(["cats", "the cats sat on many mats"])

    assert len(short) < len(long)
    assert np.allclose(np.linalg.norm(long, axis=1), 1, atol=1e-3)
    assert short.dtype == np.float32


async def test_many_callers_at_once_each_get_their_own(embedder: AnyEmbedder) -> None:
    lanes = [Lane.QUERY, Lane.INGESTION]
    answers = await asyncio.gather(
        *(embedder.embed([text], lanes[i % 2]) for i, text in enumerate(TEXTS * 3))
    )
    together = await embedder.embed(TEXTS)

    for index, answer in enumerate(answers):
        assert (answer @ together.T).argmax() == index % len(TEXTS)
