"""More nodes for a system under measurement: raylets of their own on the same machine.

They add no processors. What they show is that work spreads over nodes by itself, and what that
costs.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil

from benchmarks.reporting import progress
from benchmarks.system import Bench
from serve_app.embedded.processes import Child, free_port
from serve_app.embedded.ray_node import OBJECT_STORE_BYTES

READY_S = 60.0
TASK = "ray::ingest_file"


@contextmanager
def joined(bench: Bench, count: int) -> Iterator[list[Child]]:
    """`count` nodes beside the head, of two processors each as far as Ray can tell."""
    folder = Path(tempfile.mkdtemp(prefix="ragserve-nodes-"))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        nodes = [_node(bench, folder, number) for number in range(1, count + 1)]
        for node in nodes:
            progress(f"starting {node.name}")
            node.start()
            stack.callback(node.stop)
        for node in nodes:
            node.wait_until(partial(_busy, node, "ray::"), READY_S)
        yield nodes


def at_work(nodes: list[Child]) -> int:
    """How many of the nodes are running a task of ingestion just now."""
    return sum(_busy(node, TASK) for node in nodes)


def _node(bench: Bench, folder: Path, number: int) -> Child:
    head = bench.embedded.node
    command = [
        str(Path(sys.executable).with_name("ray")),
        *("start", "--block", "--disable-usage-stats"),
        *("--address", head.address),
        *("--num-cpus", "2"),
        *("--dashboard-agent-listen-port", str(free_port())),
        *("--object-store-memory", str(OBJECT_STORE_BYTES)),
    ]
    log = folder / f"node-{number}.log"
    return Child(f"node {number}", command, log, head.environment, patience_s=20.0)


def _busy(node: Child, title: str) -> bool:
    """Whether a process of the node calls itself so."""
    if node.process is None:
        return False
    for process in psutil.Process(node.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if "".join(process.cmdline()[:1]).startswith(title):
                return True
    return False
