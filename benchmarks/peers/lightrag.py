"""LightRAG: its server with its own stores, asked for context alone and for answers.

It takes whole documents and cuts them itself (1,200 tokens). The stand-in names no entities, so
that its graph stays empty: `naive` (vectors alone) is the mode that is asked, its cheapest.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import k6
from benchmarks.peers.environments import encodings, environment
from benchmarks.peers.peer import ANSWER, SEARCH, Corpus, Way, call, serving
from benchmarks.peers.stand_in import DIMENSION, EMBEDDING_MODEL, LANGUAGE_MODEL
from benchmarks.reporting import progress
from serve_app.embedded.processes import free_port

TOP_K = 5
INGESTION_S = 600.0


@contextmanager
def running(stand_in: str, corpus: Corpus, folder: Path) -> Iterator[list[Way]]:
    """LightRAG with the documents taken in, up inside the block."""
    port = free_port()
    surroundings = {
        "HOST": "127.0.0.1",
        "PORT": str(port),
        "WORKING_DIR": str(folder / "storage"),
        "INPUT_DIR": str(folder / "inputs"),
        "LLM_BINDING": "openai",
        "LLM_BINDING_HOST": f"{stand_in}/v1",
        "LLM_BINDING_API_KEY": "none",
        "LLM_MODEL": LANGUAGE_MODEL,
        "EMBEDDING_BINDING": "openai",
        "EMBEDDING_BINDING_HOST": f"{stand_in}/v1",
        "EMBEDDING_BINDING_API_KEY": "none",
        "EMBEDDING_MODEL": EMBEDDING_MODEL,
        "EMBEDDING_DIM": str(DIMENSION),
        # As many calls at once as clients ask, rather than its default of four.
        "MAX_ASYNC": "64",
        "MAX_ASYNC_LLM": "64",
        "EMBEDDING_FUNC_MAX_ASYNC": "64",
        "MAX_PARALLEL_INSERT": "8",
        "MAX_GLEANING": "0",
        "ENABLE_LLM_CACHE": "false",
        "RERANK_BY_DEFAULT": "false",
        "LOG_LEVEL": "WARNING",
        "TIKTOKEN_CACHE_DIR": str(encodings()),
    }
    command = [str(environment("lightrag") / "lightrag-server")]
    url = f"http://127.0.0.1:{port}"
    with serving("lightrag", command, folder, f"{url}/health", surroundings):
        _fill(url, corpus)
        yield [
            _way(url, "naive, context only", SEARCH, corpus),
            _way(url, "naive", ANSWER, corpus),
        ]


def _fill(url: str, corpus: Corpus) -> None:
    call(
        f"{url}/documents/texts",
        {"texts": list(corpus.documents.values()), "file_sources": list(corpus.documents)},
    )
    until = time.monotonic() + INGESTION_S
    while True:
        statuses = call(f"{url}/documents/status_counts")["status_counts"]
        done, failed = statuses.get("processed", 0), statuses.get("failed", 0)
        if failed:
            raise RuntimeError(f"LightRAG did not take the documents in: {statuses}")
        if done >= len(corpus.documents):
            return
        if time.monotonic() > until:
            raise RuntimeError(f"LightRAG is not done: {statuses}")
        progress(f"LightRAG: {statuses}")
        time.sleep(3)


def _way(url: str, name: str, kind: str, corpus: Corpus) -> Way:
    bodies = [
        {
            "query": question,
            "mode": "naive",
            "chunk_top_k": TOP_K,
            "only_need_context": kind == SEARCH,
            "enable_rerank": False,
        }
        for question in corpus.questions
    ]
    holds = ('"response":"',)
    varies = "query" if kind == SEARCH else ""
    return Way("LightRAG", name, kind, k6.Target(f"{url}/query", {}, bodies, holds, varies=varies))
