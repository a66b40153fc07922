"""An embedder and the server it asks."""

from __future__ import annotations

from dataclasses import dataclass

from protocol_servers.ollama_server import OllamaServer
from protocol_servers.openai_server import OpenAIServer

from deployments.embedding.ollama import OllamaEmbedder
from deployments.embedding.openai import OpenAIEmbedder


@dataclass
class Served:
    server: OllamaServer | OpenAIServer
    embedder: OllamaEmbedder | OpenAIEmbedder

    @property
    def batches(self) -> list[list[str]]:
        return [body["input"] for path, body in self.server.requests if "embed" in path]
