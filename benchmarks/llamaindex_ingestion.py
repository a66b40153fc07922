"""A worker that ingests with LlamaIndex in one process, with our model and tokenizer.

Start order: `{cache_dir, precision, threads}`. Order: `{pages}`: read by the platform's reader,
split by `SentenceSplitter` at the platform's sizes, embedded; written nowhere. What could be
chosen is chosen in its favour: no cache, 64 texts a batch (its default is 10), and within a batch
our own sorting by length.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from llama_index.core import Document
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.node_parser import SentenceSplitter
from pydantic import PrivateAttr
from tokenizers import Tokenizer

from benchmarks.bare_embedding import bare_session
from benchmarks.corpus import extract
from benchmarks.workers import Work, obey
from deployments.embedding.minilm import weights_dir
from deployments.embedding.model_files import TOKENIZER_FILE
from deployments.embedding.session import OnnxSession
from deployments.ingestion.chunking import ChunkLimits

SENTENCE = re.compile(r".+?(?:[.!?]+\s+|\n+|$)", re.DOTALL)
BATCH = 64


class SessionEmbedding(BaseEmbedding):  # type: ignore[misc] # it ships no types we can follow
    """LlamaIndex's port over the bare session."""

    _session: OnnxSession = PrivateAttr()

    def __init__(self, session: OnnxSession) -> None:
        super().__init__(model_name="all-MiniLM-L6-v2", embed_batch_size=BATCH)
        self._session = session

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        rows: list[list[float]] = self._session.encode(texts).tolist()
        return rows

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
    pipeline = IngestionPipeline(
        transformations=[splitter, SessionEmbedding(bare_session(start))], disable_cache=True
    )

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        begun, cpu = time.perf_counter(), time.process_time()
        read = [(name, extract(Path(name))) for name in order["pages"]]
        documents = [
            Document(text=document.text, metadata={"title": document.title or name})
            for name, document in read
            if document
        ]
        nodes = pipeline.run(documents=documents)
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        return {"seconds": took_s, "cpu_s": cpu_s, "chunks": len(nodes)}

    return work


if __name__ == "__main__":
    obey(prepare)
