"""A worker that ingests with LlamaIndex in one process, with our model and tokenizer.

Start order: `{cache_dir, precision}` and, to have it tuned, `{threads}`. Order: `{pages}`: read by
the platform's reader, split by `SentenceSplitter` at the platform's sizes, embedded; written and
cached nowhere. As it comes, that is 10 texts a batch in their order, on as many threads as
onnxruntime takes by itself. Tuned, it is 64 texts a batch, our sorting by length within it, and so
many threads.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Any

from llama_index.core import Document
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.constants import DEFAULT_EMBED_BATCH_SIZE
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from pydantic import PrivateAttr
from tokenizers import Tokenizer

from benchmarks.corpus import extract
from benchmarks.workers import Work, obey
from deployments.embedding.minilm import ensure_minilm, weights_dir
from deployments.embedding.model_files import TOKENIZER_FILE
from deployments.embedding.session import OnnxSession
from deployments.ingestion.chunking import ChunkLimits

SENTENCE = re.compile(r".+?(?:[.!?]+\s+|\n+|$)", re.DOTALL)
TUNED_BATCH = 64


class SessionEmbedding(BaseEmbedding):  # type: ignore[misc] # it ships no types we can follow
    """LlamaIndex's port over the bare session."""

    _session: OnnxSession = PrivateAttr()
    _tuned: bool = PrivateAttr()
    _engine_s: float = PrivateAttr(default=0.0)

    def __init__(self, session: OnnxSession, *, tuned: bool) -> None:
        batch = TUNED_BATCH if tuned else DEFAULT_EMBED_BATCH_SIZE
        super().__init__(model_name="all-MiniLM-L6-v2", embed_batch_size=batch)
        self._session = session
        self._tuned = tuned

    @property
    def engine_s(self) -> float:
        """Seconds spent in the engine so far."""
        return self._engine_s

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        begun = time.perf_counter()
        rows = self._tuned_rows(texts) if self._tuned else self._plain_rows(texts)
        self._engine_s += time.perf_counter() - begun
        return rows

    def _tuned_rows(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._session.encode(texts).tolist()
        return rows

    def _plain_rows(self, texts: list[str]) -> list[list[float]]:
        encoded = self._session.forward(self._session.tokenize(texts))
        return [item.vector.tolist() for item in encoded]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embedding(query)


async def prepare(start: dict[str, Any]) -> Work:
    """The model loaded."""
    tokenizer = Tokenizer.from_file(str(weights_dir() / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    limits = ChunkLimits()
    splitter = SentenceSplitter(
        chunk_size=limits.chunk_tokens,
        chunk_overlap=limits.overlap_tokens,
        tokenizer=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        # The default one is nltk's, which fetches its data from the network.
        chunking_tokenizer_fn=SENTENCE.findall,
    )
    threads = start.get("threads")
    directory = ensure_minilm(Path(start["cache_dir"]), start["precision"])
    # Told, for onnxruntime's own choice pins its threads to cores that this process may not use.
    session = OnnxSession(directory, threads=threads or len(os.sched_getaffinity(0)))
    embedding = SessionEmbedding(session, tuned=threads is not None)
    pipeline = IngestionPipeline(transformations=[splitter, embedding], disable_cache=True)

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        begun, cpu, engine_s = time.perf_counter(), time.process_time(), embedding.engine_s
        read = [(name, extract(Path(name))) for name in order["pages"]]
        documents = [
            Document(text=document.text, metadata={"title": document.title or name})
            for name, document in read
            if document
        ]
        nodes = pipeline.run(documents=documents)
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        return {
            "seconds": took_s,
            "cpu_s": cpu_s,
            "engine_s": embedding.engine_s - engine_s,
            "chunks": len(nodes),
        }

    return work


if __name__ == "__main__":
    obey(prepare)
