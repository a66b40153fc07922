"""Processes of their own for baselines and load, told what to do line by line.

A worker that waits for its next line computes nothing, so that two sides can take turns on the
same cores without starting anew.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[1]
SINGLE_THREADED = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
"""As on the platform's replicas (`serve_app/embedded/ray_node.py`)."""

Work = Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]


class Worker:
    """One process running a module of this package. Its errors go to our own stderr."""

    def __init__(
        self, module: str, start: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=CHECKOUT,
            env=os.environ | dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ask(start)

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Send an order and wait for its answer.

        Raises:
            RuntimeError: the worker ended.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End it: it leaves at the end of its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def working(
    module: str, start: Mapping[str, Any], environment: Mapping[str, str] | None = None
) -> Iterator[Worker]:
    """A worker inside the block and gone after it. `start` is its first order."""
    worker = Worker(module, start, SINGLE_THREADED | dict(environment or {}))
    try:
        yield worker
    finally:
        worker.stop()


def obey(prepare: Callable[[dict[str, Any]], Awaitable[Work]]) -> None:
    """The worker's side: make ready by the first order, then do one order after another."""
    asyncio.run(_obey(prepare))


async def _obey(prepare: Callable[[dict[str, Any]], Awaitable[Work]]) -> None:
    # Libraries print as they please: only answers may reach the other side.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")
        answers.flush()

    work = await prepare(json.loads(sys.stdin.readline()))
    answer({})
    while line := await asyncio.to_thread(sys.stdin.readline):
        answer(await work(json.loads(line)))
    # Engines' threads would hold the process; there is nothing to save.
    os._exit(0)
