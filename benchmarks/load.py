"""Many callers at once: rates and latencies of the running system, in closed and open loops.

k6 asks a running embedded system about PostgreSQL's manual (benchmarks/k6.py says why k6, and what
the loops are): `search` (retrieval alone), `extract` (answers without a language model), `paced`
(answers of a stand-in: 100 ms to the first token, 20 ms a token, 32 tokens, so that the platform
is what is measured) and `real` (the embedded language model, against the bare llama.cpp server
behind the same prompts). No answer comes from the cache, and searches are all different. A
degraded, refused or broken answer counts as failed. The open loops run at half and at four fifths
of the best closed rate, and not with `--quick`.

The client shares the machine's cores with the platform; its share of one core is shown.

    python -m benchmarks.load --quick
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks import k6
from benchmarks.corpus import manual
from benchmarks.questions import questions
from benchmarks.reporting import Claim, arguments, finish, progress, ratio
from benchmarks.system import Bench, running
from benchmarks.workers import Worker, working
from deployments.environment import Environment
from serve_app.build import embedding_engine, generation_engine
from serve_app.client import Upload
from serve_app.settings import RagArgs

COLLECTION = "bench"
PAGES, QUICK_PAGES = 120, 40
CLIENTS, QUICK_CLIENTS = (1, 8, 32, 100), (1, 100)
SLA_CLIENTS = 100
OPEN_SHARES = (0.5, 0.8)
MAX_TOKENS = 64
FEWEST_QUESTIONS = 20
P95_S, P99_S = 2.0, 5.0
ENGINE_SHARE = 0.95


@dataclass(frozen=True, slots=True)
class Way:
    """A request, the engine behind it and what a good answer holds."""

    name: str
    engine: str
    path: str
    options: dict[str, Any]
    holds: tuple[str, ...]


ANSWERED = ('"answered":true', '"degraded":[]')
_STREAMED = {"stream": True, "cache": False, "max_tokens": MAX_TOKENS}
WAYS = (
    Way("search", "paced", "/v1/search", {}, ('"passages":[{', '"degraded":[]')),
    Way("extract", "paced", "/v1/query", {"answer": "extract", "cache": False}, ANSWERED),
    Way("paced", "paced", "/v1/query", _STREAMED, ("event: done", *ANSWERED)),
    Way("real", "llama_cpp", "/v1/query", _STREAMED, ("event: done", *ANSWERED)),
)


@dataclass(frozen=True, slots=True)
class Block:
    """One measured block and what it was."""

    way: str
    loop: str
    clients: int | None
    outcome: k6.Outcome


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    names = [way.name for way in WAYS]
    parser.add_argument("--way", action="append", choices=names, help="only this way (repeatable)")
    parser.add_argument("--seconds", type=float, help="of each block (20; 5 with --quick)")
    options = parser.parse_args()
    seconds = options.seconds or (5.0 if options.quick else 20.0)
    chosen = [way for way in WAYS if way.name in (options.way or names)]
    pages = manual()[: QUICK_PAGES if options.quick else PAGES]
    blocks: list[Block] = []
    claims: list[Claim] = []
    for engine in dict.fromkeys(way.engine for way in chosen):
        # Rules that suit either engine alike, so that all ways answer from the same passages.
        rag = {
            "generation": {"engine": engine},
            "query": {"evidence": "sentences", "ungrounded": "flag", "deadline_s": 60.0},
        }
        with running(rag=rag) as bench:
            take_in(bench, pages)
            asked = answered_questions(bench, questions(pages))
            for way in (way for way in chosen if way.engine == engine):
                target = target_of(bench, way, asked)
                if way.name == "real":
                    found, claim = _against_bare(bench, rag, target, seconds, options.quick)
                    claims.append(claim)
                else:
                    found = _loops(way, target, seconds, options.quick)
                blocks += found
    claims += _service_level(blocks)
    return finish([_row(block) for block in blocks], claims, notes=NOTES, as_json=options.json)


def take_in(bench: Bench, pages: Sequence[Path]) -> None:
    """A collection of these pages.

    Raises:
        RuntimeError: they were not taken in.
    """
    with bench.client() as client:
        client.create_collection(COLLECTION)
        job = client.wait(client.upload(COLLECTION, [Upload(p, p.name) for p in pages]).id)
    if job.state != "COMPLETED":
        raise RuntimeError(f"the manual was not taken in: {job}")


def answered_questions(bench: Bench, asked: Sequence[str]) -> list[str]:
    """Those that the collection answers: a refusal costs less than an answer.

    Raises:
        RuntimeError: hardly any is answered.
    """
    bodies = [{"collection": COLLECTION, "question": q, "cache": False} for q in asked]
    server = {"host": "127.0.0.1", "port": bench.port, "key": bench.api_key}
    order = {"path": "/v1/query", "bodies": bodies, "concurrency": 4, "requests": len(bodies)}
    with working("benchmarks.http_load", server) as worker:
        refused = set(worker.ask(order)["refused"])
    answered = [question for question in asked if question not in refused]
    progress(f"{len(answered)} of {len(asked)} questions are answered")
    if len(answered) < FEWEST_QUESTIONS:
        raise RuntimeError(f"the manual answers hardly any question: {sorted(refused)}")
    return answered


def target_of(bench: Bench, way: Way, asked: Sequence[str]) -> k6.Target:
    """The requests of a way."""
    name = "query" if way.path == "/v1/search" else "question"
    bodies = [{"collection": COLLECTION, name: question, **way.options} for question in asked]
    headers = {"Authorization": f"Bearer {bench.api_key}"}
    # Searches alone: a question that is not quite the one that was tried might be refused.
    varies = name if way.name == "search" else ""
    url = bench.url + way.path
    return k6.Target(url, headers, bodies, way.holds, counts_tokens=True, varies=varies)


def _loops(way: Way, target: k6.Target, seconds: float, quick: bool) -> list[Block]:
    blocks = []
    for clients in QUICK_CLIENTS if quick else CLIENTS:
        outcome = k6.closed(target, clients, seconds)
        blocks.append(Block(way.name, f"closed c={clients}", clients, outcome))
        _say(blocks[-1])
    best = max(block.outcome.per_second for block in blocks)
    for share in () if quick else OPEN_SHARES:
        rate = round(share * best, 1)
        blocks.append(
            Block(way.name, f"open {rate:g}/s", None, k6.paced(target, rate, 2 * seconds))
        )
        _say(blocks[-1])
    return blocks


def _against_bare(
    bench: Bench, rag: dict[str, Any], target: k6.Target, seconds: float, quick: bool
) -> tuple[list[Block], Claim]:
    """The platform and the bare server in turns, with as many clients as the engine has slots."""
    args = RagArgs.model_validate(rag)
    clients = args.generation.parallel
    blocks: list[Block] = []
    with working(
        "benchmarks.bare_generation", _engines(bench, args, rag), bench.embedded.environment
    ) as worker:
        bare = _bare_target(worker, target)
        for number in range(1 if quick else 4):
            sides = [("real", target), ("bare llama.cpp", bare)]
            for name, side in sides if number % 2 else reversed(sides):
                outcome = k6.closed(side, clients, max(seconds, 10.0))
                blocks.append(Block(name, f"closed c={clients}", clients, outcome))
                _say(blocks[-1])
    rates = {
        name: statistics.fmean(b.outcome.tokens_per_second for b in blocks if b.way == name)
        for name in ("real", "bare llama.cpp")
    }
    share = ratio(rates["real"], rates["bare llama.cpp"])
    name = f"tokens/s of the language model at c={clients} against bare llama.cpp"
    return blocks, Claim(name, share, "x", ENGINE_SHARE, at_least=True)


def _bare_target(worker: Worker, target: k6.Target) -> k6.Target:
    found = worker.ask({"bodies": list(target.bodies)})
    return k6.Target(
        found["url"], found["headers"], found["bodies"], ("[DONE]",), counts_tokens=True
    )


def _engines(bench: Bench, args: RagArgs, rag: dict[str, Any]) -> dict[str, Any]:
    """The very engine specifications that the service resolves."""
    environment = Environment.model_validate(
        {name.lower(): value for name, value in bench.embedded.environment.items()}
    )
    return {
        "rag": rag,
        "embedding": asdict(embedding_engine(args.embedding, environment)),
        "generation": asdict(generation_engine(args.generation, environment)),
    }


def _service_level(blocks: Sequence[Block]) -> list[Claim]:
    found = [b for b in blocks if b.way == "paced" and b.clients == SLA_CLIENTS]
    claims = []
    for block in found:
        name = f"{block.way} {block.loop}"
        claims += [
            Claim(f"{name} failed", block.outcome.failed, "requests", 0),
            Claim(f"{name} p99", block.outcome.p99_ms / 1000, "s", P99_S),
            Claim(f"{name} p95", block.outcome.p95_ms / 1000, "s", P95_S),
        ]
    return claims


def _say(block: Block) -> None:
    outcome = block.outcome
    progress(
        f"{block.way} {block.loop}: {outcome.per_second:.1f}/s, p50 {outcome.p50_ms:.0f} ms, "
        f"p95 {outcome.p95_ms:.0f} ms, {outcome.failed} failed"
    )


def _row(block: Block) -> dict[str, object]:
    outcome = block.outcome
    return {
        "way": block.way,
        "loop": block.loop,
        "answers": outcome.requests,
        "failed": outcome.failed,
        "req/s": outcome.per_second,
        "p50 ms": outcome.p50_ms,
        "p95": outcome.p95_ms,
        "p99": outcome.p99_ms,
        "max": outcome.max_ms,
        "1st byte p50": outcome.first_byte_ms,
        "CPU ms an answer": outcome.cpu_ms,
        "tokens/s": outcome.tokens_per_second,
        "client's core": outcome.cpu_s / outcome.seconds,
    }


NOTES = (
    "CPU is that of all the platform's processes, idle ones included, over the answers of a block.",
    "The first byte of a streamed answer is that of its passages, which come before any token.",
    "With 100 clients all begin at once; the wait of that first wave is part of the figures.",
)


if __name__ == "__main__":
    sys.exit(main())
