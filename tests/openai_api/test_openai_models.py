"""Which models a caller sees."""

from __future__ import annotations

import openai
import pytest
from served_room import EMBEDDING_MODEL, LANGUAGE_MODEL


def test_a_caller_sees_the_engines_and_their_own_collections(client):
    assert [model.id for model in client.models.list()] == [
        LANGUAGE_MODEL,
        EMBEDDING_MODEL,
        "rag:handbook",
    ]
    visitor = client.with_options(api_key="key-of-a-visitor")
    assert "rag:handbook" not in {model.id for model in visitor.models.list()}


@pytest.mark.parametrize("name", [LANGUAGE_MODEL, EMBEDDING_MODEL, "rag:handbook"])
def test_one_model_is_described(client, name):
    model = client.models.retrieve(name)
    assert model.id == name
    assert model.object == "model"
    assert model.owned_by == "ragserve"


def test_a_collections_age_is_its_models(client):
    assert client.models.retrieve("rag:handbook").created == 1_700_000_000


@pytest.mark.parametrize("name", ["rag:harbour", "rag:nowhere", "gpt-4o"])
def test_a_model_that_is_not_the_callers_is_not_found(client, name):
    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve(name)
    assert refused.value.code == "model_not_found"


def test_models_are_listed_while_the_language_model_is_out(room, client):
    from deployments.errors import GenerationUnavailable

    async def out():
        raise GenerationUnavailable("out")

    room.generator.model = out
    assert [m.id for m in client.models.list()] == [EMBEDDING_MODEL, "rag:handbook"]
