"""Ingestion through the API, against the bare embedding engine and LlamaIndex's pipeline.

Pages of PostgreSQL's manual go in over HTTP and are timed until their job has ended: read,
chunked, embedded and stored searchable. Beside it, in turns over the same pages: the bare ONNX
session on the very texts that are embedded (the limit), with one caller and with as many as the
deployment has threads; and LlamaIndex's `IngestionPipeline` in one process, with the same reader
and model, which stores nothing: once as it comes, once tuned.

Then, on the same system: how long searches and questions take while a large job runs, against
the same before and after it.

    python -m benchmarks.ingest --quick
    python -m benchmarks.ingest --cores 1
    python -m benchmarks.ingest --nodes 3
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.corpus import chunk_texts, chunker, manual
from benchmarks.nodes import at_work, joined
from benchmarks.reporting import (
    Claim,
    arguments,
    finish,
    percentile,
    progress,
    rate,
    ratio,
    spread,
)
from benchmarks.system import Bench, models, running
from benchmarks.workers import Worker, working
from serve_app.client import Upload
from serve_app.embedded.processes import Child
from serve_app.settings import EmbeddingArgs, IngestionArgs

OURS = "ragserve"
BARE = "bare session"
LLAMAINDEX = "LlamaIndex"
AS_IT_COMES = f"{LLAMAINDEX} as it comes"
TUNED = f"{LLAMAINDEX} tuned"
OF_BARE, OF_LLAMAINDEX, OF_IDLE = 0.9, 1.5, 2.0
WARM_PAGES = 30
PAUSE_S = 0.1
MAX_TOKENS = 32
LOOK_S = 0.2

Blocks = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything."""

    rounds: int
    pages: int
    load_pages: int
    watch_s: float


FULL = Plan(rounds=3, pages=100, load_pages=700, watch_s=20.0)
QUICK = Plan(rounds=1, pages=24, load_pages=250, watch_s=4.0)


def main() -> int:
    """Measure, print, judge."""
    parser = arguments(__doc__)
    parser.add_argument("--cores", type=int, help="bind everything to so many cores")
    parser.add_argument("--nodes", type=int, default=1, help="Ray nodes, all on this machine")
    options = parser.parse_args()
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    plan = QUICK if options.quick else FULL
    threads = EmbeddingArgs().threads
    files = options.nodes * IngestionArgs().files_in_flight
    with ExitStack() as stack:
        bench = stack.enter_context(
            running(ingestion={"files_in_flight": files}, alone=options.nodes == 1)
        )
        nodes = stack.enter_context(joined(bench, options.nodes - 1))
        _warm(bench)
        with _counting(nodes) as busiest:
            blocks = _race(bench, plan, threads)
        watched = {path: _watch(bench, plan, path, body) for path, body in ASKED.items()}
    rows = [_row(name, found, blocks) for name, found in blocks.items()]
    notes = [
        *NOTES,
        f"{len(os.sched_getaffinity(0))} cores, {options.nodes} nodes; of those beside the head "
        f"{max(busiest)} took part at once.",
        *(_engine_line(name, found) for name, found in blocks.items() if LLAMAINDEX in name),
        *(_watched_line(path, times) for path, times in watched.items()),
    ]
    claims = [
        _slowdown("question", watched["/v1/query"]),
        _slowdown("search", watched["/v1/search"]),
        *_rates(blocks, threads),
    ]
    return finish(rows, claims, notes=notes, as_json=options.json)


@contextmanager
def _counting(nodes: list[Child]) -> Iterator[list[int]]:
    """How many nodes beside the head work at once, looked at now and then inside the block."""
    counts, over = [0], threading.Event()

    def look() -> None:
        while nodes and not over.wait(LOOK_S):
            counts.append(at_work(nodes))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield counts
    finally:
        over.set()
        looking.join()


def _warm(bench: Bench) -> None:
    """The first job pays for imports in the workers. Its pages are what is searched later."""
    with bench.client() as client:
        client.create_collection("race")
        client.create_collection("load")
        client.create_collection("searched")
    _ingest(bench, "searched", manual()[-WARM_PAGES:])


def _ingest(bench: Bench, collection: str, pages: Sequence[Path]) -> dict[str, Any]:
    """Take pages in; seconds from the first byte sent to the end of the job."""
    begun = time.perf_counter()
    with bench.client() as client:
        job = client.upload(collection, [Upload(page, page.name) for page in pages])
        job = client.wait(job.id)
    seconds = time.perf_counter() - begun
    if job.state != "COMPLETED" or job.progress.files_failed:
        raise RuntimeError(f"the job did not do its work: {job}")
    return {"seconds": seconds, "chunks": job.progress.chunks_done}


def _race(bench: Bench, plan: Plan, threads: int) -> Blocks:
    """Every side over the same pages, a group of pages a round."""
    cutter = chunker()
    blocks: Blocks = defaultdict(list)
    with ExitStack() as stack:
        sides: dict[str, Callable[[list[Path], list[str]], dict[str, Any]]] = {
            OURS: lambda pages, _: _ingest(bench, "race", pages)
        }
        start: dict[str, Any] = {"cache_dir": str(models()), "precision": "fp32"}
        for callers in sorted({1, threads}):
            worker = working("benchmarks.bare_embedding", start | {"threads": callers})
            sides[_bare(callers)] = _bare_side(stack.enter_context(worker))
        rivals: dict[str, dict[str, int]] = {AS_IT_COMES: {}}
        for count in sorted({1, len(os.sched_getaffinity(0))}):
            rivals[f"{TUNED}, {count} thread{'s' * (count > 1)}"] = {"threads": count}
        for name, how in rivals.items():
            worker = working("benchmarks.llamaindex_ingestion", start | how)
            sides[name] = _llamaindex_side(stack.enter_context(worker))
        for number in range(plan.rounds):
            pages = manual()[number * plan.pages : (number + 1) * plan.pages]
            texts = chunk_texts(pages, cutter)
            names = list(sides)
            # Each round begins with another side, so that none profits from its place.
            for name in [*names[number % len(names) :], *names[: number % len(names)]]:
                block = sides[name](pages, texts) | {"documents": len(pages)}
                progress(f"{name}: {block['chunks']} chunks in {block['seconds']:.1f} s")
                blocks[name].append(block)
    return {name: blocks[name] for name in sides}


def _bare(callers: int) -> str:
    return f"{BARE}, {callers} caller{'s' * (callers > 1)}"


def _bare_side(worker: Worker) -> Callable[[list[Path], list[str]], dict[str, Any]]:
    return lambda _, texts: worker.ask({"texts": texts}) | {"chunks": len(texts)}


def _llamaindex_side(worker: Worker) -> Callable[[list[Path], list[str]], dict[str, Any]]:
    return lambda pages, _: worker.ask({"pages": [str(page) for page in pages]})


def _watch(bench: Bench, plan: Plan, path: str, body: dict[str, Any]) -> dict[str, list[float]]:
    """Times of one kind of request: idle, while a job runs, and idle again."""
    server = {"host": "127.0.0.1", "port": bench.port, "key": bench.api_key}
    # Each asks for something else: nothing remembered answers for it.
    questions = [text.partition("\n")[2][:100] for text in chunk_texts(
        manual()[-WARM_PAGES:], chunker()
    )]  # fmt: skip
    name = "query" if path == "/v1/search" else "question"
    order = {
        "path": path,
        "bodies": [{**body, "collection": "searched", name: q} for q in questions if q.strip()],
        "pause_s": PAUSE_S,
    }
    with working("benchmarks.http_load", server) as http:
        http.ask(order | {"seconds": 1.0})
        idle = http.ask(order | {"seconds": plan.watch_s / 2})["total_ms"]
        with _loaded(bench, plan.load_pages):
            loaded = http.ask(order | {"seconds": plan.watch_s})["total_ms"]
        idle += http.ask(order | {"seconds": plan.watch_s / 2})["total_ms"]
    return {"idle": idle, "loaded": loaded}


@contextmanager
def _loaded(bench: Bench, pages: int) -> Iterator[None]:
    """A job at work throughout the block.

    Raises:
        RuntimeError: it ended before the block did.
    """
    with bench.client() as client:
        uploads = [Upload(page, page.name) for page in manual()[:pages]]
        job = client.upload("load", uploads)
        while client.get_job(job.id).progress.chunks_done == 0:
            time.sleep(0.1)
        yield
        before = client.get_job(job.id)
        client.cancel_job(job.id)
        client.wait(job.id)
        if before.state != "PROCESSING":
            raise RuntimeError("the job was over before the measurement: give it more pages")
        # What the cancelled job wrote is hidden, then swept, before the next one begins.
        client.delete_collection("load")
        client.create_collection("load")


def _row(name: str, found: Sequence[dict[str, Any]], blocks: Blocks) -> dict[str, object]:
    seconds = [block["seconds"] for block in found]
    return {
        "side": name,
        "documents": sum(block["documents"] for block in found),
        "chunks": sum(block["chunks"] for block in found),
        "documents/s": rate(sum(block["documents"] for block in found), seconds),
        "chunks/s": rate(sum(block["chunks"] for block in found), seconds),
        "by round": spread([block["chunks"] / block["seconds"] for block in found]),
        "ragserve is": _times_ours(found, blocks),
    }


def _times_ours(found: Sequence[dict[str, Any]], blocks: Blocks) -> float:
    """How many times as fast ragserve is, over the same documents."""
    return ratio(sum(b["seconds"] for b in found), sum(b["seconds"] for b in blocks[OURS]))


def _rates(blocks: Blocks, threads: int) -> list[Claim]:
    """Against the engine on as many threads, and against LlamaIndex both ways."""
    bare = _bare(threads)
    tuned = min(
        (name for name in blocks if name.startswith(TUNED)),
        key=lambda name: _times_ours(blocks[name], blocks),
    )
    aims = {tuned: OF_LLAMAINDEX, AS_IT_COMES: OF_LLAMAINDEX, bare: OF_BARE}
    return [
        Claim(
            f"ingestion against {side}", _times_ours(blocks[side], blocks), "x", aim, at_least=True
        )
        for side, aim in aims.items()
    ]


def _engine_line(name: str, found: Sequence[dict[str, Any]]) -> str:
    """What of its time a rival spends in the engine: the rest is all that could be saved."""
    share = ratio(sum(b["engine_s"] for b in found), sum(b["seconds"] for b in found))
    return f"{name}: {share:.0%} of its time in the engine"


def _slowdown(what: str, times: dict[str, list[float]]) -> Claim:
    loaded, idle = percentile(times["loaded"], 0.95), percentile(times["idle"], 0.95)
    return Claim(f"{what} p95 during ingestion", ratio(loaded, idle), "x idle", OF_IDLE)


def _watched_line(path: str, times: dict[str, list[float]]) -> str:
    said = [
        f"{name} p50 {percentile(found, 0.5):.1f} p95 {percentile(found, 0.95):.1f} ms "
        f"({len(found)} requests)"
        for name, found in times.items()
    ]
    return f"{path}: {'; '.join(said)}"


ASKED: dict[str, dict[str, Any]] = {
    "/v1/search": {},
    "/v1/query": {"cache": False, "max_tokens": MAX_TOKENS},
}
NOTES = (
    "Baselines store nothing. The bare session gets all texts of a round at once, cut beforehand.",
    "LlamaIndex as it comes: 10 texts a batch in their order, one batch on all cores. Tuned: 64, "
    "sorted by length; the faster of one thread and all cores counts.",
    "Ratios are times over the same pages: LlamaIndex's splitter crosses headings, which makes "
    "fewer and longer chunks of them.",
)


if __name__ == "__main__":
    sys.exit(main())
