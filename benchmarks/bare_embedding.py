"""A worker that embeds with the bare ONNX session. Start order: `{cache_dir, precision, threads}`.

Order: `{texts}`, embedded as one list: sorted by length, 512 padded tokens a batch.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.workers import Work, obey
from deployments.embedding.minilm import ensure_minilm
from deployments.embedding.session import OnnxSession


def bare_session(start: dict[str, Any]) -> OnnxSession:
    """The session as the embedded engine makes it."""
    directory = ensure_minilm(Path(start["cache_dir"]), start["precision"])
    return OnnxSession(directory, threads=start["threads"])


async def prepare(start: dict[str, Any]) -> Work:
    """The model loaded."""
    session = bare_session(start)

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        begun, cpu = time.perf_counter(), time.process_time()
        session.encode(order["texts"])
        return {"seconds": time.perf_counter() - begun, "cpu_s": time.process_time() - cpu}

    return work


if __name__ == "__main__":
    obey(prepare)
