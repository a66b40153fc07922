"""What a peer is to the benchmark: a server on loopback, and how it is asked."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import k6
from serve_app.embedded.processes import Child

START_S = 180.0
SEARCH = "search"
ANSWER = "answer"


@dataclass(frozen=True, slots=True)
class Passage:
    """A chunk of the corpus, cut and embedded once for all: `vector` is a row of floats."""

    id: str
    document: str
    text: str
    vector: Sequence[float]


@dataclass(frozen=True, slots=True)
class Corpus:
    """What every system is given. `documents` are whole texts by name, for who cuts itself."""

    documents: Mapping[str, str]
    passages: Sequence[Passage]
    questions: Sequence[str]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to ask a system: `kind` is SEARCH or ANSWER."""

    system: str
    name: str
    kind: str
    target: k6.Target


@contextmanager
def serving(
    name: str,
    command: Sequence[str],
    folder: Path,
    url: str,
    environment: Mapping[str, str],
) -> Iterator[None]:
    """A server that answers at `url`, ended by its pid after the block."""
    folder.mkdir(parents=True, exist_ok=True)
    child = Child(name, command, folder / "server.log", environment, directory=folder)
    child.start()
    try:
        child.wait_until(lambda: _answers(url), START_S)
        yield
    finally:
        child.stop()


def call(url: str, body: Mapping[str, Any] | None = None, timeout_s: float = 300.0) -> Any:
    """A JSON request, POST where there is a body.

    Raises:
        RuntimeError: the server refused it.
    """
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            content = answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url}: {error.code} {error.read()[:500]!r}") from error
    return json.loads(content) if content else None


def _answers(url: str) -> bool:
    try:
        call(url, timeout_s=2)
    except (OSError, RuntimeError, ValueError):
        return False
    return True
