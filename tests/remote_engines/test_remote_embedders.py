"""What the embedders that ask a server owe their caller."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest
from protocol_servers.ollama_server import vector
from protocol_servers.serving import Fault
from served_embedders import Served

from deployments.contracts.embedding import EmbeddingModel, Lane
from deployments.embedding.ollama import OllamaEmbedder
from deployments.embedding.openai import OpenAIEmbedder
from deployments.errors import ConfigurationError, EmbeddingUnavailable, Overloaded

TEXTS = [f"text number {number}" for number in range(11)]


async def test_vectors_are_the_servers_in_order_and_of_unit_length(served: Served) -> None:
    vectors = await served.embedder.embed(TEXTS)
    raw = np.array([vector(text, served.server.dimension) for text in TEXTS])
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(raw / np.linalg.norm(raw, axis=1, keepdims=True), abs=1e-6)


async def test_no_texts_make_no_rows_of_the_right_width(served: Served) -> None:
    assert (await served.embedder.embed([])).shape == (0, served.server.dimension)


async def test_the_model_names_its_dimension(served: Served) -> None:
    model = await served.embedder.model()
    assert model == EmbeddingModel("minilm", served.server.dimension, model.max_tokens)


async def test_many_texts_go_in_bounded_batches(served: Served) -> None:
    await served.embedder.embed(TEXTS, Lane.INGESTION)
    assert sorted(len(batch) for batch in served.batches) == [3, 4, 4]


async def test_a_failing_server_is_an_outage_and_is_asked_once(served: Served) -> None:
    served.server.faults.append(Fault("status", status_code=500))
    with pytest.raises(EmbeddingUnavailable, match="scripted failure"):
        await served.embedder.embed(TEXTS[:2])
    assert len(served.batches) == 1


async def test_a_full_server_is_overload_not_outage(served: Served) -> None:
    served.server.faults.append(Fault("status", status_code=503))
    with pytest.raises(Overloaded):
        await served.embedder.embed(TEXTS)


async def test_a_missing_model_is_named(served: Served) -> None:
    served.server.models = type(served.server.models)()  # type: ignore[assignment]
    with pytest.raises(EmbeddingUnavailable, match="minilm"):
        await served.embedder.embed(TEXTS[:1])


async def test_a_server_that_changes_its_model_under_us_is_an_outage(served: Served) -> None:
    await served.embedder.embed(TEXTS[:1])
    served.server.dimension = 12
    with pytest.raises(EmbeddingUnavailable, match="12 dimensions, not 8"):
        await served.embedder.embed(TEXTS[:1])


async def test_a_text_longer_than_the_model_takes_is_cut(served: Served) -> None:
    long = "word " * 2000
    vectors = await served.embedder.embed([long, "short"])
    assert vectors.shape == (2, served.server.dimension)
    if isinstance(served.embedder, OpenAIEmbedder):  # Ollama cuts by itself
        assert [len(text) for text in served.batches[-1]] == [512, 5]


@pytest.mark.parametrize(
    ("embedder", "options"),
    [(OllamaEmbedder, {}), (OpenAIEmbedder, {"max_tokens": 256})],
)
async def test_a_server_that_is_not_there_is_an_outage(embedder: Any, options: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    absent = embedder(base_url=address, model="minilm", **options)
    with pytest.raises(EmbeddingUnavailable, match="reached"):
        await absent.embed(TEXTS)
    await absent.aclose()


def test_a_key_that_is_not_set_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MODEL_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="MODEL_KEY"):
        OpenAIEmbedder(base_url="http://x/v1", model="m", max_tokens=1, api_key_env="MODEL_KEY")
