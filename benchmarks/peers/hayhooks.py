"""Hayhooks: Haystack pipelines behind HTTP, over Haystack's in-memory store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from benchmarks import k6
from benchmarks.peers.environments import environment
from benchmarks.peers.peer import ANSWER, SEARCH, Corpus, Way, serving
from benchmarks.peers.stand_in import EMBEDDING_MODEL, LANGUAGE_MODEL
from serve_app.embedded.processes import free_port

TOP_K = 5
WRAPPER = Path(__file__).with_name("hayhooks_wrapper.py")
KINDS = {"bm25": SEARCH, "dense": SEARCH, "rag": ANSWER}


@contextmanager
def running(stand_in: str, corpus: Corpus, folder: Path) -> Iterator[list[Way]]:
    """Hayhooks with a pipeline of each of `KINDS`, up inside the block."""
    pipelines = folder / "pipelines"
    passages = folder / "passages.json"
    for kind in KINDS:
        (pipelines / kind).mkdir(parents=True)
        shutil.copy(WRAPPER, pipelines / kind / "pipeline_wrapper.py")
        settings = {
            "kind": kind,
            "corpus": str(passages),
            "stand_in": f"{stand_in}/v1",
            "embedding_model": EMBEDDING_MODEL,
            "language_model": LANGUAGE_MODEL,
            "top_k": TOP_K,
        }
        (pipelines / kind / "settings.json").write_text(json.dumps(settings))
    passages.write_text(json.dumps([asdict(passage) for passage in corpus.passages]))
    port = free_port()
    command = [
        str(environment("hayhooks") / "hayhooks"), "run", "--host", "127.0.0.1",
        "--port", str(port), "--pipelines-dir", str(pipelines),
        "--without-tracing", "--without-monitoring",
    ]  # fmt: skip
    surroundings = {
        "HAYSTACK_TELEMETRY_ENABLED": "False",
        "LOG": "WARNING",
        # In parallel, Haystack's lazy imports fail now and then.
        "HAYHOOKS_STARTUP_DEPLOY_STRATEGY": "sequential",
    }
    url = f"http://127.0.0.1:{port}"
    with serving("hayhooks", command, folder, f"{url}/status", surroundings):
        yield [_way(url, name, kind, corpus) for name, kind in KINDS.items()]


def _way(url: str, name: str, kind: str, corpus: Corpus) -> Way:
    bodies = [{"question": question} for question in corpus.questions]
    holds = ('"answer":"The',) if kind == ANSWER else ('"passages":[{',)
    varies = "question" if kind == SEARCH else ""
    target = k6.Target(f"{url}/{name}/run", {}, bodies, holds, varies=varies)
    return Way("Hayhooks", f"in memory, {name}", kind, target)
