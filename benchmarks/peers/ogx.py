"""OGX (formerly Llama Stack): its vector stores, and its Responses with file search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks import k6
from benchmarks.peers.environments import encodings, environment
from benchmarks.peers.peer import ANSWER, SEARCH, Corpus, Way, call, serving
from benchmarks.peers.stand_in import DIMENSION, EMBEDDING_MODEL, LANGUAGE_MODEL
from serve_app.embedded.processes import free_port

TOP_K = 5
INSERTED_AT_ONCE = 100
STORES = {"faiss": ("vector",), "milvus": ("vector", "hybrid")}
"""Vector store providers and the search modes they are asked in. faiss and `vector` are OGX's
defaults; sqlite-vec needs a Python whose sqlite loads extensions, which pyenv's does not."""


@contextmanager
def running(stand_in: str, corpus: Corpus, folder: Path) -> Iterator[list[Way]]:
    """OGX with the corpus in each of `STORES`, up inside the block."""
    port = free_port()
    config = folder / "config.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    config.write_text(yaml.safe_dump(_config(stand_in, folder, port)))
    surroundings = {
        "OGX_CONFIG_DIR": str(folder / "ogx"),
        "TIKTOKEN_CACHE_DIR": str(encodings()),
        "OTEL_SDK_DISABLED": "true",
        "HF_HUB_OFFLINE": "1",
    }
    command = [
        str(environment("ogx") / "ogx"), "run", str(config), "--port", str(port), "--insecure",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}/v1"
    with serving("ogx", command, folder, f"{url}/health", surroundings):
        ways = []
        for provider, modes in STORES.items():
            store = _filled(url, provider, corpus)
            ways += [_search(url, store, provider, mode, corpus) for mode in modes]
        ways.append(_answer(url, store, corpus))
        yield ways


def _config(stand_in: str, folder: Path, port: int) -> dict[str, Any]:
    def stored(namespace: str) -> dict[str, str]:
        return {"namespace": namespace, "backend": "kv_default"}

    return {
        "version": 2,
        "distro_name": "benchmark",
        "apis": ["inference", "vector_io", "files", "responses", "tool_runtime", "file_processors"],
        "providers": {
            "inference": [
                {
                    "provider_id": "openai",
                    "provider_type": "remote::openai",
                    "config": {"api_key": "none", "base_url": f"{stand_in}/v1"},
                }
            ],
            "vector_io": [
                {
                    "provider_id": "faiss",
                    "provider_type": "inline::faiss",
                    "config": {"persistence": stored("vector_io::faiss")},
                },
                {
                    "provider_id": "milvus",
                    "provider_type": "inline::milvus",
                    "config": {
                        "db_path": str(folder / "milvus.db"),
                        "persistence": stored("vector_io::milvus"),
                    },
                },
            ],
            "files": [
                {
                    "provider_id": "builtin-files",
                    "provider_type": "inline::localfs",
                    "config": {
                        "storage_dir": str(folder / "files"),
                        "metadata_store": {"table_name": "files", "backend": "sql_default"},
                    },
                }
            ],
            "file_processors": [{"provider_id": "pypdf", "provider_type": "inline::pypdf"}],
            "responses": [
                {
                    "provider_id": "builtin",
                    "provider_type": "inline::builtin",
                    "config": {
                        "persistence": {
                            "responses": {"table_name": "responses", "backend": "sql_default"}
                        }
                    },
                }
            ],
            "tool_runtime": [
                {"provider_id": "file-search", "provider_type": "inline::file-search"}
            ],
        },
        "storage": {
            "backends": {
                "kv_default": {"type": "kv_sqlite", "db_path": str(folder / "kv.db")},
                "sql_default": {"type": "sql_sqlite", "db_path": str(folder / "sql.db")},
            },
            "stores": {
                "metadata": {"namespace": "registry", "backend": "kv_default"},
                "inference": {"table_name": "inference", "backend": "sql_default"},
                "conversations": {"table_name": "conversations", "backend": "sql_default"},
                "prompts": {"table_name": "prompts", "backend": "sql_default"},
                "connectors": {"table_name": "connectors", "backend": "sql_default"},
            },
        },
        "registered_resources": {
            "models": [
                {
                    "model_id": EMBEDDING_MODEL,
                    "provider_id": "openai",
                    "provider_model_id": EMBEDDING_MODEL,
                    "model_type": "embedding",
                    "metadata": {"embedding_dimension": DIMENSION},
                },
                {
                    "model_id": LANGUAGE_MODEL,
                    "provider_id": "openai",
                    "provider_model_id": LANGUAGE_MODEL,
                    "model_type": "llm",
                },
            ]
        },
        "vector_stores": {
            "default_provider_id": "faiss",
            "default_embedding_model": {"provider_id": "openai", "model_id": EMBEDDING_MODEL},
        },
        "server": {"port": port, "host": "127.0.0.1"},
    }


def _filled(url: str, provider: str, corpus: Corpus) -> str:
    """A vector store with every passage and its vector; its id."""
    model = f"openai/{EMBEDDING_MODEL}"
    made = call(
        f"{url}/vector_stores",
        {
            "name": provider,
            "provider_id": provider,
            "embedding_model": model,
            "embedding_dimension": DIMENSION,
        },
    )
    store: str = made["id"]
    chunks = [
        {
            "content": passage.text,
            "chunk_id": passage.id,
            "metadata": {"document_id": passage.document, "file_id": passage.document},
            "chunk_metadata": {"chunk_id": passage.id, "document_id": passage.document},
            "embedding": list(passage.vector),
            "embedding_model": model,
            "embedding_dimension": DIMENSION,
        }
        for passage in corpus.passages
    ]
    for start in range(0, len(chunks), INSERTED_AT_ONCE):
        part = chunks[start : start + INSERTED_AT_ONCE]
        call(f"{url}/vector-io/insert", {"vector_store_id": store, "chunks": part})
    return store


def _search(url: str, store: str, provider: str, mode: str, corpus: Corpus) -> Way:
    bodies = [
        {"query": question, "max_num_results": TOP_K, "search_mode": mode}
        for question in corpus.questions
    ]
    target = k6.Target(
        f"{url}/vector_stores/{store}/search", {}, bodies, ('"data":[{',), varies="query"
    )
    return Way("OGX", f"{provider}, {mode}", SEARCH, target)


def _answer(url: str, store: str, corpus: Corpus) -> Way:
    """What OGX has for questions about documents: the Responses API with file search."""
    bodies = [
        {
            "model": f"openai/{LANGUAGE_MODEL}",
            "input": question,
            "store": False,
            "tools": [
                {"type": "file_search", "vector_store_ids": [store], "max_num_results": TOP_K}
            ],
        }
        for question in corpus.questions
    ]
    target = k6.Target(f"{url}/responses", {}, bodies, ('"status":"completed"',))
    return Way("OGX", "responses with file search", ANSWER, target)
