"""ragserve beside LightRAG, OGX and Hayhooks: searches and answers a second, and their times.

Each system is started in turn on loopback, the others ended; all hold the same pages of
PostgreSQL's manual, are asked the same questions by the same closed-loop clients (k6), reach the
same embedding model and the same stand-in language model (100 ms to the first token, 20 ms a
token, 32 tokens). OGX and Hayhooks get ragserve's own chunks and vectors; LightRAG cuts for
itself. Five passages a search. Searches are all different, so that no cache has seen them;
questions for answers come again, and ragserve then remembers their vectors and their sentences'.

The peers are installed from the package index into environments below `.ragserve/peers`; they
need Python 3.12 or later, which `RAGSERVE_PEERS_PYTHON` may name.

    python -m benchmarks.peers --quick
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import k6
from benchmarks.corpus import chunker, extract, manual
from benchmarks.load import PAGES, QUICK_PAGES
from benchmarks.peers import environments, hayhooks, lightrag, ogx
from benchmarks.peers.peer import ANSWER, SEARCH, Corpus, Passage, Way, call, serving
from benchmarks.peers.ragserve import HYBRID, ragserve
from benchmarks.peers.stand_in import EMBEDDING_MODEL
from benchmarks.questions import questions
from benchmarks.reporting import Claim, arguments, finish, progress, ratio
from benchmarks.system import models
from benchmarks.workers import CHECKOUT, SINGLE_THREADED
from serve_app.embedded.processes import free_port

CLIENTS = {SEARCH: (1, 8, 32), ANSWER: (1, 32, 64)}
JUDGED_CLIENTS = 32
SEARCH_RATIO = 2.0
PEERS = {"OGX": ogx.running, "Hayhooks": hayhooks.running, "LightRAG": lightrag.running}
JUDGED = ("OGX", "Hayhooks")
PACKAGES = {
    "ogx": ("ogx", "milvus-lite", "faiss-cpu"),
    "hayhooks": ("hayhooks", "haystack-ai"),
    "lightrag": ("lightrag-hku",),
}


@dataclass(frozen=True, slots=True)
class Block:
    """One way, so many clients."""

    way: Way
    clients: int
    outcome: k6.Outcome


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    parser.add_argument("--peer", action="append", choices=list(PEERS), help="only this peer")
    parser.add_argument("--seconds", type=float, help="of each block (15; 5 with --quick)")
    options = parser.parse_args()
    seconds = options.seconds or (5.0 if options.quick else 15.0)
    chosen = options.peer or list(PEERS)
    for peer in chosen:
        environments.environment(peer.lower())
    pages = manual()[: QUICK_PAGES if options.quick else PAGES]
    blocks: list[Block] = []
    with tempfile.TemporaryDirectory(prefix="ragserve-peers-") as folder:
        root = Path(folder)
        with _stand_in(root / "stand_in") as stand_in:
            with ragserve(stand_in, pages, questions(pages)) as (ways, asked):
                blocks += _measure(ways, seconds)
            corpus = _corpus(stand_in, pages, asked)
            for peer in chosen:
                with PEERS[peer](stand_in, corpus, root / peer) as ways:
                    blocks += _measure(ways, seconds)
    rows = [_row(block, blocks) for block in blocks]
    used = [line for peer in chosen for line in _versions(peer.lower())]
    notes = (f"Versions: {', '.join(used)}.", *NOTES)
    return finish(rows, _claims(blocks), notes=notes, as_json=options.json)


@contextmanager
def _stand_in(folder: Path) -> Iterator[str]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "benchmarks.peers.stand_in", str(port), str(models())]
    surroundings = SINGLE_THREADED | {"PYTHONPATH": str(CHECKOUT)}
    with serving("stand-in", command, folder, f"{url}/v1/models", surroundings):
        yield url


def _corpus(stand_in: str, pages: Sequence[Path], asked: Sequence[str]) -> Corpus:
    """The pages, their chunks as ragserve cuts them, and their vectors as it embeds them."""
    cutter = chunker()
    documents: dict[str, str] = {}
    drafts: list[tuple[Passage, str]] = []
    for page in pages:
        document = extract(page)
        if document is None:
            continue
        documents[page.name] = document.text
        for draft in cutter.chunk(document):
            passage = Passage(f"{page.name}-{draft.number}", page.name, draft.text, ())
            drafts.append((passage, cutter.embedding_text(draft)))
    progress(f"embedding {len(drafts)} chunks for the peers")
    passages: list[Passage] = []
    for start in range(0, len(drafts), 64):
        part = drafts[start : start + 64]
        body = {"model": EMBEDDING_MODEL, "input": [text for _, text in part]}
        rows = call(f"{stand_in}/v1/embeddings", body)["data"]
        passages += [
            replace(passage, vector=row["embedding"])
            for (passage, _), row in zip(part, rows, strict=True)
        ]
    return Corpus(documents, passages, asked)


def _measure(ways: Sequence[Way], seconds: float) -> list[Block]:
    blocks = []
    for way in ways:
        k6.closed(way.target, 4, 2.0)  # connections, lazily made parts, warm caches
        for clients in CLIENTS[way.kind]:
            outcome = k6.closed(way.target, clients, seconds)
            blocks.append(Block(way, clients, outcome))
            progress(
                f"{way.system} {way.kind} ({way.name}) c={clients}: {outcome.per_second:.1f}/s, "
                f"p50 {outcome.p50_ms:.0f} ms, {outcome.failed} failed"
            )
    return blocks


def _row(block: Block, blocks: Sequence[Block]) -> dict[str, object]:
    outcome = block.outcome
    return {
        "system": block.way.system,
        "asked for": block.way.kind,
        "how": block.way.name,
        "c": block.clients,
        "answers": outcome.requests,
        "failed": outcome.failed,
        "req/s": outcome.per_second,
        "p50 ms": outcome.p50_ms,
        "p95 ms": outcome.p95_ms,
        "CPU ms an answer": outcome.cpu_ms,
        "ragserve is": f"{_against(block, blocks):.2f}x",
        "client's core": outcome.cpu_s / outcome.seconds,
    }


def _against(block: Block, blocks: Sequence[Block]) -> float:
    """Ragserve's default way over this one, at the same number of clients."""
    ours = next(
        b
        for b in blocks
        if b.way.system == "ragserve" and (b.way.kind, b.clients) == (block.way.kind, block.clients)
    )
    return ratio(ours.outcome.per_second, block.outcome.per_second)


def _claims(blocks: Sequence[Block]) -> list[Claim]:
    """Ragserve's default search against the fastest search of each judged peer."""
    claims = []
    for system in JUDGED:
        found = [
            block
            for block in blocks
            if block.way.system == system
            and (block.way.kind, block.clients) == (SEARCH, JUDGED_CLIENTS)
        ]
        if not found:
            continue
        fastest = max(found, key=lambda block: block.outcome.per_second)
        name = f"search ({HYBRID}) c={JUDGED_CLIENTS} against {system} ({fastest.way.name})"
        claims.append(Claim(name, _against(fastest, blocks), "x", SEARCH_RATIO, at_least=True))
    return claims


def _versions(peer: str) -> list[str]:
    return environments.versions(peer, PACKAGES[peer])


NOTES = (
    "CPU is that of all processes of a system and of the stand-in, idle ones included.",
    "ragserve embeds in its own replica and checks keys, limits and what is visible; the peers ask "
    "the stand-in's process for vectors over HTTP and let anybody in.",
    "The peers' stores live in their own process (OGX's Milvus Lite and LightRAG's files as well); "
    "ragserve's Milvus and Redis are servers of their own, shared by all replicas.",
    "Hayhooks' BM25 needs no embedding at all. OGX's answers ask the language model twice: once "
    "which search to make. LightRAG's graph is empty, so that only its vectors are searched.",
)


if __name__ == "__main__":
    sys.exit(main())
