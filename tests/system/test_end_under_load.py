"""`ragserve up` is told to end while it answers: every answer under way arrives whole."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serve_app.embedded.processes import free_port

pytestmark = pytest.mark.soak

logger = logging.getLogger(__name__)

START_S, END_S = 200.0, 90.0
QUESTION = {
    "messages": [{"role": "user", "content": "Count from one to sixty in words."}],
    "max_tokens": 120,
    "stream": True,
}


async def stream(http: httpx.AsyncClient, model: str, begun: asyncio.Event) -> str:
    async with http.stream(
        "POST", "/v1/chat/completions", json=QUESTION | {"model": model}
    ) as answer:
        assert answer.status_code == 200
        lines = []
        async for line in answer.aiter_lines():
            lines.append(line)
            begun.set()
    return "\n".join(lines)


async def ready(http: httpx.AsyncClient) -> int:
    try:
        return (await http.get("/health/ready")).status_code
    except httpx.HTTPError:
        return 0


@contextmanager
def started(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The command, as an operator starts it; ended with the block, whatever happens."""
    command = [
        str(Path(sys.executable).with_name("ragserve")),
        *("up", "--no-sample", "--home", str(folder / "home"), "--port", str(port)),
    ]
    models = str(Path(os.environ.get("RAGSERVE_TEST_MODELS", ".ragserve/models")).resolve())
    with (folder / "up.log").open("wb") as log:
        up = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {"MODEL_CACHE": models}
        )
        try:
            yield up
        finally:
            if up.poll() is None:
                up.send_signal(signal.SIGTERM)
                up.wait(END_S)


async def test_streams_end_whole_after_sigterm(tmp_path: Path) -> None:
    port, home = free_port(), tmp_path / "home"
    with started(tmp_path, port) as up:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
            async with asyncio.timeout(START_S):
                while await ready(http) != 200 or not (home / "dev-key").exists():
                    assert up.poll() is None, (tmp_path / "up.log").read_text()
                    await asyncio.sleep(0.5)
            await asyncio.sleep(3)
            key = (home / "dev-key").read_text().strip()
            http.headers["Authorization"] = f"Bearer {key}"
            models = (await http.get("/v1/models")).json()["data"]
            model = next(m["id"] for m in models if "Instruct" in m["id"])
            begun = [asyncio.Event() for _ in range(3)]
            streams = [asyncio.create_task(stream(http, model, event)) for event in begun]
            await asyncio.gather(*(event.wait() for event in begun))
            up.send_signal(signal.SIGTERM)
            told = time.monotonic()
            seen = set()
            while not all(task.done() for task in streams):
                seen.add(await ready(http))
                await asyncio.sleep(0.05)
            answers = await asyncio.gather(*streams)
        assert all(answer.rstrip().endswith("data: [DONE]") for answer in answers)
        assert 503 in seen, "it was ready until the end"
        await asyncio.to_thread(up.wait, END_S)
        logger.warning("ended %.1f s after SIGTERM", time.monotonic() - told)
