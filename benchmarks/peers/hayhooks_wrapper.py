"""A Haystack pipeline as Hayhooks serves it: copied beside a `settings.json` for each pipeline.

Runs in Hayhooks' environment only. `kind` is `bm25`, `dense` or `rag` (dense, then the language
model); everything runs on the server's own loop, as Haystack's asynchronous pipelines allow.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hayhooks import BasePipelineWrapper  # type: ignore[import-not-found]
from haystack import Document, Pipeline  # type: ignore[import-not-found]
from haystack.components.builders import ChatPromptBuilder  # type: ignore[import-not-found]
from haystack.components.embedders import OpenAITextEmbedder  # type: ignore[import-not-found]
from haystack.components.generators.chat import (  # type: ignore[import-not-found]
    OpenAIChatGenerator,
)
from haystack.components.retrievers.in_memory import (  # type: ignore[import-not-found]
    InMemoryBM25Retriever,
    InMemoryEmbeddingRetriever,
)
from haystack.dataclasses import ChatMessage  # type: ignore[import-not-found]
from haystack.document_stores.in_memory import (  # type: ignore[import-not-found]
    InMemoryDocumentStore,
)
from haystack.utils import Secret  # type: ignore[import-not-found]

PROMPT = """Answer from these passages.
{% for document in documents %}
[{{ loop.index }}] {{ document.content }}
{% endfor %}
Question: {{ question }}"""


class PipelineWrapper(BasePipelineWrapper):  # type: ignore[misc]
    """One pipeline over the corpus, in memory."""

    def setup(self) -> None:
        settings = json.loads(Path(__file__).with_name("settings.json").read_text())
        self._kind = settings["kind"]
        store = InMemoryDocumentStore(embedding_similarity_function="dot_product")
        store.write_documents(
            [
                Document(
                    id=passage["id"],
                    content=passage["text"],
                    embedding=passage["vector"],
                    meta={"document": passage["document"]},
                )
                for passage in json.loads(Path(settings["corpus"]).read_text())
            ]
        )
        self.pipeline = Pipeline()
        if self._kind == "bm25":
            retriever = InMemoryBM25Retriever(store, top_k=settings["top_k"])
            self.pipeline.add_component("retriever", retriever)
            return
        openai = {"api_key": Secret.from_token("none"), "api_base_url": settings["stand_in"]}
        embedder = OpenAITextEmbedder(model=settings["embedding_model"], **openai)
        self.pipeline.add_component("embedder", embedder)
        retriever = InMemoryEmbeddingRetriever(store, top_k=settings["top_k"])
        self.pipeline.add_component("retriever", retriever)
        self.pipeline.connect("embedder.embedding", "retriever.query_embedding")
        if self._kind == "rag":
            template = [ChatMessage.from_user(PROMPT)]
            self.pipeline.add_component(
                "prompt", ChatPromptBuilder(template, required_variables="*")
            )
            generator = OpenAIChatGenerator(model=settings["language_model"], **openai)
            self.pipeline.add_component("generator", generator)
            self.pipeline.connect("retriever.documents", "prompt.documents")
            self.pipeline.connect("prompt.prompt", "generator.messages")

    async def run_api_async(self, question: str) -> dict[str, Any]:
        """Passages, or an answer."""
        inputs: dict[str, Any] = {
            "bm25": {"retriever": {"query": question}},
            "dense": {"embedder": {"text": question}},
            "rag": {"embedder": {"text": question}, "prompt": {"question": question}},
        }[self._kind]
        found = await self.pipeline.run_async(inputs)
        if self._kind == "rag":
            return {"answer": found["generator"]["replies"][0].text}
        return {
            "passages": [
                {
                    "id": document.id,
                    "document": document.meta["document"],
                    "text": document.content,
                    "score": document.score,
                }
                for document in found["retriever"]["documents"]
            ]
        }
