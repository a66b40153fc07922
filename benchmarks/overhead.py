"""What the platform adds to a question: HTTP, authentication, limits, Ray and two hops.

The same questions go through HTTP to a running embedded system, and through the same query
pipeline with the same engines, Redis and Milvus in one plain process; they take turns in one run,
each idle while the other is measured. Answers are streamed and not cached. Three ways to answer:
`real` (the embedded language model), `paced` (a stand-in: 100 ms to the first token, 20 ms a
token, 32 tokens, so that the platform is what is measured) and `extract` (no language model).

The client shares the machine's cores with the platform; its share of one core is shown.

    python -m benchmarks.overhead --quick
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.reporting import (
    Claim,
    arguments,
    finish,
    median,
    percentile,
    progress,
    rate,
    ratio,
    spread,
)
from benchmarks.system import Bench, running
from benchmarks.workers import CHECKOUT, Worker, working
from deployments.environment import Environment
from serve_app.build import embedding_engine, generation_engine
from serve_app.client import Upload
from serve_app.settings import RagArgs

COLLECTION = "bench"
QUESTIONS = (
    "Which ports does ragserve use?",
    "Which Redis roles are there?",
    "Why does the query pipeline run inside the ingress replica?",
    "Which commands start ragserve and run its tests?",
    "Which embedding model is the embedded default?",
    "What do versions hide from searches?",
    "Why does ragserve batch texts by itself?",
    "Which vector store does ragserve use?",
)
"""Candidates: those that the documents answer are asked. A refusal never gets to the model."""
FEWEST_QUESTIONS = 3
MAX_TOKENS = 32
CONCURRENCY = (1, 8, 32)
ADDED_MS = 15.0
THROUGHPUT = 0.9


@dataclass(frozen=True, slots=True)
class Way:
    """How questions are answered, and requests a block at each concurrency."""

    name: str
    engine: str
    answer: str
    requests: tuple[int, int, int]


WAYS = (
    Way("real", "llama_cpp", "generate", (12, 24, 64)),
    Way("paced", "paced", "generate", (12, 48, 160)),
    Way("extract", "paced", "extract", (80, 160, 320)),
)


@dataclass(frozen=True, slots=True)
class Pair:
    """One block of either side, measured one after the other."""

    plain: dict[str, Any]
    platform: dict[str, Any]

    @property
    def added_ms(self) -> float:
        return median(self.platform["total_ms"]) - median(self.plain["total_ms"])


class Duel:
    """Both sides over the same questions."""

    def __init__(self, plain: Worker, http: Worker, way: Way) -> None:
        self._plain = plain
        self._http = http
        self._bodies = [
            {
                "collection": COLLECTION,
                "question": question,
                "stream": True,
                "cache": False,
                "answer": way.answer,
                "max_tokens": MAX_TOKENS,
            }
            for question in QUESTIONS
        ]

    def warm(self) -> None:
        """Each question on either side: sentence vectors, connections, prefix caches.

        Raises:
            RuntimeError: the sides do not answer alike, or hardly at all: no fair comparison.
        """
        refused = self._block(0, 1, len(self._bodies))["refused"]
        self._bodies = [body for body in self._bodies if body["question"] not in refused]
        if len(self._bodies) < FEWEST_QUESTIONS:
            raise RuntimeError(f"the documents do not answer {refused}")
        plain, platform = (self._block(side, 1, 2 * len(self._bodies)) for side in (0, 1))
        if plain["texts"] != platform["texts"]:
            raise RuntimeError(f"different answers:\n{plain['texts']}\n{platform['texts']}")

    def pair(self, concurrency: int, requests: int, *, plain_first: bool) -> Pair:
        """A block of each, in the order asked for."""
        order = (0, 1) if plain_first else (1, 0)
        blocks = {side: self._block(side, concurrency, requests) for side in order}
        return Pair(blocks[0], blocks[1])

    def _block(self, side: int, concurrency: int, requests: int) -> dict[str, Any]:
        order = {"bodies": self._bodies, "concurrency": concurrency, "requests": requests}
        worker = (self._plain, self._http)[side]
        return worker.ask({"path": "/v1/query", **order})


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    names = [way.name for way in WAYS]
    parser.add_argument("--way", action="append", choices=names, help="only this way (repeatable)")
    parser.add_argument("--rounds", type=int, help="blocks of each side (4; 1 with --quick)")
    options = parser.parse_args()
    chosen = [way for way in WAYS if way.name in (options.way or names)]
    rounds = options.rounds or (1 if options.quick else 4)
    pairs: dict[tuple[str, int], list[Pair]] = {}
    for engine in dict.fromkeys(way.engine for way in chosen):
        rag = {
            "generation": {"engine": engine},
            "query": {"evidence": "sentences", "ungrounded": "flag", "deadline_s": 300.0},
        }
        with running(rag=rag) as bench:
            _load(bench)
            for way in (way for way in chosen if way.engine == engine):
                pairs |= _measure(bench, rag, way, rounds, quick=options.quick)
    rows = [_row(way, c, found) for (way, c), found in pairs.items()]
    return finish(rows, _claims(pairs), notes=NOTES, as_json=options.json)


def _load(bench: Bench) -> None:
    paths = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
    with bench.client() as client:
        client.create_collection(COLLECTION)
        uploads = [Upload(path, str(path.relative_to(CHECKOUT))) for path in paths]
        job = client.wait(client.upload(COLLECTION, uploads).id)
    if job.state != "COMPLETED" or job.progress.files_failed:
        raise RuntimeError(f"the documents were not taken in: {job}")


def _measure(
    bench: Bench, rag: dict[str, Any], way: Way, rounds: int, *, quick: bool
) -> dict[tuple[str, int], list[Pair]]:
    pairs: dict[tuple[str, int], list[Pair]] = defaultdict(list)
    server = {"host": "127.0.0.1", "port": bench.port, "key": bench.api_key}
    with (
        working("benchmarks.plain_pipeline", _engines(bench, rag), bench.embedded.environment) as p,
        working("benchmarks.http_load", server) as http,
    ):
        duel = Duel(p, http, way)
        duel.warm()
        for number in range(rounds):
            for concurrency, requests in zip(CONCURRENCY, way.requests, strict=True):
                count = max(concurrency, requests // (3 if quick else 1))
                pair = duel.pair(concurrency, count, plain_first=number % 2 == 0)
                progress(f"{way.name} c={concurrency} added p50 {pair.added_ms:.1f} ms")
                pairs[way.name, concurrency].append(pair)
    return pairs


def _engines(bench: Bench, rag: dict[str, Any]) -> dict[str, Any]:
    """The very engine specifications that the service resolves."""
    args = RagArgs.model_validate(rag)
    environment = Environment.model_validate(
        {name.lower(): value for name, value in bench.embedded.environment.items()}
    )
    return {
        "rag": rag,
        "embedding": asdict(embedding_engine(args.embedding, environment)),
        "generation": asdict(generation_engine(args.generation, environment)),
    }


def _row(way: str, concurrency: int, pairs: Sequence[Pair]) -> dict[str, object]:
    plain, platform = _pooled(pairs, "plain"), _pooled(pairs, "platform")
    return {
        "way": way,
        "c": concurrency,
        "requests": len(plain["total_ms"]),
        "plain p50 ms": median(plain["total_ms"]),
        "p50 ms": median(platform["total_ms"]),
        "added ms": _added_ms(pairs),
        "by round": spread([pair.added_ms for pair in pairs]),
        "added to 1st token": median(platform["first_ms"]) - median(plain["first_ms"]),
        "plain p95": percentile(plain["total_ms"], 0.95),
        "p95": percentile(platform["total_ms"], 0.95),
        "plain req/s": rate(len(plain["total_ms"]), plain["seconds"]),
        "req/s": rate(len(platform["total_ms"]), platform["seconds"]),
        "ratio": _throughput(pairs),
        "client's core": sum(platform["cpu_s"]) / sum(platform["seconds"]),
    }


def _pooled(pairs: Sequence[Pair], side: str) -> dict[str, list[float]]:
    blocks = [getattr(pair, side) for pair in pairs]
    pooled = {
        name: [v for block in blocks for v in block[name]] for name in ("total_ms", "first_ms")
    }
    return pooled | {name: [block[name] for block in blocks] for name in ("seconds", "cpu_s")}


def _added_ms(pairs: Sequence[Pair]) -> float:
    plain, platform = _pooled(pairs, "plain"), _pooled(pairs, "platform")
    return median(platform["total_ms"]) - median(plain["total_ms"])


def _throughput(pairs: Sequence[Pair]) -> float:
    plain, platform = _pooled(pairs, "plain"), _pooled(pairs, "platform")
    requests = len(plain["total_ms"])
    return ratio(rate(requests, platform["seconds"]), rate(requests, plain["seconds"]))


def _claims(pairs: dict[tuple[str, int], list[Pair]]) -> list[Claim]:
    claims = [
        Claim(
            f"{way} c={concurrency} throughput against one plain process",
            _throughput(found), "x", THROUGHPUT, at_least=True,
        )
        for (way, concurrency), found in pairs.items()
        if concurrency == max(CONCURRENCY)
    ]  # fmt: skip
    return claims + [
        Claim(f"{way} c=1 added p50", _added_ms(found), "ms", ADDED_MS)
        for (way, concurrency), found in pairs.items()
        if concurrency == 1
    ]


NOTES = (
    "The plain process is measured beside the idle system, which takes a few percent of a core.",
    "The plain process has one core for its loop and the other for its engines; the platform's "
    "parts, its client included, share the same cores.",
)


if __name__ == "__main__":
    sys.exit(main())
