"""Both remote embedders, each against a server that speaks its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from protocol_servers.ollama_server import OllamaServer
from protocol_servers.openai_server import OpenAIServer
from served_embedders import Served

from deployments.embedding.ollama import OllamaEmbedder
from deployments.embedding.openai import OpenAIEmbedder
from deployments.generation.memory import ScriptedGenerator


@pytest.fixture(params=["ollama", "openai", "openai_floats"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    if request.param == "ollama":
        with OllamaServer(ScriptedGenerator(), models=("minilm",)) as server:
            embedder = OllamaEmbedder(base_url=server.address, model="minilm", batch_texts=4)
            yield Served(server, embedder)
            await embedder.aclose()
        return
    with OpenAIServer(ScriptedGenerator(), models=("minilm",)) as compatible:
        other = OpenAIEmbedder(
            base_url=f"{compatible.address}/v1",
            model="minilm",
            max_tokens=256,
            batch_texts=4,
            as_floats=request.param == "openai_floats",
        )
        yield Served(compatible, other)
        await other.aclose()
