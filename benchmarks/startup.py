"""How soon `ragserve up` is ready, and how much memory the whole embedded system holds.

Starts the real command in a folder of its own, with the models already made (a second start), and
counts from the command's first instruction to `/health/ready`. Memory is read when it is ready
and again after documents were taken in and questions answered. RSS counts pages that processes
share once for each of them; PSS shares them out, so that its sum is what the machine gives.

    python -m benchmarks.startup --quick
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psutil

from benchmarks.corpus import manual
from benchmarks.reporting import Claim, arguments, finish, median, progress, spread
from benchmarks.system import models
from benchmarks.workers import CHECKOUT
from serve_app.client import Ragserve, Upload
from serve_app.embedded.home import Home
from serve_app.embedded.processes import free_port
from serve_app.schemas import QueryIn

READY_S = 45.0
MEMORY_GIB = 3.0
GIB = 1024**3
MIB = 1024**2
POLL_S = 0.05
PATIENCE_S = 240.0
PAGES = 40
QUESTIONS = (
    "How is a table vacuumed?",
    "What does EXPLAIN ANALYZE show?",
    "How do I create an index concurrently?",
    "Which isolation levels are there?",
)

Memory = dict[str, tuple[int, int, int]]
"""By what a process is: how many there are, their RSS and their PSS in bytes."""


def main() -> int:
    """Measure, print, judge."""
    options = arguments(__doc__).parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ragserve-bench-"))
    try:
        times = []
        with started(folder) as first:
            progress(f"first start in this folder: {first.ready_s:.1f} s")
        for _ in range(0 if options.quick else 2):
            with started(folder) as again:
                times.append(again.ready_s)
                progress(f"warm start: {again.ready_s:.1f} s")
        with started(folder) as last:
            times.append(last.ready_s)
            progress(f"warm start: {last.ready_s:.1f} s")
            time.sleep(2)
            idle = last.memory()
            last.use()
            used = last.memory()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    notes = [
        f"{len(times)} warm starts: {spread(times)} s; the first of all: {first.ready_s:.1f} s",
        f"ready: {_line(idle)}",
        f"used ({PAGES} pages in, {len(QUESTIONS)} questions): {_line(used)}",
    ]
    claims = [
        Claim("memory of the whole system in use (PSS)", _sum(used, 2) / GIB, "GiB", MEMORY_GIB),
        Claim("warm start to ready", median(times), "s", READY_S),
    ]
    return finish(_rows(idle, used), claims, notes=notes, as_json=options.json)


class Started:
    """A system that `ragserve up` runs."""

    def __init__(self, folder: Path) -> None:
        self._home = Home(folder / "home")
        self._url = f"http://127.0.0.1:{(port := free_port())}"
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ragserve")),
                *("up", "--no-sample", "--home", str(self._home.root), "--port", str(port)),
            ],
            cwd=CHECKOUT,
            env=os.environ | {"MODEL_CACHE": str(models())},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._wait(begun + PATIENCE_S)
        self.ready_s = time.monotonic() - begun

    def _wait(self, deadline: float) -> None:
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self._url}/health/ready", timeout=5).status_code == httpx.codes.OK:
                    return
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.terminate()
                _, errors = self.process.communicate()
                raise RuntimeError(f"it did not start:\n{errors.decode()}")
            time.sleep(POLL_S)

    def use(self) -> None:
        """Take documents in and answer questions, as a user would."""
        while not self._home.development_key.exists():
            time.sleep(POLL_S)  # it is made once the service is ready
        key = self._home.development_key.read_text().strip()
        with Ragserve(self._url, key, timeout_s=300) as client:
            client.create_collection("used")
            job = client.upload("used", [Upload(page, page.name) for page in manual()[:PAGES]])
            job = client.wait(job.id)
            if job.state != "COMPLETED":
                raise RuntimeError(f"the documents were not taken in: {job}")
            for question in QUESTIONS:
                client.query(QueryIn(collection="used", question=question, cache=False))

    def memory(self) -> Memory:
        """Of the command and everything under it, by what the processes are."""
        held: dict[str, list[tuple[int, int]]] = defaultdict(list)
        parent = psutil.Process(self.process.pid)
        for process in [parent, *parent.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                memory = process.memory_full_info()
                held[_kind(process.cmdline())].append((memory.rss, memory.pss))
        return {
            kind: (len(found), sum(rss for rss, _ in found), sum(pss for _, pss in found))
            for kind, found in held.items()
        }


@contextmanager
def started(folder: Path) -> Iterator[Started]:
    """A system that is up inside the block and gone after it."""
    system = Started(folder)
    try:
        yield system
    finally:
        system.process.send_signal(signal.SIGINT)
        system.process.communicate()


KINDS = (
    (r"^ray::ServeReplica:\w+:(\w+)", r"replica \1"),
    (r"^ray::(?:IDLE|ingest_file)", "Ray worker (ingestion)"),
    (r"^ray::(\w+)", r"Ray \1"),
    (r"haproxy", "HAProxy"),
    (r"valkey", "Valkey"),
    (r"milvus-lite", "Milvus Lite"),
    (r"gcs_server", "Ray GCS"),
    (r"raylet/raylet", "raylet"),
    (r"dashboard/agent|runtime_env/agent|dashboard", "Ray agents"),
    (r"ingestion\.sandbox|ingestion/sandbox", "reader sandbox"),
    (r"ray start", "ray start"),
    (r"ragserve up|serve_app\.cli", "ragserve up"),
)


def _kind(command: Sequence[str]) -> str:
    text = " ".join(command)
    for pattern, name in KINDS:
        if found := re.search(pattern, text):
            return found.expand(name)
    return Path(command[0]).name if command else "?"


def _rows(idle: Memory, used: Memory) -> list[dict[str, object]]:
    nothing = (0, 0, 0)
    kinds = sorted(used | idle, key=lambda kind: -used.get(kind, nothing)[2])
    return [
        {
            "process": kind,
            "number": used.get(kind, nothing)[0],
            "ready RSS MiB": idle.get(kind, nothing)[1] / MIB,
            "ready PSS MiB": idle.get(kind, nothing)[2] / MIB,
            "used RSS MiB": used.get(kind, nothing)[1] / MIB,
            "used PSS MiB": used.get(kind, nothing)[2] / MIB,
        }
        for kind in kinds
    ]


def _sum(memory: Memory, column: int) -> int:
    return sum(held[column] for held in memory.values())


def _line(memory: Memory) -> str:
    return (
        f"{_sum(memory, 0)} processes, RSS {_sum(memory, 1) / GIB:.2f} GiB, "
        f"PSS {_sum(memory, 2) / GIB:.2f} GiB"
    )


if __name__ == "__main__":
    sys.exit(main())
