"""Embeddings by the official client."""

from __future__ import annotations

import asyncio

import numpy as np
import openai
import pytest
from served_room import DIMENSION, EMBEDDING_MODEL, eventually

from deployments.contracts.embedding import Lane

TEXTS = ["bread and butter", "a ferry in summer", "the tower of the lighthouse"]


def embed(client, texts, **more):
    return client.embeddings.create(**({"model": EMBEDDING_MODEL, "input": texts} | more))


def test_a_list_of_texts_gives_the_models_own_vectors_in_order(room, client):
    answer = embed(client, TEXTS)
    vectors = np.array([item.embedding for item in answer.data], np.float32)
    own = asyncio.run(room.embedder.embed(TEXTS))
    np.testing.assert_array_equal(vectors, own)
    assert [item.index for item in answer.data] == [0, 1, 2]
    assert answer.model == EMBEDDING_MODEL
    assert answer.usage.total_tokens == answer.usage.prompt_tokens > 0


def test_numbers_and_base64_say_the_same(client):
    plain = embed(client, TEXTS, encoding_format="float").data
    # The client asks for base64 of its own accord, and reads it.
    packed = embed(client, TEXTS).data
    assert [item.embedding for item in plain] == [item.embedding for item in packed]
    raw = client.embeddings.with_raw_response.create(
        model=EMBEDDING_MODEL, input="bread", encoding_format="base64"
    )
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str)


def test_one_text_goes_before_many(room, client):
    embed(client, TEXTS[0])
    embed(client, TEXTS)
    assert room.embedder.calls == [(1, Lane.QUERY), (3, Lane.INGESTION)]


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_token_ids_are_refused_with_the_reason(client, tokens):
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length") as refused:
        embed(client, tokens)
    assert refused.value.param == "input"


@pytest.mark.parametrize("texts", [[], [""], ["a", ""], "", ["a"] * 2049])
def test_no_text_and_too_many_are_refused(client, texts):
    with pytest.raises(openai.BadRequestError) as refused:
        embed(client, texts)
    assert refused.value.param == "input"


def test_as_many_texts_as_openai_takes_are_taken(client):
    assert len(embed(client, ["a"] * 2048).data) == 2048


def test_only_the_models_own_dimension_is_given(client):
    assert len(embed(client, "a", dimensions=DIMENSION).data[0].embedding) == DIMENSION
    with pytest.raises(openai.BadRequestError) as refused:
        embed(client, "a", dimensions=32)
    assert refused.value.param == "dimensions"


def test_another_models_name_is_not_found(client):
    for model in ("text-embedding-3-small", "rag:handbook"):
        with pytest.raises(openai.NotFoundError) as refused:
            embed(client, "a", model=model)
        assert refused.value.code == "model_not_found"


def test_leaving_stops_the_work(room, client):
    room.embedder.delay_s = 30
    with pytest.raises(openai.APITimeoutError):
        embed(client, TEXTS, timeout=0.3)
    eventually(lambda: room.embedder.cancelled == 1)
