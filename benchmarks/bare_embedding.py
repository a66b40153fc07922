"""A worker that embeds with the bare ONNX session. Start order: `{cache_dir, precision, threads}`.

Order: `{texts}`, embedded as one list: sorted by length, 512 padded tokens a batch, and dealt out
to `threads` single-threaded callers of one session, which is faster than one call on as many
threads.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.workers import Work, obey
from deployments.embedding.minilm import ensure_minilm
from deployments.embedding.session import OnnxSession


def bare_session(start: dict[str, Any]) -> OnnxSession:
    """The session as the embedded engine makes it."""
    return OnnxSession(ensure_minilm(Path(start["cache_dir"]), start["precision"]))


async def prepare(start: dict[str, Any]) -> Work:
    """The model loaded."""
    session, threads = bare_session(start), start["threads"]
    callers = ThreadPoolExecutor(threads)

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        begun, cpu = time.perf_counter(), time.process_time()
        # Dealt out by turns from the longest on: shares of the same cost.
        texts = sorted(order["texts"], key=len, reverse=True)
        list(callers.map(session.encode, [texts[share::threads] for share in range(threads)]))
        return {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}

    return work


if __name__ == "__main__":
    obey(prepare)
