"""Texts a second through the embedding deployment, against the bare ONNX session.

The texts are chunks of PostgreSQL's manual, of mixed lengths. The deployment is called from a
process that joined the Ray cluster, as an ingestion calls it (64 texts a call, two calls under
way) and as questions call it (one text a call, 32 under way). The bare session gets all texts of
a block at once, in a process of its own. They take turns in one run.

    python -m benchmarks.embedding --quick
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.corpus import chunk_texts, chunker, manual
from benchmarks.reporting import Claim, arguments, finish, progress, rate, ratio, spread
from benchmarks.system import models, running
from benchmarks.workers import Worker, working
from serve_app.settings import EmbeddingArgs

RATE = 0.9
PAGES = 400
BARE = "bare session"
BULK = "64 a call"
SINGLE = "1 a call"
CALLS = {
    BULK: {"call_texts": 64, "in_flight": 2, "lane": "ingestion"},
    SINGLE: {"call_texts": 1, "in_flight": 32, "lane": "query"},
}


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    rounds, block = (2, 256) if options.quick else (5, 1024)
    texts = chunk_texts(manual()[:PAGES], chunker())[: rounds * block]
    engine = EmbeddingArgs()
    bare = {
        "cache_dir": str(models()),
        "precision": engine.precision,
        "threads": engine.threads,
    }
    with running() as bench:
        node = bench.embedded.node
        # The environment holds the certificates and the token that let a process join.
        joined = working("benchmarks.remote_embedding", {"address": node.address}, node.environment)
        with working("benchmarks.bare_embedding", bare) as session, joined as deployment:
            found = _measure(session, deployment, texts, block)
    rows = [_row(name, blocks, found[BARE], block) for name, blocks in found.items()]
    claims = [
        Claim(
            f"embedding rate through the deployment, {name}",
            _against(found[name], found[BARE]), "x", RATE, at_least=True,
        )
        for name in (SINGLE, BULK)
    ]  # fmt: skip
    return finish(rows, claims, notes=NOTES, as_json=options.json)


def _measure(
    session: Worker, deployment: Worker, texts: Sequence[str], block: int
) -> dict[str, list[dict[str, Any]]]:
    sides: dict[str, Callable[[Sequence[str]], dict[str, Any]]] = {
        BARE: lambda part: session.ask({"texts": list(part)}),
        BULK: lambda part: deployment.ask({"texts": list(part), **CALLS[BULK]}),
        SINGLE: lambda part: deployment.ask({"texts": list(part), **CALLS[SINGLE]}),
    }
    for ask in sides.values():
        ask(texts[:32])
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number, start in enumerate(range(0, len(texts), block)):
        part = texts[start : start + block]
        # Each round begins with another side, so that none profits from its place.
        names = list(sides)
        for name in [*names[number % 3 :], *names[: number % 3]]:
            found[name].append(sides[name](part))
            progress(f"{name}: {len(part) / found[name][-1]['seconds']:.1f} texts/s")
    return {name: found[name] for name in sides}


def _row(
    name: str, blocks: Sequence[dict[str, Any]], bare: Sequence[dict[str, Any]], block: int
) -> dict[str, object]:
    seconds = [block["seconds"] for block in blocks]
    return {
        "side": name,
        "texts": block * len(blocks),
        "texts/s": rate(block * len(blocks), seconds),
        "by round": spread([block / s for s in seconds]),
        "against bare": _against(blocks, bare),
        "caller's core": sum(b["cpu_s"] for b in blocks) / sum(seconds),
    }


def _against(blocks: Sequence[dict[str, Any]], bare: Sequence[dict[str, Any]]) -> float:
    """Rates of the same texts: the inverse of their times."""
    return ratio(sum(b["seconds"] for b in bare), sum(b["seconds"] for b in blocks))


NOTES = (
    "One engine thread on either side, as the local configuration has it. The deployment tokenises "
    "on a second thread while its engine computes; the bare session does one after the other.",
)


if __name__ == "__main__":
    sys.exit(main())
