"""A worker that asks over HTTP in a closed loop, on bare sockets: a client library costs more
than what is measured.

Start order: `{host, port, key}`. Order: `{path, bodies, concurrency, requests}` or, for a steady
pace, `{path, bodies, pause_s, seconds}`. Answers times in milliseconds, and its own CPU seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.workers import Work, obey

READ_BYTES = 1 << 20
FIRST_TOKEN = b"event: token"


@dataclass(slots=True)
class Samples:
    """What was seen: milliseconds to the first token and to the end, and what the answers held."""

    total_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    tokens: int = 0
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, question: str, answer: dict[str, Any]) -> None:
        """Note what came back, after the clock has stopped."""
        if answer.get("degraded"):
            raise RuntimeError(f"a degraded answer measures something else: {answer['degraded']}")
        if "answer" in answer:
            if not answer["answered"]:
                self.refused.append(question)
            self.tokens += answer["usage"]["completion_tokens"]
            self.texts[question] = answer["answer"]

    def read(self) -> dict[str, Any]:
        """As plain data."""
        return {name: getattr(self, name) for name in self.__slots__}


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, host: str, port: int, key: str) -> None:
        self._at = (host, port)
        self._head = (
            f"Host: {host}:{port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\n"
        )

    async def open(self) -> None:
        self._reader, self._writer = await asyncio.open_connection(*self._at, limit=READ_BYTES)

    def close(self) -> None:
        self._writer.close()

    async def ask(self, path: str, body: bytes, samples: Samples) -> bytes:
        """One request; the whole body of its answer.

        Raises:
            RuntimeError: the answer is no 200.
        """
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        begun = time.perf_counter()
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        parts: list[bytes] = []
        first_s = 0.0
        async for part in self._body(answer.lower()):
            parts.append(part)
            if not first_s and FIRST_TOKEN in part:
                first_s = time.perf_counter() - begun
        took_s = time.perf_counter() - begun
        content = b"".join(parts)
        if b" 200 " not in answer.partition(b"\r\n")[0]:
            raise RuntimeError(f"{path}: {answer.decode()}{content.decode()}")
        samples.total_ms.append(1000 * took_s)
        if first_s:
            samples.first_ms.append(1000 * first_s)
        return content

    async def _body(self, head: bytes) -> AsyncIterator[bytes]:
        if b"transfer-encoding: chunked" not in head:
            size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            yield await self._reader.readexactly(size)
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]
        await self._reader.readexactly(2)


async def prepare(start: dict[str, Any]) -> Work:
    """Ready to ask one server."""

    async def work(order: dict[str, Any]) -> dict[str, Any]:
        samples = Samples()
        connections = [Connection(**start) for _ in range(order.get("concurrency", 1))]
        for connection in connections:
            await connection.open()
        begun, cpu = time.perf_counter(), time.process_time()
        if "seconds" in order:
            await _steadily(connections[0], order, samples)
        else:
            bodies = itertools.islice(itertools.cycle(order["bodies"]), order["requests"])
            await asyncio.gather(
                *(_in_turn(c, order["path"], bodies, samples) for c in connections)
            )
        took_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
        for connection in connections:
            connection.close()
        return {"seconds": took_s, "cpu_s": cpu_s, **samples.read()}

    return work


async def _in_turn(
    connection: Connection, path: str, bodies: Iterator[dict[str, Any]], samples: Samples
) -> None:
    for body in bodies:
        await _once(connection, path, body, samples)


async def _steadily(connection: Connection, order: dict[str, Any], samples: Samples) -> None:
    """One request after another, each begun no sooner than `pause_s` after the last ended."""
    until = time.perf_counter() + order["seconds"]
    for body in itertools.cycle(order["bodies"]):
        await _once(connection, order["path"], body, samples)
        if time.perf_counter() >= until:
            return
        await asyncio.sleep(order["pause_s"])


async def _once(connection: Connection, path: str, body: dict[str, Any], samples: Samples) -> None:
    content = await connection.ask(path, json.dumps(body).encode(), samples)
    last = content.rpartition(b"event: done")[2] if body.get("stream") else content
    samples.add(body.get("question", ""), json.loads(last.strip().removeprefix(b"data:").strip()))


if __name__ == "__main__":
    obey(prepare)
